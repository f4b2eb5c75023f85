#!/usr/bin/env bash
# Trains a monophone GMM-HMM from a flat start.  steps/train_mono.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.gmm.train_mono "$@"
