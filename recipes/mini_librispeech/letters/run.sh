#!/usr/bin/env bash
# mini_librispeech without a dictionary: letters are phones, the words those of the transcripts and of the language model.
# One network, trained on MP3-coded copies of the training data at their own speed.
#
#   recipes/mini_librispeech/letters/run.sh --corpus DIR     all of it; what is done is skipped; other options of run.sh too
set -euo pipefail
. "$(dirname "$0")/../../options.sh"
take_options "" "$@"
options=(${corpus:+--corpus "$corpus"} "${options[@]}")
LSTMP_COMMAND="recipes/mini_librispeech/letters/run.sh$(quoted "${options[@]}")"
export LSTMP_COMMAND
exec ./run.sh --recipe mini_librispeech --lexicon "" --exp exp/mini_librispeech_letters \
  --data data/mini_librispeech_letters --speeds "[1.0]" --networks "{lstmp: {mp3_kbps: 24, epochs: 4}}" "${options[@]}"
