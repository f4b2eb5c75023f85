#!/usr/bin/env bash
# Shows how far a run is: its stages, what each took, and the time left.  steps/show_progress.sh exp/tiny
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.recipe.show_progress "$@"
