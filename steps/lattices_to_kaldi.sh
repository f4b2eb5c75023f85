#!/usr/bin/env bash
# Lattices in Kaldi's text form.  steps/lattices_to_kaldi.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.kaldi_lattice "$@"
