# Sourced by every script of steps/ and local/: puts the Python environment into PATH and this folder into PYTHONPATH. The
# environment is that of LSTMP_PYTHON (an absolute path), or the one recorded in .lstmp by `lstmp run`, or .venv.
# The working directory is not changed, so that paths given to a script stay valid.
[[ $- == *i* ]] || set -euo pipefail # a terminal must not close when a command that is typed there fails
LSTMP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${LSTMP_PYTHON:-$LSTMP_ROOT/.lstmp/bin/python}"
[ -n "${LSTMP_PYTHON:-}" ] || [ -x "$python" ] || python="$LSTMP_ROOT/.venv/bin/python"
if [ ! -x "$python" ] || [ ! -x "${python%/*}/python" ]; then
  if [ -n "${LSTMP_PYTHON:-}" ]; then echo "error: LSTMP_PYTHON: $python is no Python, or has no \`python\` beside it" >&2
  elif [ -x "$LSTMP_ROOT/local/env.sh" ]; then
    echo "error: $LSTMP_ROOT/.venv: no environment here; make it with $LSTMP_ROOT/local/env.sh" >&2
  else echo "error: $LSTMP_ROOT: no environment here; call \`lstmp run\` in this folder" >&2; fi
  [[ $- != *i* ]] || return 1
  exit 1
fi
export LSTMP_ROOT PATH="${python%/*}:$PATH"
[ ! -d "$LSTMP_ROOT/lstmp" ] || export PYTHONPATH="$LSTMP_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
# torch 1.13's torchrun fails with Python 3.11 unless the output of some process is redirected: that of the tenth, to both
export PET_REDIRECTS="${PET_REDIRECTS:-9:3}" PET_TEE="${PET_TEE:-9:3}"
# torch 2's torchrun restarts processes with a store that has addresses of dead ones, unless each start has its own store
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE="${TORCH_DISABLE_SHARE_RDZV_TCP_STORE:-1}"
# k2 needs libpython3.11.so.1.0; if only the interpreter's own folder has it, local/env.sh has written that folder here
if [ -s "${python%/bin/*}/.libpython" ]; then
  LD_LIBRARY_PATH="$(cat "${python%/bin/*}/.libpython")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export LD_LIBRARY_PATH
fi
# on_machines N MODULE [ARGUMENTS]: runs python -m MODULE on this machine; or, if run.sh's --nnodes has set LSTMP_NNODES above
# 1, on that many machines by torchrun, with N processes on each (0: run.sh's --nj). $LSTMP_LAUNCHER starts a command on all
on_machines() {
  local count=$1
  shift
  [ "${LSTMP_NNODES:-1}" -gt 1 ] || exec python -m "$@"
  [ "$count" -gt 0 ] || count=${LSTMP_NJ:-1}
  exec python -m lstmp.machines "$count" "$@"
}
