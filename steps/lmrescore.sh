#!/usr/bin/env bash
# Rescores the lattices of a decoding with another language model, and writes the best paths for a grid of LM weights.
# steps/lmrescore.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.decode.lm_rescore "$@"
