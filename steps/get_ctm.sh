#!/usr/bin/env bash
# Writes the words of a decoding with their times and confidences to a CTM file.  steps/get_ctm.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.ctm "$@"
