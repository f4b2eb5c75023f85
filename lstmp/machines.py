"""Runs a step on several machines: a launcher starts torchrun on each. ``on_machines`` in local/path.sh calls this.

The machines find each other through a folder on their shared file system that only this user can enter. This opens no
port, and the folder is removed when the step has ended. If that file system has no locks, an address can be given
instead (``LSTMP_RDZV_ENDPOINT``): torchrun then listens there, on all interfaces.

    python -m lstmp.machines PROCESSES MODULE [ARGUMENTS]
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lstmp import files
from lstmp.errors import UserError, command

_KEEP_ALIVE = 20  # seconds between the heartbeats of a machine, which are written to the folder


def run(processes: int, step: list[str]) -> int:
    """Run ``step``, a module and its arguments, with ``processes`` processes on each machine. Returns the exit status.
    """
    variable = os.environ.get
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        if endpoint := variable("LSTMP_RDZV_ENDPOINT"):
            rendezvous = ["--rdzv_endpoint", endpoint]
        else:
            folder = stack.enter_context(files.temporary_folder(Path.cwd()))
            _check_locks(folder)
            environment["LSTMP_MEETING"] = str(folder.absolute())
            rendezvous = ["--rdzv_endpoint", str(folder.absolute() / "agents"),
                          "--rdzv_conf", f"store_type=file,keep_alive_interval={_KEEP_ALIVE}"]
        command = [*shlex.split(variable("LSTMP_LAUNCHER") or "srun --ntasks-per-node=1"),
                   str(Path(variable("LSTMP_ROOT", ".")) / "local/node.sh"), "python", "-m", "torch.distributed.run",
                   "--nnodes", variable("LSTMP_NNODES", "1"), "--nproc_per_node", str(processes),
                   "--max_restarts", variable("LSTMP_MAX_RESTARTS") or "3", "--rdzv_backend", "c10d", *rendezvous,
                   "--rdzv_id", secrets.token_hex(16), "-m", *step]
        launcher = subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)
        signal.signal(signal.SIGTERM, lambda *_: launcher.terminate())
        try:
            return launcher.wait()
        except KeyboardInterrupt:  # the launcher has received it too
            launcher.wait()
            raise


def _end_with_parent():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _check_locks(folder: Path):
    try:
        with open(folder / "lock", "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        raise UserError(f"its file system cannot lock files ({e.strerror or e}), which the machines need to find "
                        "each other", file=folder.parent,
                        hint="give --rdzv-endpoint HOST:PORT, and see docs/security.md") from None


@command
def main(argv=None):
    processes, *step = sys.argv[1:] if argv is None else argv
    sys.exit(run(int(processes), step))


if __name__ == "__main__":
    main()
