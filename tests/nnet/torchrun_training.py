"""Training under torchrun itself, some of whose processes end by themselves."""

import os
import subprocess
import sys

import yaml

from lstmp import config

SCRIPT = """
import os, signal
from lstmp import config
from lstmp.errors import command
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.train import train
from lstmp.nnet.trainer import Trainer

kill, done, step = {kill}, {marks!r}, Trainer.step

def dies_once(self, batch, augment, number, batches, full):
    rank, mark = self.team.rank, done + str(self.team.rank)
    if self.epoch * batches + number == kill.get(rank) and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, augment, number, batches, full)

Trainer.step = dies_once

@command
def main(argv):
    train(config.load({config!r}, LstmpConfig), {data!r}, {ali!r}, {valid!r}, {out!r})

main()
"""


def torchrun(world, cfg, out: str, *, nproc: int = 2, kill: dict[int, int] | None = None, restarts: int = 0):
    """Train under torchrun; the process of a rank is killed before its batch ``kill[rank]``, counted over epochs, the
    first time. Returns the completed process, with all that was written as ``stdout``."""
    config_file, script = world.path / f"{out}.yaml", world.path / f"{out}.py"
    config_file.write_text(yaml.safe_dump(config.to_dict(cfg)))
    script.write_text(SCRIPT.format(kill=kill or {}, marks=str(world.path / f"{out}.killed"), config=str(config_file),
                                    data=str(world.data), ali=str(world.ali), valid=str(world.valid),
                                    out=str(world.path / out)))
    env = os.environ | {"PET_REDIRECTS": "9:3", "PET_TEE": "9:3", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={nproc}",
         f"--max_restarts={restarts}", "--monitor_interval=0.2", str(script)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
