#!/usr/bin/env bash
# a lexicon becomes data/<recipe>/dict: pronunciations, phone lists, questions for the tree.  local/prepare_dict.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_dict "$@"
