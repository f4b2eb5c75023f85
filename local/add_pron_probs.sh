#!/usr/bin/env bash
# Adds probabilities of pronunciations and silence to a dict folder, from steps/get_prons.sh.  local/add_pron_probs.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.dict_probs "$@"
