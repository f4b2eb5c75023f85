"""Load a server of live recognition: streams in real time, while other connections are opened and broken at random.

    python -m benchmarks.serving --model DIR --streams 8 --broken 1000 FILE…

Each stream sends one recording after the other, as fast as they are spoken. Prints the time from the last sample of a
recording to its last words, how far streams lag behind real time, the memory of the server, and the number of
recordings whose words differ from those that one stream alone has got before.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from lstmp.corpus.audio import RATE
from lstmp.errors import UserError, command
from lstmp.transcribe.media import read_recording

_BLOCK = RATE // 10  # samples of a message
_AT_ONCE = 20  # connections that are broken


class Client:
    """Sends recordings to a server.

    Attributes:
        delays: seconds from the last sample of each recording to the end of its answer, after its last words.
        lags: the longest time that a block was sent later than it was spoken, for each recording.
    """

    def __init__(self, address: str):
        self.address, self.delays, self.lags = address, [], []

    async def words(self, samples: np.ndarray, in_real_time: bool) -> list[list[str]]:
        """The words of the final segments of a recording."""
        found, done = [], 0.0
        async with connect(self.address, compression=None, proxy=None) as socket:
            await socket.send(json.dumps({"rate": RATE}))

            async def listen():
                nonlocal done
                async for message in socket:
                    values = json.loads(message)
                    if values.get("final"):
                        found.append(values["words"])
                    done = time.monotonic() if values.get("done") else done

            listening = asyncio.create_task(listen())
            begin, lag = time.monotonic(), 0.0
            for number, block in enumerate(np.array_split(samples, max(1, len(samples) // _BLOCK)), 1):
                if in_real_time:
                    await asyncio.sleep(max(0.0, begin + number * _BLOCK / RATE - time.monotonic()))
                await socket.send(np.round(block).astype("<i2").tobytes())
                lag = max(lag, time.monotonic() - begin - number * _BLOCK / RATE)
            end = time.monotonic()
            await socket.send(json.dumps({"end": True}))
            await listening
            self.delays.append(done - end)
            self.lags.append(lag)
        return found

    async def broken(self, samples: np.ndarray, rng: random.Random):
        """Open a connection, send some blocks, and break it, with or without closing it."""
        with contextlib.suppress(WebSocketException, OSError):
            socket = await connect(self.address, compression=None, proxy=None)
            if rng.random() < 0.9:
                await socket.send(json.dumps({"rate": RATE}))
            for _ in range(rng.randrange(8)):
                at = rng.randrange(max(1, len(samples) - _BLOCK))
                await socket.send(np.round(samples[at:at + _BLOCK]).astype("<i2").tobytes())
                await asyncio.sleep(0.1 * rng.random())
            if rng.random() < 0.3:
                await socket.close()
            else:
                socket.transport.abort()


async def load(address: str, recordings: list[np.ndarray], streams: int, broken: int, seed: int) -> str:
    """Run the load; returns the line of the table."""
    alone, client, rng = Client(address), Client(address), random.Random(seed)
    expected = [await alone.words(x, False) for x in recordings]
    differ = 0

    async def stream(first: int):
        nonlocal differ
        for k in range(len(recordings)):
            number = (first + k) % len(recordings)
            differ += await client.words(recordings[number], True) != expected[number]

    async def breaker(share: int):
        for _ in range(share):
            await client.broken(recordings[0], rng)

    streaming = asyncio.gather(*(stream(n) for n in range(streams)))
    breaking = asyncio.gather(*(breaker(broken // _AT_ONCE) for _ in range(_AT_ONCE)))
    await asyncio.gather(streaming, breaking)
    p95 = np.quantile(client.delays, 0.95)
    return (f"| {streams} | {broken // _AT_ONCE * _AT_ONCE} | {len(client.delays)} | {differ} "
            f"| {1e3 * np.mean(client.delays):.0f} | {1e3 * p95:.0f} | {1e3 * max(client.lags):.0f} |")


def memory(pid: int) -> float:
    """MiB that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@command
def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="exported model that supports online recognition")
    p.add_argument("--streams", type=int, default=8, help="streams in real time (default: %(default)s)")
    p.add_argument("--broken", type=int, default=1000, help="connections that are broken (default: %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    p.add_argument("files", nargs="+", metavar="FILE", help="recordings")
    a = p.parse_args(argv)
    if a.streams < 1 or a.broken < 0:
        raise UserError("--streams must be 1 or more, --broken 0 or more", hint="correct the values")
    recordings = [read_recording(f) for f in a.files]
    connections = str(a.streams + _AT_ONCE + 8)
    server = subprocess.Popen([sys.executable, "-m", "lstmp.serve.server", "--model", a.model, "--port", "0",
                               "--connections", connections],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise UserError(f"the server has not started: {''.join(lines)[-300:]}", hint="see lstmp serve --help")
        before = memory(server.pid)
        # its later lines are read, so that it does not wait for a reader
        reader = subprocess.Popen(["cat"], stdin=server.stdout, stdout=subprocess.DEVNULL)
        row = asyncio.run(load(f"ws://127.0.0.1:{found[1]}/stream", recordings, a.streams, a.broken, a.seed))
        print("| streams | broken connections | recordings | with other words | ms from the last sample to the last "
              "words, mean | 95 % | longest lag, ms | memory before, MiB | after |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        print(f"{row} {before:.0f} | {memory(server.pid):.0f} |")
        reader.terminate()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
