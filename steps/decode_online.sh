#!/usr/bin/env bash
# Decodes a data dir online, chunk by chunk as if the audio were just arriving, and measures the latency.
# steps/decode_online.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.decode_online "$@"
