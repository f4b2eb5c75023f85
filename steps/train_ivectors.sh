#!/usr/bin/env bash
# Trains an i-vector extractor on filterbank energies.  steps/train_ivectors.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.train_ivectors "$@"
