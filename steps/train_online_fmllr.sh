#!/usr/bin/env bash
# Trains what online fMLLR needs, from an alignment with the transforms of its speakers.  steps/train_online_fmllr.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.train_online_fmllr "$@"
