#!/usr/bin/env bash
# The papers' grid, trained to the end: the data of mini_librispeech after MP3 coding, as filterbank energies and adapted by
# tri3b; states of monophones, about 500 and about 4,000 tied states, states for a low frame rate, and graphs for sequence
# training, as far as the grid names them; learning rates, networks, page.
#
# DIR is a copy of LibriSpeech with the layout `pack`, with dev and test (recipes/mini_librispeech/README.md).
#
#   recipes/sak2014/run.sh --corpus DIR                 all of it; what is done is skipped
#   recipes/sak2014/run.sh --corpus DIR --only lstm-2   some networks of grid.yaml
#   recipes/sak2014/run.sh --corpus DIR --dry-run       the data, and what the networks would take
#   recipes/sak2014/run.sh --corpus DIR --grid FILE     another grid of these data: recipes/sak2014/processes/grid.yaml,
#                                                       recipes/sak2014/beyond/grid.yaml
set -euo pipefail
. "$(dirname "$0")/../options.sh"
take_options "--grid" "$@" # ${options[@]}: of steps/run_grid.sh
grid=${grid:-recipes/sak2014/grid.yaml}
exp=exp/mini_librispeech data=data/mini_librispeech out=exp/sak2014 coded=train-clean-5_mp3
if [ ! -d $data/test ] && [ ! -d "${corpus:-}/test" ] && [ ! -d "${corpus:-}/LibriSpeech/test" ]; then
  echo "error: ${corpus:---corpus is missing}: no set \`test\`; give a copy with dev and test, see recipes/mini_librispeech/README.md" >&2
  exit 1
fi
for stages in "0 7" "9 9"; do
  ./run.sh --recipe mini_librispeech ${corpus:+--corpus "$corpus"} --stage "${stages% *}" --stop-stage "${stages#* }" \
    --systems "[tri3b, energies]" \
    --networks "{energies: {speeds: [1.0], mp3_kbps: 24, feature: {kind: fbank, cmvn: mean_var}}}"
done
. local/path.sh
nj=$(nproc) lang=$exp/lang_tri3b
steps/make_fmllr.sh --data $data/$coded --model $exp/tri3b --transforms $exp/tri3b_ali_mp3 --out $exp/fmllr/$coded
adapt dev test
tie() { # NAME OPTION...: the alignment to other states, and their graph, if the grid is trained on them
  grep -q $out/"$1"_ali "$grid" || return 0
  steps/tie_states.sh "${@:2}" --data $data/$coded --lang $lang --ali $exp/tri3b_ali_mp3 --out $out/"$1"_ali
  steps/make_graph.sh --lang ${lang}_tgsmall --model $out/"$1"_ali --out $out/"$1"_ali/graph_tgsmall
}
tie ci --monophones
tree=(--model "$exp"/tri3b --config "$exp"/conf/tri3b.yaml --fmllr-config "$exp"/conf/fmllr.yaml --nj "$nj")
for leaves in 500 4000; do
  tie $leaves --leaves $leaves "${tree[@]}"
done
tie chain --topology chain --context left_biphone --leaves 2000 "${tree[@]}"
if grep -q $out/chain_ali/denominator "$grid"; then
  steps/make_denominator.sh --ali $out/chain_ali --out $out/chain_ali/denominator --config $exp/conf/denominator.yaml
fi
if grep -q $exp/tri3b/graph_weak "$grid"; then
  weak_graph
fi
options+=(--find-rates)
grid_and_page "$grid"
