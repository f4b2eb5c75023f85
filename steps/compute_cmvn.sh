#!/usr/bin/env bash
# Computes CMVN statistics per speaker for a data dir with features (make_mfcc.sh and make_fbank.sh do this, too).  steps/compute_cmvn.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.features.cmvn "$@"
