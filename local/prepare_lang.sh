#!/usr/bin/env bash
# Makes data/<recipe>/lang from data/<recipe>/dict: symbols, phone classes, topology, L.fst.  local/prepare_lang.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.prepare_lang "$@"
