#!/usr/bin/env bash
# Exports lattices to Kaldi's text format.  steps/lattices_to_kaldi.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.kaldi_lattice "$@"
