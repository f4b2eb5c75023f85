# Sourced by run.sh of letters/ and mp3/, each a variant of mini_librispeech.
#   run_variant FILE [--OPTION VALUE]... : "$@"     FILE: the caller, whose comments are its help; options of ./run.sh that make
#                                                   the variant; then those of the command line, which come last and so count
run_variant() {
  local file start=$PWD options=()
  file=$(realpath "$1") && shift
  while [ "$1" != : ]; do options+=("$1") && shift; done
  shift
  case " $* " in *" --help "*|*" -h "*) sed -n '2,/^set /s/^# \{0,1\}//p' "$file"; exit 0 ;; esac
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."
  while [ $# -gt 0 ]; do
    case $1 in --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; esac
    [ $# -ge 2 ] || { echo "error: $1 has no value; write \`$1 VALUE\`" >&2; exit 1; }
    case $1 in
      --corpus) options+=(--corpus "$(root=$PWD && cd "$start" && realpath --relative-to="$root" "$2")") ;;
      *) options+=("$1" "$2") ;;
    esac
    shift 2
  done
  exec ./run.sh --recipe mini_librispeech "${options[@]}"
}
