#!/usr/bin/env bash
# Makes the decoding graph HCLG of a model and a language model, and its form for the search.  steps/make_graph.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.graph.make_graph "$@"
