#!/usr/bin/env bash
# Compares transcripts, lexicon and language model: unknown words, spelling, perplexity.  local/check_text.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.score.text_report "$@"
