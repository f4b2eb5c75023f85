#!/usr/bin/env bash
# Makes or completes the Python environment in .venv. Only missing packages are installed; run again to resume.
# local/env.sh [--test] [--explain]
#   --test      also install what the tests need (pytest, hypothesis, ruff, kaldi-decoder)
#   --explain   print which Python, set of packages and build of torch would be chosen, and change nothing
# The choice depends on the machine (see local/choose_env.sh) and is kept, unless one of these variables asks for another:
#   PYTHON=python3.12        the interpreter, from 3.10 to 3.14
#   LSTMP_ENV=k2|current     the set: k2 is torch 1.13.1 with k2, for Python 3.11; current is a current torch
#   LSTMP_GPU=yes|no         whether to install torch for an NVIDIA GPU
#   LSTMP_TORCH_INDEX=URL    index for torch of the set current, like pip's --index-url
#   LSTMP_K2_WHEELS=URL      page or folder of k2's wheels for the set current, like pip's --find-links
set -euo pipefail
cd -P "$(dirname "$0")/.." # the physical path, which Python uses too
VENV=.venv
ROOM_K2=5000 ROOM_CPU=2000 ROOM_INDEX=6500 # MB of the finished environment plus the largest wheel while it is unpacked
die() { echo "error: $1" >&2; exit 1; }
say() { echo "environment: $*"; }
. local/choose_env.sh
. local/install_packages.sh

with_tests=no explain=no
for option; do
  case "$option" in
    --test) with_tests=yes ;;
    --explain) explain=yes ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown option $option; known are: --test, --explain, --help" ;;
  esac
done

# 1. Is the previous choice, one line per item in .venv/.choice, still what the variables ask for?
recorded() { sed -n "s/^$1 //p" $VENV/.choice 2>/dev/null || true; }
record() {
  { grep -sv "^$1 " $VENV/.choice || true; echo "$1 $2"; } > $VENV/.choice.new
  mv $VENV/.choice.new $VENV/.choice
}
as_before() { [ -z "$2" ] || [ "$2" = "$(recorded "$1")" ]; }
check_variables
kept=no
if [ -x $VENV/bin/python ] && [ -n "$(recorded set)" ] && as_before python "$python" && as_before set "${LSTMP_ENV:-}" &&
   as_before gpu "${LSTMP_GPU:-}" && as_before torch-index "${LSTMP_TORCH_INDEX:-}"; then
  kept=yes LSTMP_TORCH_INDEX="$(recorded torch-index)"
  for thing in python version set gpu build; do printf -v $thing %s "$(recorded $thing)"; done
fi

# 2. Is there nothing to do? The marks hold the digest of the requirements and the path, because .venv cannot be moved.
requirements() {
  requirements=(requirements.txt "requirements-$set.txt")
  [ "$build" != index ] || requirements+=(requirements-cuda.txt)
  [ "$build-$gpu" != index-yes ] || requirements+=(requirements-gpu.txt)
  [ "$1" = no ] || requirements+=(requirements-test.txt)
}
digest() { (cat "${requirements[@]}" pyproject.toml; pwd) | sha256sum | cut -d' ' -f1; }
mark=$VENV/.lstmp
[ $with_tests = no ] || mark=$VENV/.lstmp-test
if [ $kept = yes ] && [ $explain = no ] && { [ "$set" = k2 ] || as_before k2-wheels "${LSTMP_K2_WHEELS:-}"; }; then
  requirements $with_tests
  if grep -qsx "$(digest)" $mark; then
    say "$VENV is complete"
    exit 0
  fi
fi
[ "$($VENV/bin/python -c 'import pip, sys; print(sys.prefix)' 2>/dev/null)" = "$PWD/$VENV" ] || kept=no # moved, or incomplete
[ $kept = yes ] || choose
if [ $explain = yes ]; then
  echo "python $version $python"
  echo "set $set"
  echo "torch $(sed -n 's/^torch==//p' "requirements-$set.txt")${build:+ $build}"
  [ $kept = no ] || echo "kept as chosen before; PYTHON=, LSTMP_ENV= or LSTMP_GPU= asks for another, or remove $VENV"
  exit 0
fi

# 3. Check the disk space; installed packages count.
room() {
  local have free
  have=$( (du -sm $VENV 2>/dev/null || echo 0) | cut -f1)
  free=$(df -Pm . | awk 'NR == 2 { print $4 }')
  [ $((have + free)) -ge "$1" ] ||
    die "$PWD: $free MB free on the disk, the environment needs $(($1 - have)) MB; free some space and run again"
}
case $set-$build in k2-*) room $ROOM_K2 ;; *-cpu) room $ROOM_CPU ;; *) room $ROOM_INDEX ;; esac
touch $VENV.write-test 2>/dev/null || die "$PWD: cannot write here; check the owner and mode of the folder"
rm -f $VENV.write-test

# 4. Make the environment, if another one was chosen, or the present one does not work.
if [ $kept = no ]; then
  say "$VENV with Python $version ($python) and the set \`$set\`"
  "$python" -m venv --clear $VENV || die "$PWD/$VENV: could not be made; see the lines above"
  echo "$libpython" > $VENV/.libpython
  record torch-index "${LSTMP_TORCH_INDEX:-}"
  for thing in python version gpu build set; do record $thing "${!thing}"; done
fi
rm -f $mark

# 5. Install the missing packages, ten at a time, so that a killed run loses little; large ones, and those with a hash,
#    one by one.
requirements $with_tests
if [ "$set" = current ] && [ "$build" != index ]; then
  torch="torch==$(sed -n 's/^torch==//p' requirements-current.txt)"
  if [ "$(recorded torch)" != "$torch" ] || missing | grep "^$torch" >/dev/null; then # after a killed run its dependencies may be missing
    install_torch "$torch"
    [ "$build" = index ] || record torch "$torch"
    requirements $with_tests
  fi
fi
wanted="$(missing)"
total=$(grep -c . <<<"$wanted" || true) number=0 few=()
while read -r package; do
  case "$package" in
    "") ;;
    *--hash* | torch==* | triton==* | nvidia-* | scipy==* | onnx* | imageio-ffmpeg==*) install_all "$package" ;;
    *) few+=("$package") ;;
  esac
  [ ${#few[@]} -lt 10 ] || { install_all "${few[@]}"; few=(); }
done <<<"$wanted"
[ ${#few[@]} -eq 0 ] || install_all "${few[@]}"
if [ "$set" = current ] && [ -n "${LSTMP_TORCH_INDEX:-}" ]; then # its CUDA libraries, if any
  torch="torch==$(sed -n 's/^torch==//p' requirements-current.txt)"
  pip install --index-url "$LSTMP_TORCH_INDEX" "$torch" || why "what $torch of $LSTMP_TORCH_INDEX needs"
fi
install --no-build-isolation -e . || why lstmp
[ -z "$(missing)" ] || die "$PWD/$VENV: a package is still incomplete; run again"
if [ "$set" = current ] && ! as_before k2-wheels "${LSTMP_K2_WHEELS:-}"; then
  install_k2 "$LSTMP_K2_WHEELS"
  [ "$k2_answered" = no ] || record k2-wheels "$LSTMP_K2_WHEELS"
fi

# 6. Check that packages that were built against each other can be loaded.
modules="torch, kaldifst, soundfile, lstmp"
[ "$set" = current ] || modules+=", k2"
in_venv -c "import $modules" 2>"$log" ||
  die "the packages do not load: $(tail -n1 "$log"); remove $PWD/$VENV and run again"
[ "$set" = k2 ] || [ "$gpu" = no ] || in_venv -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>"$log" ||
  say "torch does not reach a GPU here, all runs on the CPU: $(tail -n1 "$log")"
[ $with_tests = no ] || digest > $VENV/.lstmp-test
requirements no
digest > $VENV/.lstmp
say "$VENV is complete, $(du -sh $VENV | cut -f1)"
