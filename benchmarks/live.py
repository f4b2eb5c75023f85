"""An hour of speech as it comes in: how long each piece takes, and whether the memory grows.

    python -m benchmarks.live --model DIR --seconds 3600 FILE…

The recordings follow each other until there is enough. Prints, for each tenth of the time: real-time factor, seconds of
computing a piece (mean, 95th percentile, worst), and the memory of the process at the end of it.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from lstmp.corpus.audio import RATE
from lstmp.errors import UserError, command
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import read_recording
from lstmp.transcribe.transcribe import LiveModel


def pieces(files: list[str], seconds: float, length: int):
    """Pieces of ``length`` samples of the recordings in a row, over and over, for ``seconds``."""
    left, rest = round(seconds * RATE), np.zeros(0, np.float32)
    for path in itertools.cycle(files):
        rest = np.concatenate([rest, read_recording(path)])
        while len(rest) >= length:
            if left <= 0:
                return
            yield rest[:length]
            rest, left = rest[length:], left - length


@command
def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="exported model that can be used live")
    p.add_argument("--seconds", type=float, default=3600.0, help="of speech (%(default)s)")
    p.add_argument("files", nargs="+", metavar="FILE")
    a = p.parse_args(argv)
    if a.seconds < 10:
        raise UserError("--seconds must be 10 or more", hint="correct the value")
    began = time.perf_counter()
    model = LiveModel(ModelFolder.load(a.model))
    print(f"the model is loaded in {time.perf_counter() - began:.1f} s")
    recognizer, took, final = model.recognizer(), [], 0
    length = round(model.live.chunk_seconds * RATE)
    tenth = max(1, round(a.seconds / model.live.chunk_seconds / 10))
    print("| minutes | RTF | a piece, ms: mean | 95 % | worst | segments | memory, MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for n, piece in enumerate(pieces(a.files, a.seconds, length), 1):
        start = time.perf_counter()
        found = recognizer.accept(piece)
        took.append(time.perf_counter() - start)
        final += sum(s.final for s in found)
        if n % tenth == 0:
            ms = 1000 * np.array(took[-tenth:])
            memory = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
            print(f"| {n * model.live.chunk_seconds / 60:.1f} | {ms.mean() / 1000 / model.live.chunk_seconds:.4f} "
                  f"| {ms.mean():.1f} | {np.quantile(ms, 0.95):.1f} | {ms.max():.1f} | {final} | "
                  f"{memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
