#!/usr/bin/env bash
# A monophone GMM-HMM from a flat start, by Viterbi training.  steps/train_mono.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.gmm.train_mono "$@"
