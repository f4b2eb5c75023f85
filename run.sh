#!/usr/bin/env bash
# From audio and transcripts to a table of word error rates. Each stage calls scripts of local/ and steps/, which can also
# be called alone (--help explains each). A step is skipped if its inputs and configuration have not changed.
#   ./run.sh                                            the synthetic recipe `tiny`
#   ./run.sh --recipe mini_librispeech --corpus DIR     real speech, from a local copy; without --corpus it is downloaded
#   ./run.sh --stage 8 --stop-stage 8                   some stages only
#   ./run.sh --dry-run                                  check all options and print every command with its values, to copy
#   ./run.sh --lstmp.epochs 3 --seed 2                  any option of the recipe or of conf/*.yaml
#   ./run.sh --nnodes 4                                 on four machines: docs/scaling.md
#   ./run.sh --help                                     all options
# shellcheck disable=SC2154 # $settings sets the variables
set -euo pipefail
export LSTMP_FROM="$PWD"
cd "$(dirname "$0")"
case " $* " in
  *" --help "* | *" -h "*)
    sed -n '2,10s/^# \{0,1\}//p' run.sh
    (. local/path.sh 2> /dev/null; python -m lstmp.recipe --help) || true # without an environment: the lines above only
    exit 0 ;;
esac

# Stage 0, environment: .venv with the pinned packages, or the Python of `lstmp run`; everything below runs in it.
echo "== stage 0: environment"
if [ -z "${LSTMP_PYTHON:-}" ] && [ ! -x .lstmp/bin/python ] && [ -x local/env.sh ]; then
  local/env.sh
fi
. local/path.sh
settings=$(python -m lstmp.recipe "$@") # checks all options and resolves the configurations; lstmp/recipe/shell.py explains
eval "$settings"                        # the variables used below, and `settings_of SYSTEM`, which sets those of one system
. local/begin_run.sh                    # locks $exp and writes $exp/conf; with --dry-run, steps are only printed
conf=$exp/conf
splits=("$train" "$dev" "${tests[@]}")

# runs_stage N TITLE: whether stage N is to run; prints its title
runs_stage() {
  LSTMP_STAGE=$1
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] && echo "== stage $1: $2 (after $((SECONDS / 60)) min)"
}

# Stage 1, data: generate, download or read the corpus, write Kaldi data dirs, and validate them.
if runs_stage 1 "data of $recipe: ${splits[*]}"; then
  if [ "$source" = tiny ]; then
    local/prepare_tiny.sh --out "$data" --seed "$seed" --nj "$nj" \
      --train "$train_utterances" --dev "$test_utterances" --test "$test_utterances"
  else
    if [ -z "$corpus" ]; then
      corpus=downloads
      local/download_librispeech.sh --out "$corpus" --splits "${splits[@]}" --files "${downloads[@]}"
    fi
    if [ "$source" = librispeech ]; then
      prepare=(local/prepare_librispeech.sh)
    else
      prepare=(local/take_data_dirs.sh "${wav_options[@]}")
    fi
    "${prepare[@]}" --corpus "$corpus" --out "$data" --nj "$nj" --splits "$train" "${limit_train[@]}"
    "${prepare[@]}" --corpus "$corpus" --out "$data" --nj "$nj" --splits "${splits[@]:1}" "${limit_test[@]}"
  fi
  local/validate_data_dir.sh --nj "$nj" "${wav_options[@]}" "${splits[@]/#/$data/}"
fi

# Stage 2, dictionary and lang: pronunciations (letters, if there is no lexicon), position-dependent phones, silence, L.fst.
if runs_stage 2 "dictionary and lang"; then
  local/prepare_dict.sh "${dict_source[@]}" --out "$data/dict"
  local/prepare_lang.sh --dict "$data/dict" --out "$data/lang"
fi

# Stage 3, language model: a given ARPA file, or one trained from text, as G.fst; a larger one for rescoring; a report on
# the words and spellings of the splits that lexicon and language model lack.
if runs_stage 3 "language model $lm"; then
  local/prepare_lm.sh --lang "$data/lang" --out "$data/lang_$lm" "${lm_source[@]}"
  if [ -n "$rescore_lm" ]; then
    local/prepare_lm.sh --lang "$data/lang" --out "$data/lang_$rescore_lm" --arpa "$rescore_arpa"
  fi
  local/check_text.sh --lang "$data/lang_$lm" --train "$data/$train" --data "$data/$dev" "${tests[@]/#/$data/}"
fi

# Stage 4, features: 13 MFCCs for the GMMs, 40 log-mel filterbank energies for the networks, CMVN statistics per speaker.
# The GMMs are trained on $gmm_train: the training data, or with gmm_mp3_kbps a copy of it after MP3 coding.
if runs_stage 4 "features"; then
  for split in "${splits[@]}"; do
    steps/make_mfcc.sh --config "$conf/mfcc.yaml" --nj "$nj" "${feats_options[@]}" "$data/$split"
    steps/make_fbank.sh --config "$conf/fbank.yaml" --nj "$nj" "${feats_options[@]}" --out "$data/${split}_fbank" \
      "$data/$split"
  done
  if [ "$gmm_train" != "$train" ]; then
    steps/perturb_data_dir.sh "$data/$train" "$data/$gmm_train" --speeds 1 --mp3 "$gmm_mp3_kbps" --nj "$nj" "${wav_options[@]}"
    steps/make_mfcc.sh --config "$conf/mfcc.yaml" --nj "$nj" "${feats_options[@]}" "$data/$gmm_train"
  fi
fi

# Stage 5, monophones: 3-state left-to-right HMMs from a flat start, on the shortest utterances.
if runs_stage 5 "monophones"; then
  steps/subset_data_dir.sh "$data/$gmm_train" "$data/${gmm_train}_short" --shortest "$mono_utterances"
  steps/train_mono.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$data/lang" \
    --data "$data/${gmm_train}_short" --out "$exp/mono" --config "$conf/mono.yaml" --seed "$seed"
fi

# Stage 6, triphones, each trained on the alignment by the previous system: tri1 on deltas, tri2b on LDA+MLLT features,
# tri3b with SAT (fMLLR) and, with pron_probs, with pronunciation and silence probabilities in its lexicon.
if runs_stage 6 "triphones ${triphones[*]}"; then
  previous=mono
  for tri in "${triphones[@]}"; do
    settings_of "$previous"
    steps/align.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$lang" --data "$data/$gmm_train" \
      --model "$exp/$previous" --out "$exp/${previous}_ali" --config "$conf/align.yaml" --fmllr-config "$conf/fmllr.yaml"
    settings_of "$tri"
    if [ "$lang" != "$data/lang" ]; then
      steps/get_prons.sh --data "$data/$gmm_train" --lang "$data/lang" --ali "$exp/${previous}_ali" \
        --out "$exp/${previous}_ali/prons"
      local/add_pron_probs.sh --dict "$data/dict" --counts "$exp/${previous}_ali/prons" --out "$exp/dict_$tri"
      local/prepare_lang.sh --dict "$exp/dict_$tri" --out "$lang"
    fi
    steps/train_tri.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$lang" --data "$data/$gmm_train" \
      --ali "$exp/${previous}_ali" --model "$exp/$previous" --out "$exp/$tri" --config "$conf/$tri.yaml" \
      --fmllr-config "$conf/fmllr.yaml" --seed "$seed"
    previous=$tri
  done
fi

# Stage 7, alignment of all training data to tied states, the targets of the networks. Some utterances of every training
# speaker, or whole speakers, are held out. Copies at other speeds and volumes, or after MP3 coding, are made for networks
# trained on them.
if runs_stage 7 "alignment and held-out part"; then
  settings_of "$last"
  steps/align.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$lang" --data "$data/$gmm_train" \
    --model "$exp/$last" --out "$exp/${last}_ali" --config "$conf/align.yaml" --fmllr-config "$conf/fmllr.yaml"
  steps/subset_data_dir.sh "$data/$train" "$data/${train}_heldout" "${held_out_options[@]}"
  for network in "${networks[@]}"; do
    settings_of "$network"
    if [ "$copies" = "$train" ]; then
      continue # trained on the unchanged data
    fi
    steps/perturb_data_dir.sh "$data/$train" "$data/$copies" "${perturb_options[@]}" "${wav_options[@]}" --nj "$nj" \
      --once "$data/${train}_heldout/utt2spk"
    steps/make_mfcc.sh --config "$conf/mfcc.yaml" --nj "$nj" "${feats_options[@]}" "$data/$copies"
    if [[ " ${input_types[*]} " = *" fbank "* ]]; then
      steps/make_fbank.sh --config "$conf/fbank.yaml" --nj "$nj" "${feats_options[@]}" --out "$data/${copies}_fbank" \
        "$data/$copies"
    fi
    for model in "${aligners[@]}"; do
      settings_of "$model"
      steps/align.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$lang" --data "$data/$copies" \
        --model "$exp/$model" --out "$exp/${model}_ali$copies_suffix" --config "$conf/align.yaml" --fmllr-config "$conf/fmllr.yaml"
    done
  done
fi

# Stage 8, networks: LSTMPs, trained with frame cross entropy and truncated BPTT to predict the tied state of each frame.
# Their input is filterbank energies, or the features of the last triphone system under its fMLLR transforms. First what a
# network needs: with align_by, an alignment by an earlier network; with biphones, states for a low frame rate; for
# lattice-free MMI, the graph of all phone sequences; with ivector_dim, an i-vector extractor; for online fMLLR, what it is
# done with, and the training data under it; for sMBR and MMI, which continue the training of another network, a graph with
# a weak language model.
if runs_stage 8 "networks ${networks[*]}"; then
  for network in "${networks[@]}"; do
    settings_of "$network"
    if [[ " ${input_types[*]} " = *" fmllr "* ]]; then
      steps/make_fmllr.sh --data "$data/$copies" --model "$exp/$last" --transforms "$exp/${last}_ali$copies_suffix" \
        --out "$exp/fmllr/$copies"
    fi
    if [ -n "$align_by" ]; then
      steps/align_lstmp.sh --nj "$nj" --memory "$memory" --device "$device" --lang "$lang" --data "$align_feats" \
        --network "$exp/$align_by" --hmm "$aligner_states" --out "$alignment" --config "$conf/align.yaml"
    fi
    if [ "$grows_tree" = true ]; then
      steps/tie_states.sh --topology chain --context left_biphone --nj "$nj" --memory "$memory" --device "$device" \
        --lang "$lang" --data "$data/$copies" --ali "$alignment" --model "$exp/$targets" \
        --out "$states" --config "$conf/$targets.yaml" --fmllr-config "$conf/fmllr.yaml" "${tie_options[@]}"
    fi
    if [ -n "$online_fmllr" ]; then
      steps/train_online_fmllr.sh --data "$data/$copies" --ali "$states" --transforms "$exp/${last}_ali$copies_suffix" \
        --model "$exp/$last" --lang "$lang" --out "$online_fmllr" --config "$conf/online_fmllr.yaml"
      steps/make_online_fmllr.sh --data "$data/$copies" --ali "$states" --online-fmllr "$online_fmllr" --nj "$nj" \
        --out "$train_feats"
    fi
    if [ "$lfmmi" = true ]; then
      steps/make_denominator.sh --ali "$states" --out "$states/denominator" --config "$conf/denominator.yaml"
    fi
    if [ -n "$ivectors" ]; then
      steps/train_ivectors.sh --data "$train_feats" --out "$ivectors" --config "$conf/ivector.yaml"
    fi
    train_network=steps/train_lstmp.sh
    if [ "$on_lattices" = true ]; then
      local/prepare_lm.sh --lang "$lang" --out "${lang}_weak" --text "$data/$train/text" --skip-id --order "$weak_lm_order"
      steps/make_graph.sh --lang "${lang}_weak" --model "$graph_model" --out "$weak_graph"
      train_network=steps/train_sequence.sh
    fi
    "$train_network" --train "$train_feats" --ali "$states" --valid "$data/${train}_heldout/utt2spk" \
      --out "$exp/$network" --config "$conf/$network.yaml" --device "$device" --memory "$memory" "${train_options[@]}"
  done
fi

# Stage 9, decoding graphs HCLG of the GMM systems, and of the states of biphones that some networks predict; any other
# network uses the graph of the system whose tied states it predicts.
if runs_stage 9 "graphs"; then
  for model in "${graph_models[@]}"; do
    settings_of "$model"
    if [ "$lang" != "$data/lang" ]; then
      local/prepare_lm.sh --lang "$lang" --out "${lang}_$lm" "${lm_source[@]}"
    fi
    steps/make_graph.sh --lang "${lang}_$lm" --model "$exp/$model" --out "$graph"
  done
  for network in "${networks[@]}"; do
    settings_of "$network"
    if [ "$grows_tree" = true ]; then
      steps/make_graph.sh --lang "${lang}_$lm" --model "$states" --out "$graph"
    fi
  done
fi

# Stage 10, decoding: lattices, and hypotheses for every LM weight and word insertion penalty; the lattices of the last
# triphone system and of the networks are rescored with the larger language model. Combinations are made of the lattices.
if runs_stage 10 "decoding"; then
  for split in "$dev" "${tests[@]}"; do
    for system in "${systems[@]}"; do
      settings_of "$system"
      case $feature_type in
        mfcc | online_fmllr) feats=$data/$split ;;
        fbank) feats=$data/${split}_fbank ;;
        fmllr)
          feats=$exp/fmllr/$split
          steps/make_fmllr.sh --data "$data/$split" --model "$exp/$last" --transforms "$exp/$last/decode_${lm}_$split" \
            --out "$feats" ;;
      esac
      steps/decode.sh --model "$exp/$system" --graph "$graph" --data "$feats" --out "$exp/$system/decode_${lm}_$split" \
        --config "$conf/decode.yaml" --nj "$nj" --device "$device"
      if [ "$rescore" = true ]; then
        steps/lmrescore.sh --lang "$data/lang_$lm" --new-lang "$data/lang_$rescore_lm" --nj "$nj" \
          --in "$exp/$system/decode_${lm}_$split" --out "$exp/$system/decode_${rescore_lm}_$split" --config "$conf/decode.yaml"
      fi
    done
    for combination in "${combinations[@]}"; do
      settings_of "$combination"
      for l in "${lms[@]}"; do
        steps/combine.sh --in "${combined[@]/%//decode_${l}_$split}" --out "$exp/$combination/decode_${l}_$split" \
          --config "$conf/decode.yaml" --nj "$nj"
      done
    done
  done
fi

# Stage 11, scoring: LM weight and word insertion penalty are chosen on dev and applied unchanged to the test sets. The
# report, a page for the browser, shows results, errors and every utterance.
if runs_stage 11 "scoring"; then
  for system in "${systems[@]}" "${combinations[@]}"; do
    settings_of "$system"
    for l in "${lms[@]}"; do
      steps/score.sh --config "$conf/score.yaml" --dev "$exp/$system/decode_${l}_$dev" \
        --test "${tests[@]/#/$exp/$system/decode_${l}_}"
    done
  done
  spent=() agreement=() # files with computing times, and with agreement of alignments
  for model in mono "${triphones[@]}"; do
    spent+=("$exp/$model/train.json" "$exp/${model}_ali/align.json")
  done
  if [ -n "$reference_ctm" ]; then
    for tri in "${triphones[@]}"; do
      steps/compare_ctm.sh "$reference_ctm" "$exp/${tri}_ali/phones.ctm" --out "$exp/${tri}_ali/agreement.json"
      agreement+=("$tri=$exp/${tri}_ali/agreement.json")
    done
  fi
  steps/make_results.sh --recipe-dir "$exp" --title "$recipe" --systems "${systems[@]}" "${combinations[@]}" --sets "$dev" "${tests[@]}" \
    --lms "$lm" ${rescore_lm:+"$rescore_lm"} --train-data "$data/$train" --agreement "${agreement[@]}" --spent "${spent[@]}" \
    --note "$training_note"
  if [ "$dry_run" = false ]; then
    cat "$exp/RESULTS.md"
  fi
  steps/make_report.sh --config "$conf/report.yaml" --nj "$nj" "${wav_options[@]}" "$exp" || {
    code=$?
    [ "$code" -lt 128 ] || exit "$code" # interrupted
    echo "warning: the results above are complete, but there is no report of them; steps/make_report.sh $exp makes it" >&2
  }
fi
