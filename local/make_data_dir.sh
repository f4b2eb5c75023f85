#!/usr/bin/env bash
# Makes a data dir from a folder of recordings with their transcripts.  local/make_data_dir.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.transcribe.data_dir "$@"
