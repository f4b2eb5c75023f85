#!/usr/bin/env bash
# Puts a trained network and all that recognition needs into one folder.  steps/export_model.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.transcribe.export "$@"
