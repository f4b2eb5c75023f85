#!/usr/bin/env bash
# Counts of pronunciations and of silence around them, from an alignment and its transcripts.  steps/get_prons.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.get_prons "$@"
