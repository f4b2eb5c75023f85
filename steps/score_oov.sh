#!/usr/bin/env bash
# Counts how many out-of-vocabulary words are recognized.  steps/score_oov.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.oov "$@"
