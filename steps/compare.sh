#!/usr/bin/env bash
# Compares two systems on one set: significance of the difference, speakers, confusions.  steps/compare.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.compare "$@"
