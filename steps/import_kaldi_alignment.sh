#!/usr/bin/env bash
# Imports a Kaldi alignment (ali.*.gz, tree, final.mdl), without Kaldi.  steps/import_kaldi_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.kaldi.import_alignment "$@"
