#!/usr/bin/env bash
# Trains a network further by a criterion over sequences, sMBR or MMI, on lattices.  steps/train_sequence.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.sequence.train "$@"
