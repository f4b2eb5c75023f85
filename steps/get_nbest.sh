#!/usr/bin/env bash
# Writes n-best lists of lattices with scores; can rescore them with another language model.  steps/get_nbest.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.nbest "$@"
