#!/usr/bin/env bash
# Trains a deep LSTMP network on aligned filterbank features, by frame cross entropy or lattice-free MMI.  steps/train_lstmp.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.nnet.train "$@"
