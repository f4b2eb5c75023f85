#!/usr/bin/env bash
# a dictionary of words becomes one of pieces of words, with their pronunciations.  local/prepare_piece_dict.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.piece_prons "$@"
