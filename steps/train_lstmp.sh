#!/usr/bin/env bash
# A deep LSTMP network trained by frame cross entropy on aligned filterbank features.  steps/train_lstmp.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.nnet.train "$@"
