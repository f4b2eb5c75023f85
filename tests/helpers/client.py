"""A server of live recognition in a thread, and a client for it."""

import asyncio
import contextlib
import json
import threading

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from lstmp.serve.limits import Limits
from lstmp.serve.server import Server


class Running:
    """A server that runs in another thread.

    Attributes:
        server: with the number of its connections.
        port: that it listens on.
    """

    def __init__(self, recognizer, limits=None, token=None, threads=2):
        self.server = Server(recognizer, limits or Limits(), token, threads)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        ready = self._loop.create_future()
        ready.add_done_callback(self._listening)
        self._task = self._loop.create_task(self.server.run("127.0.0.1", 0, ready=ready))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)

    def _listening(self, ready):
        self.port = ready.result()
        self._ready.set()

    def open(self, path="/stream", **options):
        return connect(f"ws://127.0.0.1:{self.port}{path}", compression=None, proxy=None, **options)

    def close(self):
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)


def pcm(samples) -> bytes:
    """Floats in ±1 as 16-bit integers."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def recognized(running, samples, rate=16000, blocks=20, **opening):
    """Send a recording and return all messages up to `done`."""
    with running.open() as socket:
        socket.send(json.dumps({"rate": rate} | opening))
        encode = pcm if opening.get("encoding", "s16") == "s16" else lambda x: np.asarray(x, "<f4").tobytes()
        for block in np.array_split(samples, blocks):
            socket.send(encode(block))
        socket.send(json.dumps({"end": True}))
        messages = [json.loads(message) for message in socket]
        assert socket.protocol.close_code == 1000, (messages[-1:], socket.protocol.close_reason)
    return messages


def refusal(running, *messages):
    """Send messages; returns (code of the close, the error that the server names)."""
    with running.open() as socket:
        for message in messages:
            socket.send(message)
        found = [json.loads(message) for message in _until_closed(socket)]
        return socket.protocol.close_code, found[-1]["error"]


def _until_closed(socket):
    with contextlib.suppress(ConnectionClosed):
        yield from socket
