#!/usr/bin/env bash
# Plots utterances with their alignment: spectrogram, words, phones, HMM states, log-likelihood.  steps/plot_alignment.sh --help
. "$(dirname "$0")/../local/path.sh"
exec python -m lstmp.alignment.plot "$@"
