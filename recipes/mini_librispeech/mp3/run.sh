#!/usr/bin/env bash
# mini_librispeech with GMMs that hear the training speech after MP3 coding at 24 kbit/s, as dev and test of the pack have gone
# through it: what the mismatch of the channels costs them. No network.
#
#   recipes/mini_librispeech/mp3/run.sh --corpus DIR     all of it; what is done is skipped; other options of run.sh too
set -euo pipefail
. "$(dirname "$0")/../variant.sh"
run_variant "$0" --gmm_mp3_kbps 24 --networks "{}" --exp exp/mini_librispeech_mp3 --data data/mini_librispeech : "$@"
