#!/usr/bin/env bash
# Checks data dirs for everything that later stages rely on, including every audio file.  local/validate_data_dir.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.validate "$@"
