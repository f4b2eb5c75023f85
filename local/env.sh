#!/usr/bin/env bash
# Makes the Python environment in .venv, or completes it: only what is missing is installed, and a killed run goes on.
# local/env.sh [--test] [--explain]
#   --test      also what the tests need (pytest, hypothesis, ruff, mypy, kaldi-decoder)
#   --explain   tell which Python, set of packages and build of torch it would be, and change nothing
# The machine decides (local/choose_env.sh says how), and what was decided is kept, unless one of these asks for another:
#   PYTHON=python3.12        the interpreter, from 3.10 to 3.14
#   LSTMP_ENV=k2|current     the set: k2 is torch 1.13.1 with k2, for Python 3.11; current is a torch of today
#   LSTMP_GPU=yes|no         is torch to drive an NVIDIA GPU?
#   LSTMP_TORCH_INDEX=URL    where torch of the set current comes from, as pip's --index-url
#   LSTMP_K2_WHEELS=URL      page or folder of k2's wheels, as pip's --find-links: the set current takes one that fits
set -euo pipefail
cd -P "$(dirname "$0")/.." # where it really is, as Python sees it
VENV=.venv
ROOM_K2=5000 ROOM_CPU=2000 ROOM_INDEX=6500 # MB of the finished environment and of the largest wheel being unpacked
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

# 1. The choice made before, in .venv/.choice, a line for each thing. Is it still what the variables ask for?
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

# 2. Nothing to do? The marks hold the digest of the requirements and of the place, as .venv cannot be moved.
requirements() {
  requirements=(requirements.txt "requirements-$set.txt")
  [ "$build" != index ] || requirements+=(requirements-cuda.txt)
  [ "$build-$gpu" != index-yes ] || requirements+=(requirements-gpu.txt)
  [ "$1" = no ] || requirements+=(requirements-test.txt)
}
digest() { (cat "${requirements[@]}" pyproject.toml; pwd) | sha256sum | cut -d' ' -f1; }
mark=$VENV/.lstmp
[ $with_tests = no ] || mark=$VENV/.lstmp-test
if [ $kept = yes ] && [ $explain = no ] && { [ $set = k2 ] || as_before k2-wheels "${LSTMP_K2_WHEELS:-}"; }; then
  requirements $with_tests
  if grep -qsx "$(digest)" $mark; then
    say "$VENV is complete"
    exit 0
  fi
fi
[ "$($VENV/bin/python -c 'import pip, sys; print(sys.prefix)' 2>/dev/null)" = "$PWD/$VENV" ] || kept=no # moved, or half made
[ $kept = yes ] || choose
if [ $explain = yes ]; then
  echo "python $version $python"
  echo "set $set"
  echo "torch $(sed -n 's/^torch==//p' "requirements-$set.txt")${build:+ $build}"
  [ $kept = no ] || echo "kept as chosen before; PYTHON=, LSTMP_ENV= or LSTMP_GPU= asks for another, or remove $VENV"
  exit 0
fi

# 3. Room on the disk; what is there already counts.
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

# 4. The environment itself, made anew where another one was chosen, or the one there does not work.
if [ $kept = no ]; then
  say "$VENV with Python $version ($python) and the set \`$set\`"
  "$python" -m venv --clear $VENV || die "$PWD/$VENV: could not be made; see the lines above"
  echo "$libpython" > $VENV/.libpython
  record torch-index "${LSTMP_TORCH_INDEX:-}"
  for thing in python version gpu build set; do record $thing "${!thing}"; done
fi
rm -f $mark

# 5. The packages that are missing, ten at a time, so that what is finished stays finished; large ones, and those with a
#    hash, alone.
requirements $with_tests
if [ $set = current ] && [ "$build" != index ]; then
  torch="torch==$(sed -n 's/^torch==//p' requirements-current.txt)"
  if [ "$(recorded torch)" != "$torch" ] || missing | grep "^$torch" >/dev/null; then # a killed run may lack what it needs
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
if [ $set = current ] && [ -n "${LSTMP_TORCH_INDEX:-}" ]; then # its CUDA libraries, if it has some
  torch="torch==$(sed -n 's/^torch==//p' requirements-current.txt)"
  pip install --index-url "$LSTMP_TORCH_INDEX" "$torch" || why "what $torch of $LSTMP_TORCH_INDEX needs"
fi
install --no-build-isolation -e . || why lstmp
[ -z "$(missing)" ] || die "$PWD/$VENV: a package is still incomplete; run again"
if [ $set = current ] && ! as_before k2-wheels "${LSTMP_K2_WHEELS:-}"; then
  install_k2 "$LSTMP_K2_WHEELS"
  [ "$k2_answered" = no ] || record k2-wheels "$LSTMP_K2_WHEELS"
fi

# 6. The proof: what was built against each other loads.
modules="torch, kaldifst, soundfile, lstmp"
[ $set = current ] || modules+=", k2"
in_venv -c "import $modules" 2>"$log" ||
  die "the packages do not load: $(tail -n1 "$log"); remove $PWD/$VENV and run again"
[ $set = k2 ] || [ $gpu = no ] || in_venv -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>"$log" ||
  say "torch does not reach a GPU here, all runs on the CPU: $(tail -n1 "$log")"
[ $with_tests = no ] || digest > $VENV/.lstmp-test
requirements no
digest > $VENV/.lstmp
say "$VENV is complete, $(du -sh $VENV | cut -f1)"
