#!/usr/bin/env bash
# Collects the results of a recipe from exp/ into RESULTS.md and results.json.  steps/make_results.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.results "$@"
