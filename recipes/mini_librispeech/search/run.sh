#!/usr/bin/env bash
# The search for better networks of mini_librispeech: run.sh makes the data, at three speeds, through MP3 and adapted, with
# whole and with short speakers, and as filterbank energies; then states for a low frame rate, graphs, what online fMLLR needs, the
# grid and its page.
#
#   recipes/mini_librispeech/search/run.sh --corpus DIR                all of it; what is done is skipped
#   recipes/mini_librispeech/search/run.sh --corpus DIR --only base    some networks of grid.yaml
#   recipes/mini_librispeech/search/run.sh --corpus DIR --dry-run      what it would take
set -euo pipefail
. "$(dirname "$0")/../../options.sh"
take_options "" "$@" # ${options[@]}: of steps/run_grid.sh
exp=exp/mini_librispeech data=data/mini_librispeech train=train-clean-5
recipe=(./run.sh --recipe mini_librispeech ${corpus:+--corpus "$corpus"})
"${recipe[@]}" --networks "{base: {mp3_kbps: 24}, short: {mp3_kbps: 24, speaker_minutes: 3},
  energies: {mp3_kbps: 24, speaker_minutes: 3, feature: {kind: fbank, cmvn: mean_var}}}" --stop-stage 7
"${recipe[@]}" --stage 9 --stop-stage 9
. local/path.sh
nj=$(nproc) lang=$exp/lang_tri3b
for varied in _sp_mp3 _sp_mp3_spk3; do
  steps/make_fmllr.sh --data $data/$train$varied --model $exp/tri3b --transforms $exp/tri3b_ali$varied \
    --out $exp/fmllr/$train$varied
done
tie() { # TOPOLOGY LEAVES OUT: states in the context of the phone before, and their graph
  steps/tie_states.sh --topology "$1" --context left_biphone --leaves "$2" --nj "$nj" --lang $lang \
    --data $data/${train}_sp_mp3_spk3 --ali $exp/tri3b_ali_sp_mp3_spk3 --model $exp/tri3b --out "$3" \
    --config $exp/conf/tri3b.yaml --fmllr-config $exp/conf/fmllr.yaml
  steps/make_graph.sh --lang ${lang}_tgsmall --model "$3" --out "$3/graph_tgsmall"
}
tie one_state 2500 $exp/tri3b_one_state_sp_mp3_spk3
tie chain 3500 $exp/tri3b_chain_sp_mp3_spk3
steps/make_denominator.sh --ali $exp/tri3b_chain_sp_mp3_spk3 --out $exp/tri3b_chain_sp_mp3_spk3/denominator \
  --config $exp/conf/denominator.yaml
weak_graph
online=$exp/tri3b_ali_sp_mp3/online_fmllr
steps/train_online_fmllr.sh --data $data/${train}_sp_mp3 --ali $exp/tri3b_ali_sp_mp3 --transforms $exp/tri3b_ali_sp_mp3 \
  --model $exp/tri3b --lang $lang --out $online
steps/make_online_fmllr.sh --data $data/${train}_sp_mp3 --ali $exp/tri3b_ali_sp_mp3 --online-fmllr $online --out $online/train \
  --nj "$nj"
adapt dev test
grid_and_page recipes/mini_librispeech/search/grid.yaml
