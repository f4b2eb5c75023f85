#!/usr/bin/env bash
# dictionary and text cut so that a given share of the words of a set is unknown.  local/cut_vocabulary.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.cut_vocabulary "$@"
