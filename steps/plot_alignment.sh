#!/usr/bin/env bash
# Draws utterances with their alignment: spectrogram, words, phones, HMM states, likelihood.  steps/plot_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.plot "$@"
