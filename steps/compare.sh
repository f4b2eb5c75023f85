#!/usr/bin/env bash
# Two systems on one set: the difference with its interval and p-value, speakers, confusions.  steps/compare.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.compare "$@"
