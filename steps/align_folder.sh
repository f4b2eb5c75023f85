#!/usr/bin/env bash
# Aligns a folder of recordings with their transcripts, to Praat TextGrids and CTM.  steps/align_folder.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.transcribe.align_folder "$@"
