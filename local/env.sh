#!/usr/bin/env bash
# Makes the Python environment in .venv, or completes it: only what is missing is installed, and a killed run goes on.
# local/env.sh [--test]      --test: also what the tests need (pytest, hypothesis, ruff, kaldi-decoder)
set -euo pipefail
cd "$(dirname "$0")/.."
NEED_KB=5000000      # the finished .venv takes 3.7 GB, the largest wheel 0.9 GB more while it is unpacked
VENV=.venv
die() { echo "error: $1" >&2; exit 1; }

requirements=(requirements.txt requirements-k2.txt) mark=$VENV/.lstmp
digest() { (cat "$@" pyproject.toml; pwd) | sha256sum | cut -d' ' -f1; }
stamp="$(digest "${requirements[@]}")"
case "${1:-}" in
  "") ;;
  --test) requirements+=(requirements-test.txt) mark=$VENV/.lstmp-test ;;
  -h|--help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  *) die "unknown option $1; known are: --test, --help" ;;
esac

# 1. Nothing to do? The mark holds the digest of the requirements and of the place, as .venv cannot be moved.
if [ -x $VENV/bin/python ] && grep -qsx "$(digest "${requirements[@]}")" $mark; then
  echo "environment: $VENV is complete"
  exit 0
fi

# 2. Python 3.11 with venv and pip.
python=""
for p in ${PYTHON:+"$PYTHON"} python3.11 python3; do
  if "$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then python="$(command -v "$p")"; break; fi
done
[ -n "$python" ] || die "Python 3.11 not found; install it (apt-get install python3.11 python3.11-venv libpython3.11) or name it: PYTHON=/path/to/python3.11 $0"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  die "$python: its venv module is missing; apt-get install python3.11-venv"

# 3. libpython3.11.so.1.0, which k2 is linked with: the system's, or one in the interpreter's own folder.
loads() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }
libdir="$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR") or "")')"
if loads libpython3.11.so.1.0; then libpython=""
elif [ -n "$libdir" ] && loads "$libdir/libpython3.11.so.1.0"; then libpython="$libdir"
else die "libpython3.11.so.1.0 not found, k2 needs it; apt-get install libpython3.11"
fi

# 4. Room on the disk, less what is already there.
have_kb=$( (du -sk $VENV 2>/dev/null || echo 0) | cut -f1)
free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ $((have_kb + free_kb)) -ge $NEED_KB ] ||
  die "$PWD: $((free_kb / 1000)) MB free on the disk, the environment needs $(((NEED_KB - have_kb) / 1000)) MB; free some space and run again"
touch $VENV.write-test 2>/dev/null || die "$PWD: cannot write here; check the owner and mode of the folder"
rm -f $VENV.write-test

# 5. The environment itself, made anew where a killed run or another place left one that does not work.
works() { [ "$($VENV/bin/python -c 'import pip, sys; print(sys.prefix)' 2>/dev/null)" = "$PWD/$VENV" ]; }
if ! works; then
  echo "environment: $VENV with $("$python" --version) ($python), some 2 GB to download and 3.7 GB on the disk"
  "$python" -m venv --clear $VENV || die "$PWD/$VENV: could not be made; see the lines above"
fi
rm -f $mark
echo "$libpython" > $VENV/.libpython

# 6. The packages, one by one, so that what is finished stays finished.
log="$PWD/$VENV/install.log"
install() {
  "$VENV/bin/python" -m pip install --no-deps --no-cache-dir --disable-pip-version-check --progress-bar off "$@" >"$log" 2>&1 ||
    why "${@: -1}"
}
why() {
  if grep -q 'No space left on device' "$log"; then die "$PWD/$VENV: the disk is full; free some space and run again, finished packages are kept"; fi
  if grep -qiE 'NewConnectionError|ConnectTimeout|ConnectionError|ReadTimeout|Max retries|Temporary failure|IncompleteRead|ProxyError|Connection (broken|reset|refused)' "$log"
  then die "no connection to the package index while installing $1; check the network or pip's proxy settings and run again, finished packages are kept (details: $log)"; fi
  if grep -q 'No matching distribution found' "$log"
  then die "$1 is not to be had from the package index for $(uname -sm); Linux on x86_64 and pip's own index settings are needed (details: $log)"; fi
  die "$1 could not be installed: $(grep -m1 -i error "$log" || tail -n1 "$log") (details: $log)"
}
missing="$($VENV/bin/python local/missing_packages.py "${requirements[@]}")"
total=$(grep -c . <<<"$missing" || true)
number=0
while read -r package; do
  [ -n "$package" ] || continue
  number=$((number + 1))
  echo "environment: [$number/$total] $package"
  case "$package" in
    *--hash*) echo "$package" > $VENV/one.txt; install --force-reinstall -r $VENV/one.txt ;;
    *) install --force-reinstall "$package" ;;
  esac
done <<<"$missing"
install --no-build-isolation -e .
[ -z "$($VENV/bin/python local/missing_packages.py "${requirements[@]}")" ] || die "$PWD/$VENV: a package is still incomplete; run again"

# 7. The proof: what was built against each other loads.
LD_LIBRARY_PATH="$libpython${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" $VENV/bin/python -c 'import torch, k2, kaldifst, soundfile, lstmp' 2>"$log" ||
  die "the packages do not load: $(tail -n1 "$log"); remove $PWD/$VENV and run again"
echo "$stamp" > $VENV/.lstmp
[ $mark = $VENV/.lstmp ] || digest "${requirements[@]}" > $mark
echo "environment: $VENV is complete, $(du -sh $VENV | cut -f1)"
