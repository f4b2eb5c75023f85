"""The record of a GMM step, ``train.json`` or ``align.json``: time spent on each part of the work, and peak memory."""

import json
import resource
import time
from contextlib import contextmanager
from pathlib import Path

from lstmp import config, distributed
from lstmp.errors import UserError
from lstmp.gmm.model import AcousticModel

_SPENT = "spent.json"


class Clock:
    """Wall-clock seconds that this process spends on each part of the work.

    Use ``with clock("aligning"): …``. Time in a nested part counts for the inner part only.
    """

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    @contextmanager
    def __call__(self, part: str):
        self._inner.append(0.0)
        began = time.monotonic()
        try:
            yield
        finally:
            elapsed = time.monotonic() - began
            self.seconds[part] = self.seconds.get(part, 0.0) + elapsed - self._inner.pop()
            self._inner[-1] += elapsed

    def write(self, directory):
        """Write the first process's seconds and the summed peak memory of all processes, for :func:`write_record`."""
        peak = sum(distributed.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)) / 2 ** 20  # KiB on Linux
        if distributed.rank() == 0:
            spent = {"seconds": {k: round(v, 2) for k, v in self.seconds.items()}, "peak_memory_gib": round(peak, 2)}
            config.write_text(Path(directory) / _SPENT, json.dumps(spent) + "\n")


def write_record(directory, began: float, facts: dict):
    """Write ``align.json``: ``facts``, minutes since ``began`` (seconds since the epoch), times and peak memory."""
    _write(Path(directory), "align.json", began, facts)


def write_training(directory, system: str, began: float, seed: int, config_path):
    """Write ``train.json`` for a GMM training that started at ``began`` (seconds since the epoch)."""
    gmms = AcousticModel.load(directory).mixtures
    _write(Path(directory), "train.json", began, {
        "system": system, "params": gmms.num_params, "seed": seed, "config": str(config_path),
        "pdfs": gmms.num_pdfs, "gaussians": gmms.num_gaussians})


def _write(directory: Path, name: str, began: float, facts: dict):
    path = directory / _SPENT
    try:
        spent = json.loads(path.read_text())
    except (OSError, ValueError):
        raise UserError("the step did not write its times", file=path, hint="run it again") from None
    path.unlink()
    record = {**facts, "minutes": round((time.time() - began) / 60, 2), **spent}
    config.write_text(directory / name, json.dumps(record, indent=1) + "\n")
