#!/usr/bin/env bash
# Synthesizes the corpus tiny with espeak-ng: data dirs, audio, lexicon, text for the LM.  local/prepare_tiny.sh --help
. "$(dirname "$0")/path.sh"
exec python -m lstmp.corpus.synth "$@"
