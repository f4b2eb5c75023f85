#!/usr/bin/env bash
# Decodes a data dir as if its speech came in piece by piece, with the time that each piece took.
# steps/decode_online.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.decode.decode_online "$@"
