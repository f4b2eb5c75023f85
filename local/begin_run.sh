# Sourced by run.sh after reading its options: locks <exp> against other runs, writes the configuration to <exp>/conf and
# makes every step keep a log in <exp>/log and record the run's progress. With --dry-run, steps are printed instead of called.
# shellcheck disable=SC2154 # run.sh sets the variables
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  echo "local/begin_run.sh is a part of run.sh, which sources it" >&2
  exit 1
fi
shopt -u patsub_replacement 2> /dev/null || true # bash 5.2: keep an & in a folder's name unchanged
print_steps() {
  for script in steps/*.sh local/*.sh; do eval "$script() { echo \"  $script\$(printf ' %q' \"\$@\")\"; }"; done
}
# what run.sh prints with --dry-run: the rest of it is executed with steps that are only printed, in a restricted shell without
# PATH, so that what a user has added to run.sh is not called now, and writes no file
plan() {
  dry_run=true
  print_steps
  local rest
  rest=$(sed '1,/begin_run\.sh/d' run.sh)
  # shellcheck disable=SC2123 # it is meant
  PATH=""
  set +e -r
  eval "$rest"
}
if [ "$dry_run" = true ]; then
  print_steps
else
  exec 9>> "$exp/.lock"
  export LSTMP_RUN=$$ # identifies this run in the record of its progress
  python -m lstmp.recipe.begin_run 9 "$exp" "$new_conf" <(plan 2> /dev/null)
  export LSTMP_LOG="$exp/log" LSTMP_STAGE
fi
