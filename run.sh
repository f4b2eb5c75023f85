#!/usr/bin/env bash
# From speech to a table of word error rates, on one page. Every stage calls scripts of local/ and steps/ that also work
# alone (--help). What is done is skipped: each script compares the digest of its inputs and configuration.
#   ./run.sh                                            the synthetic recipe `tiny`
#   ./run.sh --recipe mini_librispeech --corpus DIR     real speech, from a local copy; without --corpus it is downloaded
#   ./run.sh --stage 8 --stop-stage 8                   some stages only
#   ./run.sh --dry-run                                  check all options and print the commands
#   ./run.sh --lstmp.epochs 3 --seed 2                  any option of the recipe or of conf/*.yaml
#   ./run.sh --nnodes 4                                 on four machines: docs/scaling.md
#   ./run.sh --help                                     all options
set -euo pipefail
export LSTMP_FROM="$PWD" LSTMP_COMMAND="${LSTMP_COMMAND:-./run.sh${*:+ $*}}"
cd "$(dirname "$0")"
case " $* " in *" --help "*|*" -h "*) sed -n '2,10s/^# \{0,1\}//p' run.sh
  (. local/path.sh 2> /dev/null; python -m lstmp.recipe --help) || true; exit 0 ;; esac

# 0  environment: .venv with the pinned packages, or that of the installed package (lstmp run); all below runs in it
echo "== stage 0: environment"
[ -n "${LSTMP_PYTHON:-}" ] || [ -x .lstmp/bin/python ] || [ ! -x local/env.sh ] || local/env.sh
. local/path.sh
settings="$(python -m lstmp.recipe "$@")" # checks all options, writes all of $exp/conf, names the variables used below
eval "$settings"; . local/begin_run.sh
conf=$exp/conf lang=$data/lang lang_lm=$data/lang_$lm splits=("$train" "$dev" "${tests[@]}")
gmm=(--nj "$nj" --device "$device") last=${triphones[-1]} lms=("$lm" ${rescore_lm:+"$rescore_lm"}) spent=() agreement=()
lang_of() { if [ "$pron_probs" = true ] && [ "$1" = "$last" ]; then echo "$exp/lang_$last"; else echo "$lang"; fi; }
at() { LSTMP_STAGE=$1; [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] && echo "== stage $1: $2 (after $((SECONDS / 60)) min)"; }

# 1  data: make, download or take the corpus, write Kaldi data dirs, check all that later stages rely on
if at 1 "data of $recipe: ${splits[*]}"; then
  at_most() { [ "$1" = 0 ] || echo "--max-utts $1"; }
  case $source in
    tiny) local/prepare_tiny.sh --out "$data" --seed "$seed" --nj "$nj" \
        --train "$train_utterances" --dev "$test_utterances" --test "$test_utterances" ;;
    librispeech | datadirs)
      if [ -z "$corpus" ]; then # nothing given: download
        corpus=downloads
        local/download_librispeech.sh --out "$corpus" --splits "${splits[@]}" \
          --files ${lexicon:+"${lexicon##*/}"} ${arpa:+"${arpa##*/}"} ${rescore_arpa:+"${rescore_arpa##*/}"}
      fi
      take=(local/prepare_librispeech.sh); [ "$source" = librispeech ] || take=(local/take_data_dirs.sh "${commands[@]}")
      "${take[@]}" --corpus "$corpus" --out "$data" --nj "$nj" --splits "$train" $(at_most "$train_utterances")
      "${take[@]}" --corpus "$corpus" --out "$data" --nj "$nj" --splits "${splits[@]:1}" $(at_most "$test_utterances") ;;
  esac
  local/validate_data_dir.sh --nj "$nj" "${commands[@]}" "${splits[@]/#/$data/}"
fi

# 2  dictionary and lang: pronunciations (without a dictionary letters), position-dependent phones, silence, noise, tables, L
if at 2 "dictionary and lang"; then
  [ -n "$lexicon" ] && words=(--lexicon "$lexicon") || words=(--spell "$data/$train" ${arpa:+"$arpa"} ${lm_text:+"$lm_text"})
  local/prepare_dict.sh "${words[@]}" --out "$data/dict"
  local/prepare_lang.sh --dict "$data/dict" --out "$lang"
fi

# 3  language model: a given ARPA, or one trained from text, to G; a larger one to rescore with; what they lack of the words
if [ -n "$arpa" ]; then from=(--arpa "$arpa")
elif [ -n "$lm_text" ]; then from=(--text "$lm_text" --order "$lm_order")
else from=(--text "$data/$train/text" --skip-id --order "$lm_order"); fi
if at 3 "language model $lm"; then
  local/prepare_lm.sh --lang "$lang" --out "$lang_lm" "${from[@]}"
  [ -z "$rescore_lm" ] || local/prepare_lm.sh --lang "$lang" --out "$data/lang_$rescore_lm" --arpa "$rescore_arpa"
  local/check_text.sh --lang "$lang_lm" --train "$data/$train" --data "$data/$dev" "${tests[@]/#/$data/}"
fi

# 4  features: 13 MFCCs for the GMMs (which hear $heard: <train>, or MP3 of it), 40 log-mel energies for the network, CMVN
mfcc() { steps/make_mfcc.sh --config "$conf/mfcc.yaml" --nj "$nj" "${commands[@]}" "$data/$1"; }
fbank() { steps/make_fbank.sh --config "$conf/fbank.yaml" --nj "$nj" "${commands[@]}" --out "$data/$1_fbank" "$data/$1"; }
if at 4 "features"; then
  for split in "${splits[@]}"; do mfcc "$split"; fbank "$split"; done
  coded=(--speeds 1 --mp3 "$gmm_mp3_kbps" --nj "$nj" "${commands[@]}")
  [ "$heard" = "$train" ] || { steps/perturb_data_dir.sh "$data/$train" "$data/$heard" "${coded[@]}"; mfcc "$heard"; }
fi

# 5  monophones: 3-state Bakis HMMs from a flat start, on the shortest utterances, Gaussians split to about 1,000
if at 5 "monophones"; then
  steps/subset_data_dir.sh "$data/$heard" "$data/${heard}_short" --shortest "$mono_utterances"
  steps/train_mono.sh "${gmm[@]}" --lang "$lang" --data "$data/${heard}_short" --out "$exp/mono" --config "$conf/mono.yaml" --seed "$seed"
fi

# 6  triphones, each on the alignment of the one before: a phonetic decision tree and Gaussian mixtures; tri1 on derivatives,
#    tri2b on LDA+MLLT features, tri3b speaker-adapted by fMLLR, with probabilities of pronunciations and silence (pron_probs)
align() { steps/align.sh "${gmm[@]}" --lang "$(lang_of "$1")" --data "$data/$2" --model "$exp/$1" --out "$exp/$1_$3" \
    --config "$conf/align.yaml" --fmllr-config "$conf/fmllr.yaml"; }
if at 6 "triphones ${triphones[*]}"; then
  before=mono
  for tri in "${triphones[@]}"; do
    align $before "$heard" ali
    if [ "$(lang_of "$tri")" != "$lang" ]; then
      steps/get_prons.sh --data "$data/$heard" --lang "$lang" --ali "$exp/${before}_ali" --out "$exp/${before}_ali/prons"
      local/add_pron_probs.sh --dict "$data/dict" --counts "$exp/${before}_ali/prons" --out "$exp/dict_$tri"
      local/prepare_lang.sh --dict "$exp/dict_$tri" --out "$exp/lang_$tri"
    fi
    steps/train_tri.sh "${gmm[@]}" --lang "$(lang_of "$tri")" --data "$data/$heard" --ali "$exp/${before}_ali" \
      --model "$exp/$before" --out "$exp/$tri" --config "$conf/$tri.yaml" --fmllr-config "$conf/fmllr.yaml" --seed "$seed"
    before=$tri
  done
fi

# 7  alignment of all training data to tied states; some utterances of every training speaker are held out, the others are
#    aligned at other speeds and volumes as well, and after coding as MP3, where a network is to hear them so
if at 7 "alignment and held-out part"; then
  align "$last" "$heard" ali
  steps/subset_data_dir.sh "$data/$train" "$data/${train}_heldout" --held-out "$held_out"
  for net in "${networks[@]}"; do
    copies=$train${varied_of[$net]} # such as <train>_sp; <train> itself where nothing is varied
    [ "$copies" != "$train" ] || continue
    steps/perturb_data_dir.sh "$data/$train" "$data/$copies" --speeds ${speeds_of[$net]} --mp3 "${mp3_of[$net]}" "${commands[@]}" \
      ${volumes_of[$net]:+--volume ${volumes_of[$net]}} --nj "$nj" --once "$data/${train}_heldout/utt2spk"
    mfcc "$copies"
    for tri in $(printf '%s\n' "$last" "$targets" | sort -u); do align "$tri" "$copies" "ali${varied_of[$net]}"; done
    [ "${input_of[$net]}" = fmllr ] || fbank "$copies"
  done
fi

# 8  LSTMP: two layers with peepholes and recurrent projection, frame cross entropy, truncated BPTT, state priors; its input
#    is filterbank energies, or features adapted to the speaker by the last triphones' fMLLR transforms
adapt() { steps/make_fmllr.sh --data "$data/$1" --model "$exp/$last" --transforms "$2" --out "$exp/fmllr/$1"; }
if at 8 "networks ${networks[*]}"; then
  for net in "${networks[@]}"; do
    copies=$train${varied_of[$net]} feats=$data/${copies}_fbank
    [ "${input_of[$net]}" != fmllr ] || { adapt "$copies" "$exp/${last}_ali${varied_of[$net]}"; feats=$exp/fmllr/$copies; }
    steps/train_lstmp.sh --train "$feats" --valid "$data/${train}_heldout/utt2spk" --out "$exp/$net" \
      --ali "$exp/${targets}_ali${varied_of[$net]}" --config "$conf/$net.yaml" --device "$device"
  done
fi

# 9  search graphs HCLG of monophones and triphones; a network has the tied states of one of these, and uses its graph
if at 9 "graphs"; then
  for model in mono "${triphones[@]}"; do [[ " ${systems[*]} $targets " == *" $model "* ]] || continue
    with=$(lang_of "$model")_$lm
    [ "$with" = "$lang_lm" ] || local/prepare_lm.sh --lang "$(lang_of "$model")" --out "$with" "${from[@]}"
    steps/make_graph.sh --lang "$with" --model "$exp/$model" --out "$exp/$model/graph_$lm"
  done
fi

# 10  decoding: lattices, those of the best systems rescored with the larger LM; best paths by weights and penalties
if at 10 "decoding"; then
  for split in "$dev" "${tests[@]}"; do
    for model in "${systems[@]}"; do
      graph=$model feats=$data/$split
      [ -z "${input_of[$model]:-}" ] || graph=$targets feats=$data/${split}_fbank
      [ "${input_of[$model]:-}" != fmllr ] || { adapt "$split" "$exp/$last/decode_${lm}_$split"; feats=$exp/fmllr/$split; }
      steps/decode.sh --model "$exp/$model" --graph "$exp/$graph/graph_$lm" --data "$feats" --device "$device" \
        --out "$exp/$model/decode_${lm}_$split" --config "$conf/decode.yaml" --nj "$nj"
      for new in "${lms[@]:1}"; do
        [ -n "${input_of[$model]:-}" ] || [ "$model" = "$last" ] || continue
        steps/lmrescore.sh --lang "$lang_lm" --new-lang "$data/lang_$new" --in "$exp/$model/decode_${lm}_$split" \
          --out "$exp/$model/decode_${new}_$split" --config "$conf/decode.yaml" --nj "$nj"
      done
    done
  done
fi

# 11  scoring: weight and penalty chosen on dev, applied unchanged to the tests; the table of results
if at 11 "scoring"; then
  for model in "${systems[@]}"; do
    for l in "${lms[@]}"; do
      [ "$dry_run" = true ] || [ -d "$exp/$model/decode_${l}_$dev" ] || continue
      steps/score.sh --config "$conf/score.yaml" --dev "$exp/$model/decode_${l}_$dev" \
        --test "${tests[@]/#/$exp/$model/decode_${l}_}"
    done
  done
  for model in mono "${triphones[@]}"; do spent+=("$exp/$model/train.json" "$exp/${model}_ali/align.json"); done
  for tri in ${reference_ctm:+"${triphones[@]}"}; do
    steps/compare_ctm.sh "$reference_ctm" "$exp/${tri}_ali/phones.ctm" --out "$exp/${tri}_ali/agreement.json"
    agreement+=("$tri=$exp/${tri}_ali/agreement.json")
  done
  steps/make_results.sh --recipe-dir "$exp" --systems "${systems[@]}" --sets "$dev" "${tests[@]}" --lms "${lms[@]}" \
    --title "$recipe" --train-data "$data/$train" --agreement "${agreement[@]}" --spent "${spent[@]}" --note "$heard_note"
  [ "$dry_run" = true ] || cat "$exp/RESULTS.md"
fi
