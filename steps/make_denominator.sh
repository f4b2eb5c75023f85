#!/usr/bin/env bash
# Makes the denominator graph of LF-MMI from an alignment with states for a low frame rate.  steps/make_denominator.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.graph.make_denominator "$@"
