#!/usr/bin/env bash
# Makes data/<recipe>/lang_<lm> with G.fst from an ARPA model, a text to train on, or a grammar.  local/prepare_lm.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_lm "$@"
