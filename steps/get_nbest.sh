#!/usr/bin/env bash
# The best different word sequences of lattices, with their scores.  steps/get_nbest.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.nbest "$@"
