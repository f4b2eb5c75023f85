# Sourced by every script of steps/ and local/: puts this checkout's environment and package in front.
# It does not change the working directory, so that paths given to a script stay valid.
set -euo pipefail
LSTMP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ ! -x "$LSTMP_ROOT/.venv/bin/python" ]; then
  echo "error: $LSTMP_ROOT/.venv: no environment here; make it with $LSTMP_ROOT/local/env.sh" >&2
  exit 1
fi
export LSTMP_ROOT PATH="$LSTMP_ROOT/.venv/bin:$PATH" PYTHONPATH="$LSTMP_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
# torch 1.13's torchrun fails under Python 3.11 unless told of some process where its output goes: of the tenth, to both
export PET_REDIRECTS="${PET_REDIRECTS:-9:3}" PET_TEE="${PET_TEE:-9:3}"
# k2 needs libpython3.11.so.1.0; where only the interpreter's own folder has it, local/env.sh wrote that folder here
if [ -s "$LSTMP_ROOT/.venv/.libpython" ]; then
  LD_LIBRARY_PATH="$(cat "$LSTMP_ROOT/.venv/.libpython")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export LD_LIBRARY_PATH
fi
