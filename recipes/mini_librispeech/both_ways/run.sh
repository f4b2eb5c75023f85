#!/usr/bin/env bash
# mini_librispeech with a network that hears both ways: data, states and adapted input are those of `lstmp`, which hears only
# what has been said. Beside it tri3b, which adapts it.
#
#   recipes/mini_librispeech/both_ways/run.sh --corpus DIR     all of it; what is done is skipped; other options of run.sh too
set -euo pipefail
. "$(dirname "$0")/../variant.sh"
take_options "$@"
both="bidirectional: true, chunk: 200, label_delay: 0, streams: 32, cells: 320, recurrent_projection: 128"
exec ./run.sh --recipe mini_librispeech --systems "[tri3b, blstmp]" --networks "{blstmp: {mp3_kbps: 24, $both}}" \
  "${options[@]}"
