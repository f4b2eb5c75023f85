#!/usr/bin/env bash
# Computes word error rates, with LM weight and insertion penalty chosen on dev and applied to all sets.  steps/score.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.score "$@"
