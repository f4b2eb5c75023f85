#!/usr/bin/env bash
# Makes data/<recipe>/dict from a lexicon: pronunciations, phone lists, questions for the tree.  local/prepare_dict.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_dict "$@"
