#!/usr/bin/env bash
# text becomes a sentencepiece model, DIR/pieces.model: the pieces of words of an open vocabulary.  local/train_pieces.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.pieces "$@"
