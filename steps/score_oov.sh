#!/usr/bin/env bash
# How many of the words that the vocabulary lacks are recognized.  steps/score_oov.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.oov "$@"
