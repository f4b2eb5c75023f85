#!/usr/bin/env bash
# Cuts a dictionary and a text so that a given share of the words of a set is unknown.  local/cut_vocabulary.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.cut_vocabulary "$@"
