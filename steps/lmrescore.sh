#!/usr/bin/env bash
# Rescores the lattices of a decoding with another language model, and writes its best paths for the grid.
# steps/lmrescore.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.decode.lm_rescore "$@"
