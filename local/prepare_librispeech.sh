#!/usr/bin/env bash
# Prepares Kaldi data dirs data/<recipe>/<split> from LibriSpeech or a corpus with its layout.  local/prepare_librispeech.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.librispeech "$@"
