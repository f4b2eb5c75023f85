#!/usr/bin/env bash
# an ARPA language model, or text to train one from, becomes data/<recipe>/lang_<lm> with G.fst.  local/prepare_lm.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_lm "$@"
