#!/usr/bin/env bash
# the search graph HCLG of a model and a language model, and its form for k2.  steps/make_graph.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.graph.make_graph "$@"
