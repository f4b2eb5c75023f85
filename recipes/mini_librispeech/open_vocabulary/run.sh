#!/usr/bin/env bash
# Words or pieces of words? The network of mini_librispeech decodes with a vocabulary cut so that 1, 3 and 5 % of the words of
# test are unknown, and with pieces of its words, which can spell the others. Neither lexicon nor language model has seen them.
#
#   recipes/mini_librispeech/open_vocabulary/run.sh --corpus DIR               all of it; what is done is skipped
#   recipes/mini_librispeech/open_vocabulary/run.sh --corpus DIR --text FILE   another text for the language models
set -euo pipefail
start=$PWD
cd "$(dirname "$0")/../../.."
case " $* " in *" --help "*|*" -h "*) sed -n '2,6s/^# \{0,1\}//p' recipes/mini_librispeech/open_vocabulary/run.sh; exit 0 ;; esac
corpus="" text=""
while [ $# -gt 0 ]; do
  case $1 in
    --corpus) corpus=$(cd "$start" && realpath "$2") ;;
    --text) text=$(cd "$start" && realpath "$2") ;;
    *) echo "error: $1 is not an option; --corpus and --text are" >&2; exit 1 ;;
  esac
  shift 2
done
[ -n "$corpus" ] || { echo "error: --corpus is missing; give the folder of the corpus pack" >&2; exit 1; }
exp=exp/mini_librispeech data=data/mini_librispeech out=exp/open_vocabulary
./run.sh --recipe mini_librispeech --corpus "$corpus" --networks "{lstmp: {mp3_kbps: 24}}" --stop-stage 10
. local/path.sh
nj=$(nproc) rows=()
for rate in 0.01 0.03 0.05; do
  d=$out/$rate
  local/cut_vocabulary.sh --rate $rate --of $data/test --text "${text:-$corpus/lm/text-sample.txt.gz}" --dict $exp/dict_tri3b --out $d
  local/train_pieces.sh --text $d/text.gz --size 1000 --out $d/pieces
  local/prepare_piece_dict.sh --dict $d/dict --pieces $d/pieces/pieces.model --out $d/dict_pieces
  for kind in words pieces; do
    dict=$d/dict order=3
    [ $kind = words ] || dict=$d/dict_pieces order=5
    local/prepare_lang.sh --dict $dict --out $d/lang_$kind
    local/prepare_lm.sh --lang $d/lang_$kind --text $d/text.gz --order $order --prune 5e-8 --out $d/lang_${kind}_lm
    steps/make_graph.sh --lang $d/lang_${kind}_lm --model $exp/tri3b --out $d/graph_$kind
    for set in dev test; do
      steps/decode.sh --model $exp/lstmp --graph $d/graph_$kind --data $exp/fmllr/$set --config $exp/conf/decode.yaml \
        --out $d/${kind}_$set --nj "$nj"
    done
    steps/score.sh --config conf/score.yaml --dev $d/${kind}_dev --test $d/${kind}_test
    rows+=(--row "$kind, $(wc -l < $d/words.txt) known" $d/words.txt $d/${kind}_test)
  done
done
steps/score_oov.sh "${rows[@]}" --out recipes/mini_librispeech/open_vocabulary
cat recipes/mini_librispeech/open_vocabulary/RESULTS.md
