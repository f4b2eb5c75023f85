#!/usr/bin/env bash
# Writes the data dir that a network with online fMLLR is trained on.  steps/make_online_fmllr.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.make_online_fmllr "$@"
