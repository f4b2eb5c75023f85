#!/usr/bin/env bash
# The search for better networks of mini_librispeech: run.sh makes the data, at three speeds, through MP3 and adapted, with
# whole and with short speakers; then states of biphones, graphs, what online fMLLR needs, the grid and its page.
#
#   recipes/mini_librispeech/search/run.sh --corpus DIR                all of it; what is done is skipped
#   recipes/mini_librispeech/search/run.sh --corpus DIR --only base    some networks of grid.yaml
#   recipes/mini_librispeech/search/run.sh --corpus DIR --dry-run      what it would take
set -euo pipefail
. "$(dirname "$0")/../../options.sh"
take_options "" "$@" # ${options[@]}: of steps/run_grid.sh
exp=exp/mini_librispeech data=data/mini_librispeech train=train-clean-5
recipe=(./run.sh --recipe mini_librispeech ${corpus:+--corpus "$corpus"})
"${recipe[@]}" --networks "{base: {mp3_kbps: 24}, short: {mp3_kbps: 24, speaker_minutes: 3}}" --stop-stage 7
"${recipe[@]}" --stage 9 --stop-stage 9
. local/path.sh
nj=$(nproc) lang=$exp/lang_tri3b
for varied in _sp_mp3 _sp_mp3_spk3; do
  steps/make_fmllr.sh --data $data/$train$varied --model $exp/tri3b --transforms $exp/tri3b_ali$varied \
    --out $exp/fmllr/$train$varied
  states=$exp/tri3b_biphones$varied
  steps/tie_states.sh --topology one_state --context left_biphone --nj "$nj" --lang $lang --data $data/$train$varied \
    --ali $exp/tri3b_ali$varied --model $exp/tri3b --out $states --config $exp/conf/tri3b.yaml --fmllr-config $exp/conf/fmllr.yaml
  steps/make_denominator.sh --ali $states --out $states/denominator --config $exp/conf/denominator.yaml
  steps/make_graph.sh --lang ${lang}_tgsmall --model $states --out $states/graph_tgsmall
done
local/prepare_lm.sh --lang $lang --out ${lang}_weak --text $data/$train/text --skip-id --order 1
steps/make_graph.sh --lang ${lang}_weak --model $exp/tri3b --out $exp/tri3b/graph_weak
online=$exp/tri3b_ali_sp_mp3/online_fmllr
steps/train_online_fmllr.sh --data $data/${train}_sp_mp3 --ali $exp/tri3b_ali_sp_mp3 --transforms $exp/tri3b_ali_sp_mp3 \
  --model $exp/tri3b --lang $lang --out $online
steps/make_online_fmllr.sh --data $data/${train}_sp_mp3 --ali $exp/tri3b_ali_sp_mp3 --online-fmllr $online --out $online/train \
  --nj "$nj"
adapt dev test
grid_and_page recipes/mini_librispeech/search/grid.yaml
