#!/usr/bin/env bash
# Trains a triphone GMM-HMM: phonetic decision tree, Gaussian mixtures, EM.  steps/train_tri.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.gmm.train_tri "$@"
