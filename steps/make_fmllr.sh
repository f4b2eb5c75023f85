#!/usr/bin/env bash
# Writes a data dir with the speaker-adapted features of a GMM (LDA+MLLT, fMLLR), as input for networks.  steps/make_fmllr.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.make_fmllr "$@"
