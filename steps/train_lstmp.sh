#!/usr/bin/env bash
# Trains a deep LSTMP network by frame cross entropy on aligned filterbank features.  steps/train_lstmp.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.nnet.train "$@"
