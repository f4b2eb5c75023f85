#!/usr/bin/env bash
# Makes Kaldi data dirs data/<recipe>/<split> from LibriSpeech or a corpus like it.  local/prepare_librispeech.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.librispeech "$@"
