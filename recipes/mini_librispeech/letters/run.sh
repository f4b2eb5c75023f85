#!/usr/bin/env bash
# mini_librispeech without a dictionary: letters are phones, the words those of the transcripts and of the language model.
# One network, on the training data at their own speed, through MP3.
#
#   recipes/mini_librispeech/letters/run.sh --corpus DIR     all of it; what is done is skipped; other options of run.sh too
set -euo pipefail
start=$PWD
cd "$(dirname "$0")/../../.." && root=$PWD
case " $* " in *" --help "*|*" -h "*) sed -n '2,5s/^# \{0,1\}//p' recipes/mini_librispeech/letters/run.sh; exit 0 ;; esac
options=()
while [ $# -gt 0 ]; do
  case $1 in --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; esac
  [ $# -ge 2 ] || { echo "error: $1 has no value; write \`$1 VALUE\`" >&2; exit 1; }
  case $1 in
    --corpus) options+=(--corpus "$(cd "$start" && realpath --relative-to="$root" "$2")") ;;
    *) options+=("$1" "$2") ;;
  esac
  shift 2
done
exec ./run.sh --recipe mini_librispeech --lexicon "" --exp exp/mini_librispeech_letters \
  --data data/mini_librispeech_letters --speeds "[1.0]" --networks "{lstmp: {mp3_kbps: 24, epochs: 4}}" "${options[@]}"
