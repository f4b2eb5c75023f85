#!/usr/bin/env bash
# Exports an alignment as CTM files, Praat TextGrids or a Kaldi alignment folder.  steps/export_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.export "$@"
