#!/usr/bin/env bash
# Learning-rate range test: the largest rate at which a network still learns.  steps/find_rate.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.nnet.find_rate "$@"
