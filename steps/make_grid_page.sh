#!/usr/bin/env bash
# Generates the page of a grid: its table, its pictures, and the verdicts on its claims.  steps/make_grid_page.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.experiment.page "$@"
