#!/usr/bin/env bash
# Compares two phone alignments: frames with the same base phone, differences of boundaries.  steps/compare_ctm.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.score.compare_ctm "$@"
