#!/usr/bin/env bash
# CMVN statistics per speaker of a data dir that has features (make_mfcc.sh and make_fbank.sh do it, too).  steps/compute_cmvn.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.features.cmvn "$@"
