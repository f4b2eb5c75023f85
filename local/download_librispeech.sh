#!/usr/bin/env bash
# LibriSpeech, its lexicon and language models from OpenSLR, resumed and checked.  local/download_librispeech.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.download "$@"
