#!/usr/bin/env bash
# Checks data dirs for all that later stages rely on, every audio file included.  local/validate_data_dir.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.validate "$@"
