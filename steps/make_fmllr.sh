#!/usr/bin/env bash
# Features adapted to each speaker by a GMM's LDA+MLLT and fMLLR transforms, for the networks.  steps/make_fmllr.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.gmm.make_fmllr "$@"
