#!/usr/bin/env bash
# Aligns a data dir with a network, as targets for the next network.  steps/align_lstmp.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.nnet.align "$@"
