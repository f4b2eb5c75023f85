"""Runs steps on several machines: local/on_hosts.sh with a shell on this machine instead of ssh."""

import os
import socket
import subprocess
from pathlib import Path

from helpers import ROOT


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def on_machines(folder: Path, step: str, *arguments: str, machines: int = 2, nj: int = 2, ssh: str | None = None,
                endpoint: str | None = None, restarts: int = 0) -> subprocess.CompletedProcess:
    """Run a script of steps/ as run.sh does with --nnodes. The whole output is in ``stdout``.

    The machines find each other at a port of ``endpoint``, or by a folder.
    """
    (folder / "hosts.txt").write_text("# machines\n" + "".join(f"host{n}\n" for n in range(machines)))
    if ssh is None:
        ssh = str(folder / "ssh")
        Path(ssh).write_text('#!/bin/sh\nshift\nexec bash -c "$1"\n')
        os.chmod(ssh, 0o755)
    env = os.environ | {
        "LSTMP_NNODES": str(machines), "LSTMP_RDZV_ENDPOINT": f"{endpoint}:{free_port()}" if endpoint else "",
        "LSTMP_NJ": str(nj),
        "LSTMP_LAUNCHER": f"{ROOT}/local/on_hosts.sh {folder}/hosts.txt", "LSTMP_SSH": ssh, "OMP_NUM_THREADS": "1",
        "LSTMP_MAX_RESTARTS": str(restarts), "PET_MONITOR_INTERVAL": "0.2"}
    return subprocess.run([str(ROOT / "steps" / step), *arguments], env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
