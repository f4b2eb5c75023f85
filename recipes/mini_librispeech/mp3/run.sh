#!/usr/bin/env bash
# mini_librispeech with GMMs trained on MP3-coded speech at 24 kbit/s, as dev and test of the pack are: what the mismatch of
# the channels costs them. No network. tri3b of the recipe itself is decoded for comparison.
#
#   recipes/mini_librispeech/mp3/run.sh --corpus DIR     all of it; what is done is skipped; --nj, --device, --nnodes as run.sh
# shellcheck disable=SC2154 # $settings sets the variables
set -euo pipefail
. "$(dirname "$0")/../../options.sh"
take_options "" "$@"
for word in "${options[@]}"; do
  case $word in
    --nj | --device | --nnodes | --rdzv-endpoint | --launcher) ;;
    --*)
      echo "error: $word would change what is compared; use ./run.sh --gmm_mp3_kbps 24 with options of your own" >&2
      exit 1 ;;
  esac
done
options=(${corpus:+--corpus "$corpus"} "${options[@]}")
variant=(--recipe mini_librispeech --gmm_mp3_kbps 24 --networks "{}" --exp exp/mini_librispeech_mp3 --data data/mini_librispeech)
plain=(--recipe mini_librispeech --networks "{}")
./run.sh "${variant[@]}" "${options[@]}"
./run.sh "${plain[@]}" "${options[@]}" --stop-stage 6

. local/path.sh
settings=$(python -m lstmp.recipe "${plain[@]}" "${options[@]}" --dry-run) # names the variables used below; writes nothing
eval "$settings"
conf=$exp/conf sets=("$dev" "${tests[@]}") model=$exp/tri3b
local/prepare_lm.sh --lang "$exp/lang_tri3b" --out "$exp/lang_tri3b_$lm" --arpa "$arpa"
steps/make_graph.sh --lang "$exp/lang_tri3b_$lm" --model "$model" --out "$model/graph_$lm"
for split in "${sets[@]}"; do
  steps/decode.sh --model "$model" --graph "$model/graph_$lm" --data "$data/$split" --out "$model/decode_${lm}_$split" \
    --config "$conf/decode.yaml" --nj "$nj" --device "$device"
  steps/lmrescore.sh --lang "$data/lang_$lm" --new-lang "$data/lang_$rescore_lm" --in "$model/decode_${lm}_$split" \
    --out "$model/decode_${rescore_lm}_$split" --config "$conf/decode.yaml" --nj "$nj"
done
for l in "$lm" "$rescore_lm"; do
  steps/score.sh --config "$conf/score.yaml" --dev "$model/decode_${l}_$dev" --test "${tests[@]/#/$model/decode_${l}_}"
done
spent=()
for m in mono tri1 tri2b tri3b; do
  spent+=("${exp}_mp3/$m/train.json" "${exp}_mp3/${m}_ali/align.json")
done
LSTMP_COMMAND="recipes/mini_librispeech/mp3/run.sh$(quoted "${options[@]}")" steps/make_results.sh \
  --recipe-dir "${exp}_mp3" --systems mono tri1 tri2b tri3b "tri3b_no_mp3=$model/decode_{lm}_{set}" \
  --sets "${sets[@]}" --lms "$lm" "$rescore_lm" --title "mini_librispeech, GMMs trained on MP3-coded speech" \
  --train-data "$data/$train" --spent "${spent[@]}" \
  --note "\`tri3b_no_mp3\` is tri3b of mini_librispeech; the others are trained on the training \
data after MP3 coding at 24 kbit/s. Both are decoded in four passes (fmllr.passes in conf/decode.yaml)."
