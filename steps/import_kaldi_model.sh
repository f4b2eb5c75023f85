#!/usr/bin/env bash
# Imports a GMM, a decoding graph and a lang folder made by Kaldi, without Kaldi.  steps/import_kaldi_model.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.graph.import_kaldi "$@"
