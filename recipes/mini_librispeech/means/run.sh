#!/usr/bin/env bash
# What each means brings: run.sh makes the data, at three speeds, through MP3 and adapted; then the grid and its page.
#
#   recipes/mini_librispeech/means/run.sh --corpus DIR                     all of it; what is done is skipped
#   recipes/mini_librispeech/means/run.sh --corpus DIR --only base noise   some networks of grid.yaml
#   recipes/mini_librispeech/means/run.sh --corpus DIR --dry-run           what it would take
set -euo pipefail
. "$(dirname "$0")/../../options.sh"
take_options "" "$@" # ${options[@]}: of steps/run_grid.sh
exp=exp/mini_librispeech data=data/mini_librispeech train=train-clean-5
recipe=(./run.sh --recipe mini_librispeech ${corpus:+--corpus "$corpus"})
"${recipe[@]}" --networks "{plain: {speeds: [1.0]}, speeds: {}, mp3: {mp3_kbps: 24}}" --mp3_kbps 0 --stop-stage 7
"${recipe[@]}" --stage 9 --stop-stage 9
. local/path.sh
for varied in "" _sp _sp_mp3; do
  steps/make_fmllr.sh --data $data/$train$varied --model $exp/tri3b --transforms $exp/tri3b_ali$varied \
    --out $exp/fmllr/$train$varied
done
adapt dev
grid_and_page recipes/mini_librispeech/means/grid.yaml
