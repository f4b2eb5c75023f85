#!/usr/bin/env bash
# The table of a recipe, RESULTS.md and results.json, from what its runs left in exp/.  steps/make_results.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.results "$@"
