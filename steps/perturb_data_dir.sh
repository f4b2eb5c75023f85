#!/usr/bin/env bash
# Augments a data dir with speed and volume perturbation.  steps/perturb_data_dir.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.corpus.perturb "$@"
