"""Starts training under torchrun, with processes that are killed, or compute NaN, at chosen batches."""

import contextlib
import os
import random
import socket
import subprocess
import sys

import yaml

from lstmp import config

SCRIPT = """
import os, signal, time
from dataclasses import replace
from lstmp import config, distributed
from lstmp.errors import command
from lstmp.nnet import train as training
from lstmp.nnet.distributed import parameter_server
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.trainer import Trainer

kill, poison, marks, step, recv = {kill}, {poison}, {marks!r}, Trainer.step, parameter_server.dist.recv

def once(event):
    name = marks + "." + event + str(distributed.rank())
    if os.path.exists(name):
        return False
    open(name, "w").close()
    return True

def faulty_step(self, batch, augment, number, batches, divisor):
    time.sleep({pause})
    position = self.state.epoch * batches + number
    if position == kill.get(distributed.rank()) and once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if position == poison.get(distributed.rank()) and once("poisoned"):
        batch = replace(batch, features=batch.features * float("nan"))
    return step(self, batch, augment, number, batches, divisor)

messages = 0

def dying_recv(*args, **options):
    global messages
    messages += 1
    if messages == 2 * kill.get(distributed.rank(), -1) and once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    return recv(*args, **options)

Trainer.step, parameter_server.dist.recv = faulty_step, dying_recv

@command
def main(argv):
    training.train(config.load({config!r}, LstmpConfig), {data!r}, {ali!r}, {valid!r}, {out!r})

main()
"""


def torchrun(toy, cfg, out: str, *, nodes: int = 1, **options) -> subprocess.CompletedProcess:
    """Train with some processes on each of ``nodes`` machines, each simulated by an agent of torchrun.

    Options as for :func:`start`. Returns a nonzero status if there is one, and all output."""
    agents = start(toy, cfg, out, [[]] * nodes, f"localhost:{free_port()}", str(nodes), **options)
    output = [agent.communicate(timeout=300)[0] for agent in agents]
    status = [agent.returncode for agent in agents]
    return subprocess.CompletedProcess("torchrun", next((x for x in status if x), 0), "\n".join(output))


def free_port() -> int:
    """A free port below the range from which the system picks ports for outgoing connections."""
    while True:
        with socket.socket() as s, contextlib.suppress(OSError):
            port = random.SystemRandom().randrange(20000, 30000)
            s.bind(("localhost", port))
            return port


def start(toy, cfg, out: str, prefixes: list[list[str]], endpoint: str, nnodes: str, *, nproc: int = 2,
          kill: dict[int, int] | None = None, poison: dict[int, int] | None = None, restarts: int = 0,
          pause: float = 0.0, env: dict[str, str] | None = None) -> list[subprocess.Popen]:
    """Start an agent of torchrun for each machine, after its command ``prefixes[machine]``.

    A process is killed before its batch ``kill[rank]``, counted over epochs; a server after about that many exchanges.
    The features of batch ``poison[rank]`` are NaN. Each happens once. Every batch takes ``pause`` seconds longer.
    """
    config_file, script = toy.path / f"{out}.yaml", toy.path / f"{out}.py"
    config_file.write_text(yaml.safe_dump(config.to_dict(cfg)))
    script.write_text(SCRIPT.format(kill=kill or {}, poison=poison or {}, pause=pause, marks=str(toy.path / out),
                                    config=str(config_file), data=str(toy.data), ali=str(toy.ali),
                                    valid=str(toy.valid), out=str(toy.path / out)))
    as_in_path_sh = {"PET_REDIRECTS": "9:3", "PET_TEE": "9:3", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    env = os.environ | as_in_path_sh | {"OMP_NUM_THREADS": "1"} | (env or {})
    return [subprocess.Popen(
        [*prefix, sys.executable, "-m", "torch.distributed.run", f"--nnodes={nnodes}", f"--nproc_per_node={nproc}",
         "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}", f"--max_restarts={restarts}", "--monitor_interval=0.2",
         "--rdzv_conf=last_call_timeout=3,keep_alive_interval=1", str(script)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for prefix in prefixes]
