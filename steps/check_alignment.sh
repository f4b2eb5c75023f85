#!/usr/bin/env bash
# Ranks the utterances of a data dir by how ill their transcripts fit their audio, with a reason for each.  steps/check_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
on_machines 0 lstmp.alignment.check "$@"
