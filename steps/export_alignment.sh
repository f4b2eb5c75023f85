#!/usr/bin/env bash
# Writes an alignment as CTM, as Praat TextGrids and as a Kaldi alignment folder.  steps/export_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.export "$@"
