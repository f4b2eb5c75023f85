#!/usr/bin/env bash
# Serves an online model: recognition over WebSockets, and a page that sends the microphone.  steps/serve.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.serve.server "$@"
