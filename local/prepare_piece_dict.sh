#!/usr/bin/env bash
# Makes a dictionary of pieces of words, with pronunciations, from a dictionary of words.  local/prepare_piece_dict.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.piece_prons "$@"
