# Sourced by run.sh of letters/ and mp3/, variants of mini_librispeech.
#   take_options "$@"     goes to the top of the checkout; ${options[@]}: those of the command line, --corpus as seen from there
take_options() {
  local start=$PWD root
  case " $* " in *" --help "*|*" -h "*) sed -n '2,/^set /{/^# \{0,1\}/!d;s///;p}' "$0"; exit 0 ;; esac
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."
  root=$PWD options=()
  while [ $# -gt 0 ]; do
    case $1 in --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; esac
    [ $# -ge 2 ] || { echo "error: $1 has no value; write \`$1 VALUE\`" >&2; exit 1; }
    case $1 in
      --corpus) options+=(--corpus "$(cd "$start" && realpath --relative-to="$root" "$2")") ;;
      *) options+=("$1" "$2") ;;
    esac
    shift 2
  done
}
