#!/usr/bin/env bash
# data/<recipe>/dict with probabilities of pronunciations and silence, from steps/get_prons.sh.  local/add_pron_probs.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.dict_probs "$@"
