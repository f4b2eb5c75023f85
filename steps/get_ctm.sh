#!/usr/bin/env bash
# The words of a decoding with their times and confidences.  steps/get_ctm.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.ctm "$@"
