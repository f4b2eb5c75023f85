#!/usr/bin/env bash
# The papers' grid: the data of mini_librispeech and its tri3b, the states of the monophones, the networks, the page.
#
#   recipes/sak2014/run.sh --corpus DIR                 all of it; what is done is skipped
#   recipes/sak2014/run.sh --corpus DIR --only lstm-2   some networks of grid.yaml
#   recipes/sak2014/run.sh --corpus DIR --dry-run       what it would take
#   recipes/sak2014/run.sh --corpus DIR --grid FILE     another grid of these data, such as recipes/sak2014/processes/grid.yaml
set -euo pipefail
. "$(dirname "$0")/../options.sh"
take_options "--grid" "$@" # ${options[@]}: of steps/run_grid.sh
grid=${grid:-recipes/sak2014/grid.yaml}
base=mini_librispeech exp=exp/mini_librispeech data=data/mini_librispeech out=exp/sak2014
for stages in "0 7" "9 9"; do
  ./run.sh --recipe $base ${corpus:+--corpus "$corpus"} --stage "${stages% *}" --stop-stage "${stages#* }" --networks "{lstmp: {speeds: [1.0]}}"
done
. local/path.sh
steps/make_fmllr.sh --data $data/train-clean-5 --model $exp/tri3b --transforms $exp/tri3b_ali --out $exp/fmllr/train-clean-5
adapt dev
if grep -q "$out/ci_ali" "$grid"; then # the states of the monophones
  steps/tie_states.sh --monophones --data $data/train-clean-5 --lang $exp/lang_tri3b --ali $exp/tri3b_ali --out $out/ci_ali
  steps/make_graph.sh --lang $exp/lang_tri3b_tgsmall --model $out/ci_ali --out $out/ci_ali/graph_tgsmall
fi
grid_and_page "$grid"
