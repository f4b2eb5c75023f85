#!/usr/bin/env bash
# Decodes a data dir with a model and its graph. Writes lattices and the best paths for a grid of LM weights and penalties.
# steps/decode.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.decode.decode "$@"
