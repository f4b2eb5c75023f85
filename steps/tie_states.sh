#!/usr/bin/env bash
# Converts an alignment to other tied states: of a tree with more or fewer leaves, of biphones, or of monophones.  steps/tie_states.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.gmm.tie_states "$@"
