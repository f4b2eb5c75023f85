"""Measure latency and memory of online recognition over an hour of speech.

    python -m benchmarks.live --model DIR --seconds 3600 FILE…

The recordings are repeated until there is enough speech. For each tenth of the time, prints the real-time factor, the
computing time of a piece (mean, 95th percentile, maximum), and the memory of the process at the end.
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
    """Pieces of ``length`` samples from the recordings, which are repeated until ``seconds`` is reached."""
    remaining, buffer = round(seconds * RATE), np.zeros(0, np.float32)
    for path in itertools.cycle(files):
        buffer = np.concatenate([buffer, read_recording(path)])
        while len(buffer) >= length:
            if remaining <= 0:
                return
            yield buffer[:length]
            buffer, remaining = buffer[length:], remaining - length


@command
def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="exported model that supports online recognition")
    p.add_argument("--seconds", type=float, default=3600.0, help="seconds of speech (%(default)s)")
    p.add_argument("files", nargs="+", metavar="FILE", help="recordings")
    a = p.parse_args(argv)
    if a.seconds < 10:
        raise UserError("--seconds must be 10 or more", hint="correct the value")
    start = time.perf_counter()
    model = LiveModel(ModelFolder.load(a.model))
    print(f"model loaded in {time.perf_counter() - start:.1f} s")
    recognizer, seconds, num_final = model.recognizer(), [], 0
    length = round(model.live.chunk_seconds * RATE)
    tenth = max(1, round(a.seconds / model.live.chunk_seconds / 10))
    print("| minutes | RTF | ms per piece: mean | 95th percentile | maximum | segments | memory, MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for n, piece in enumerate(pieces(a.files, a.seconds, length), 1):
        start = time.perf_counter()
        segments = recognizer.accept(piece)
        seconds.append(time.perf_counter() - start)
        num_final += sum(s.final for s in segments)
        if n % tenth == 0:
            ms = 1000 * np.array(seconds[-tenth:])
            memory = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
            print(f"| {n * model.live.chunk_seconds / 60:.1f} | {ms.mean() / 1000 / model.live.chunk_seconds:.4f} "
                  f"| {ms.mean():.1f} | {np.quantile(ms, 0.95):.1f} | {ms.max():.1f} | {num_final} | "
                  f"{memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
