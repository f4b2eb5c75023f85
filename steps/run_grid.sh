#!/usr/bin/env bash
# Trains, decodes and scores the networks of a grid.  steps/run_grid.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.experiment.run "$@"
