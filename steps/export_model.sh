#!/usr/bin/env bash
# Exports a trained network and everything that recognition needs into one folder.  steps/export_model.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.transcribe.export "$@"
