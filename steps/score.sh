#!/usr/bin/env bash
# Word error rates: LM weight and insertion penalty chosen on dev, applied unchanged to the other sets.  steps/score.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.score "$@"
