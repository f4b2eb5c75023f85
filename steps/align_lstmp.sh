#!/usr/bin/env bash
# A data dir aligned by a network, to train the next one on.  steps/align_lstmp.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.nnet.align "$@"
