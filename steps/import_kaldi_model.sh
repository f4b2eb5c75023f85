#!/usr/bin/env bash
# Takes over a GMM, a search graph and a lang folder that Kaldi made, without Kaldi.  steps/import_kaldi_model.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.graph.import_kaldi "$@"
