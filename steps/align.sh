#!/usr/bin/env bash
# Aligns a data dir to its transcripts with a GMM-HMM: transition-ids, pdf-ids, phone times.  steps/align.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.gmm.align "$@"
