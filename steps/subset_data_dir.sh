#!/usr/bin/env bash
# Selects a subset of a data dir: first, shortest, listed or held-out utterances.  steps/subset_data_dir.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.corpus.subset "$@"
