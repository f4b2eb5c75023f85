#!/usr/bin/env bash
# Ranks the utterances of a data dir by how poorly their transcripts fit their audio, with reasons.  steps/check_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.alignment.check "$@"
