# Sourced by the run.sh of those recipes that have one of their own.
#
#   take_options "--text --grid" "$@"
#
# goes to the top of the checkout and splits the command line into
#   $corpus         of --corpus DIR, and likewise $text, $grid of the options that the first argument names: paths as seen
#                   from the top of the checkout; empty where an option was not given
#   ${options[@]}   all other words in their order, for ./run.sh or a step of steps/
# --help prints the comment at the head of the calling script.
take_options() {
  local paths=" --corpus $1 " start=$PWD root name
  shift
  case " $* " in
    *" --help "* | *" -h "*)
      sed -n '2,/^set /{/^# shellcheck /d;/^# \{0,1\}/!d;s///;p}' "$0"
      exit 0 ;;
  esac
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
  root=$PWD options=()
  for name in $paths; do
    printf -v "${name#--}" ""
  done
  while [ $# -gt 0 ]; do
    case $1 in --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; esac
    if [[ $paths != *" $1 "* ]]; then
      options+=("$1")
      shift
      continue
    fi
    if [ $# -lt 2 ]; then
      echo "error: $1 has no value; write \`$1 PATH\`" >&2
      exit 1
    fi
    printf -v "${1#--}" "%s" "$(cd "$start" && realpath --relative-to="$root" "$2")"
    shift 2
  done
}

# adapt SET ...: decodes sets of mini_librispeech by tri3b, and writes their features under the transforms of that decoding
adapt() {
  local exp=exp/mini_librispeech data=data/mini_librispeech split
  for split; do
    steps/decode.sh --model $exp/tri3b --graph $exp/tri3b/graph_tgsmall --data "$data/$split" --config $exp/conf/decode.yaml \
      --out "$exp/tri3b/decode_tgsmall_$split" --nj "$(nproc)"
    steps/make_fmllr.sh --data "$data/$split" --model $exp/tri3b --transforms "$exp/tri3b/decode_tgsmall_$split" \
      --out "$exp/fmllr/$split"
  done
}

# weak_graph: the graph of tri3b of mini_librispeech with unigrams of the training text, for lattices of the training data
weak_graph() {
  local exp=exp/mini_librispeech
  local/prepare_lm.sh --lang $exp/lang_tri3b --out $exp/lang_tri3b_weak --text data/mini_librispeech/train-clean-5/text \
    --skip-id --order 1
  steps/make_graph.sh --lang $exp/lang_tri3b_weak --model $exp/tri3b --out $exp/tri3b/graph_weak
}

# grid_and_page FILE: runs a grid with ${options[@]}, and makes its page unless --dry-run is one of them
grid_and_page() {
  steps/run_grid.sh "$1" "${options[@]}"
  if [[ " ${options[*]} " != *" --dry-run "* ]]; then
    steps/make_grid_page.sh "$1"
  fi
}

# quoted [WORD...]: the words as part of a command to copy, each after a blank
quoted() {
  [ $# = 0 ] || printf ' %q' "$@"
}
