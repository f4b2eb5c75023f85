#!/usr/bin/env bash
# Downloads LibriSpeech, its lexicon and language models from OpenSLR, with resuming and checksums.  local/download_librispeech.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.download "$@"
