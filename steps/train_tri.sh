#!/usr/bin/env bash
# A triphone GMM-HMM: phonetic decision tree, Gaussian mixtures, Viterbi training.  steps/train_tri.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.train_tri "$@"
