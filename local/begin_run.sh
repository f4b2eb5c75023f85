# Sourced by run.sh when its options are read: no other run in the same folder while this one is there, the configuration in
# <exp>/conf, a log of every step in <exp>/log; or, with --dry-run, commands that are printed in the place of being called.
# shellcheck disable=SC2154 # run.sh sets the variables
shopt -u patsub_replacement 2> /dev/null || true # of bash 5.2: an & in a folder's name is an &
if [ "$dry_run" = true ]; then
  for script in steps/*.sh local/*.sh; do eval "$script() { echo \"  $script\$(printf ' %q' \"\$@\")\"; }"; done
else
  exec 9>> "$exp/.lock"
  python -m lstmp.recipe.begin_run 9 "$exp" "$new_conf"
  export LSTMP_LOG="$exp/log" LSTMP_STAGE
fi
