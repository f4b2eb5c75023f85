# Sourced by run.sh after reading its options: locks <exp> against other runs, writes the configuration to <exp>/conf and
# makes every step keep a log in <exp>/log. With --dry-run, steps are printed instead of called.
# shellcheck disable=SC2154 # run.sh sets the variables
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  echo "local/begin_run.sh is a part of run.sh, which sources it" >&2
  exit 1
fi
shopt -u patsub_replacement 2> /dev/null || true # bash 5.2: keep an & in a folder's name unchanged
if [ "$dry_run" = true ]; then
  for script in steps/*.sh local/*.sh; do eval "$script() { echo \"  $script\$(printf ' %q' \"\$@\")\"; }"; done
else
  exec 9>> "$exp/.lock"
  python -m lstmp.recipe.begin_run 9 "$exp" "$new_conf"
  export LSTMP_LOG="$exp/log" LSTMP_STAGE
fi
