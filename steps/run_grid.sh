#!/usr/bin/env bash
# The networks of a grid, trained, decoded and scored; then its page.  steps/run_grid.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.experiment.run "$@"
