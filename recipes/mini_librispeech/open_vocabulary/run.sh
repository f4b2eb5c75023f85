#!/usr/bin/env bash
# Words or pieces of words? The network of mini_librispeech decodes with a vocabulary cut so that 1, 3 and 5 % of the words of
# test are unknown to dictionary and language model, and with pieces of words: their pronunciations are learned from the cut
# dictionary, their language model from the text as it is. LM weights are chosen on 150 utterances of dev.
#
#   recipes/mini_librispeech/open_vocabulary/run.sh --corpus DIR               all of it; what is done is skipped
#   recipes/mini_librispeech/open_vocabulary/run.sh --corpus DIR --text FILE   another text for the language models
#
# Other options go to run.sh, which makes mini_librispeech's network first: --stage 10 where that is done.
set -euo pipefail
start=$PWD
cd "$(dirname "$0")/../../.."
case " $* " in *" --help "*|*" -h "*) sed -n '2,9s/^# \{0,1\}//p' recipes/mini_librispeech/open_vocabulary/run.sh; exit 0 ;; esac
corpus="" text="" base=()
while [ $# -gt 0 ]; do
  case $1 in --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; esac
  [ $# -ge 2 ] || { echo "error: $1 has no value; write \`$1 VALUE\`" >&2; exit 1; }
  case $1 in
    --corpus) corpus=$(cd "$start" && realpath "$2") ;;
    --text) text=$(cd "$start" && realpath "$2") ;;
    --exp | --data | --recipe) echo "error: $1 is not an option here; the folders are those of mini_librispeech" >&2; exit 1 ;;
    *) base+=("$1" "$2") ;;
  esac
  shift 2
done
[ -n "$corpus" ] || { echo "error: --corpus is missing; give the folder of the corpus pack" >&2; exit 1; }
exp=exp/mini_librispeech data=data/mini_librispeech out=exp/open_vocabulary
./run.sh --recipe mini_librispeech --corpus "$corpus" --networks "{lstmp: {mp3_kbps: 24}}" "${base[@]}" --stop-stage 10
. local/path.sh
nj=$(nproc) rows=() text=${text:-$corpus/lm/text-sample.txt.gz} pieces=$out/pieces/pieces.model
steps/subset_data_dir.sh $exp/fmllr/dev $out/dev --spread 150
local/train_pieces.sh --text "$text" --size 10000 --out $out/pieces
for rate in 0.01 0.03 0.05; do
  d=$out/$rate
  local/cut_vocabulary.sh --rate $rate --of $data/test --text "$text" --dict $exp/dict_tri3b --out $d
  local/prepare_piece_dict.sh --dict $d/dict --pieces $pieces --out $d/dict_pieces
  for kind in words pieces; do
    if [ $kind = words ]; then dict=$d/dict from=(--text $d/text.gz --order 3 --prune 2e-7)
    elif [ $rate = 0.01 ]; then dict=$d/dict_pieces from=(--text "$text" --order 4 --prune 2e-7)
    else dict=$d/dict_pieces from=(--arpa $out/0.01/lang_pieces_lm/lm.arpa); fi
    local/prepare_lang.sh --dict $dict --out $d/lang_$kind
    local/prepare_lm.sh --lang $d/lang_$kind "${from[@]}" --out $d/lang_${kind}_lm
    steps/make_graph.sh --lang $d/lang_${kind}_lm --model $exp/tri3b --out $d/graph_$kind
    for set in dev test; do
      feats=$out/dev
      [ $set = dev ] || feats=$exp/fmllr/$set
      steps/decode.sh --model $exp/lstmp --graph $d/graph_$kind --data $feats --config $exp/conf/decode.yaml \
        --out $d/${kind}_$set --nj "$nj"
    done
    steps/score.sh --config conf/score.yaml --dev $d/${kind}_dev --test $d/${kind}_test
    rows+=(--row "$kind, $(wc -l < $d/words.txt) known" $d/words.txt $d/${kind}_test)
  done
done
steps/score_oov.sh "${rows[@]}" --out recipes/mini_librispeech/open_vocabulary
cat recipes/mini_librispeech/open_vocabulary/RESULTS.md
