#!/usr/bin/env bash
# LibriSpeech, or a corpus laid out like it, to Kaldi data dirs data/<recipe>/<split>.  local/prepare_librispeech.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.librispeech "$@"
