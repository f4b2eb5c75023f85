#!/usr/bin/env bash
# Copies of a data dir at other speeds and volumes.  steps/perturb_data_dir.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.corpus.perturb "$@"
