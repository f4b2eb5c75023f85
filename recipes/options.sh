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

# quoted [WORD...]: the words as part of a command to copy, each after a blank
quoted() {
  [ $# = 0 ] || printf ' %q' "$@"
}
