#!/usr/bin/env bash
# Transcribes recordings with a model made by steps/export_model.sh.  ./transcribe.sh --help
. "$(dirname "$0")/local/path.sh"
exec python -m lstmp.transcribe.transcribe "$@"
