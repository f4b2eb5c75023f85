#!/usr/bin/env bash
# Imports Kaldi data dirs made elsewhere: checks their audio, measures durations.  local/take_data_dirs.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.take_data_dirs "$@"
