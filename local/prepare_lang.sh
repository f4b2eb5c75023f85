#!/usr/bin/env bash
# data/<recipe>/dict becomes data/<recipe>/lang: symbol tables, phone classes, topology, L.fst.  local/prepare_lang.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_lang "$@"
