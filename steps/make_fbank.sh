#!/usr/bin/env bash
# Computes log-mel filterbank energies of a data dir, for the networks: 40 bands, 25 ms windows every 10 ms.  steps/make_fbank.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 1 lstmp.features.extract --kind fbank "$@"
