#!/usr/bin/env bash
# Trains a sentencepiece model, DIR/pieces.model, on text, for an open vocabulary.  local/train_pieces.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.pieces "$@"
