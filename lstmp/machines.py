"""Run a step on several machines: torchrun on each of them, by a launcher. What local/path.sh's on_machines calls.

The machines meet in a folder that only this user can enter, on the file system that all share: no port is open for
that, and the folder is gone when the step has ended. Where that file system has no locks, an address can be given
(``LSTMP_RDZV_ENDPOINT``): torchrun then listens there, on all interfaces.

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

_KEEP_ALIVE = 20  # seconds between two signs of life of a machine; each is written to the folder


def run(processes: int, step: list[str]) -> int:
    """Run ``step``, a module and its arguments, by ``processes`` on each machine; the status."""
    given = os.environ.get
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        if endpoint := given("LSTMP_RDZV_ENDPOINT"):
            meet = ["--rdzv_endpoint", endpoint]
        else:
            folder = stack.enter_context(files.temporary_folder(Path.cwd()))
            _check_locks(folder)
            environment["LSTMP_MEETING"] = str(folder.absolute())
            meet = ["--rdzv_endpoint", str(folder.absolute() / "agents"),
                    "--rdzv_conf", f"store_type=file,keep_alive_interval={_KEEP_ALIVE}"]
        command = [*shlex.split(given("LSTMP_LAUNCHER") or "srun --ntasks-per-node=1"),
                   str(Path(given("LSTMP_ROOT", ".")) / "local/node.sh"), "python", "-m", "torch.distributed.run",
                   "--nnodes", given("LSTMP_NNODES", "1"), "--nproc_per_node", str(processes),
                   "--max_restarts", given("LSTMP_MAX_RESTARTS") or "3", "--rdzv_backend", "c10d", *meet,
                   "--rdzv_id", secrets.token_hex(16), "-m", *step]
        launcher = subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)
        signal.signal(signal.SIGTERM, lambda *_: launcher.terminate())
        try:
            return launcher.wait()
        except KeyboardInterrupt:  # the launcher has got it as well
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
        raise UserError(f"its file system cannot lock files ({e.strerror or e}), by which the machines would meet",
                        file=folder.parent, hint="give --rdzv-endpoint HOST:PORT, and see docs/security.md") from None


@command
def main(argv=None):
    processes, *step = sys.argv[1:] if argv is None else argv
    sys.exit(run(int(processes), step))


if __name__ == "__main__":
    main()
