#!/usr/bin/env bash
# The page of a grid: its table, its pictures, and what becomes of its claims.  steps/make_grid_page.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.experiment.page "$@"
