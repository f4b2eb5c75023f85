#!/usr/bin/env bash
# Counts the pronunciations of each word, and silence around them, in an alignment.  steps/get_prons.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.get_prons "$@"
