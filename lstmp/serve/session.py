"""A connection of the server: one recording, whose samples come in and whose segments go out.

The client's first message is JSON: ``{"rate": 48000}``, with ``"encoding": "f32"`` for floats in ±1 instead of ``s16``,
16-bit integers, both little-endian, one channel. Each binary message has samples. ``{"end": true}`` ends the recording.

The server sends JSON: ``{"ready": true}``; for each change of a segment ``begin``, ``end`` (seconds), ``words``,
``final``, ``settled`` and ``confidences``, as :class:`lstmp.decode.live.Segment`; after the last one
``{"done": true, "seconds": …}``, and closes the connection. If something is wrong it sends ``{"error": reason}`` and
closes the connection with a code that is not 1000.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from lstmp.aliases import Array, Json
from lstmp.decode.live import Segment
from lstmp.errors import UserError
from lstmp.serve.limits import Limits
from lstmp.transcribe.recognizer import Recognizer, Stream

ENCODINGS = {"s16": np.dtype("<i2"), "f32": np.dtype("<f4")}
_LONGEST_REASON = 120  # bytes of the reason of a close


class Refused(Exception):
    """The connection is closed, with a code and a reason."""

    def __init__(self, reason: str, code: int = CloseCode.POLICY_VIOLATION):
        super().__init__(reason)
        self.code = code


class Session:
    """A connection.

    Args:
        connection: accepted.
        recognizer: of an online model.
        compute: runs a function in another thread, and gives its result.
        limits: of the server.

    Attributes:
        seconds: of speech that has come.
        words: number of words that were final.
    """

    def __init__(self, connection: ServerConnection, recognizer: Recognizer, compute: Callable[..., Awaitable[Any]],
                 limits: Limits):
        self.connection, self.recognizer, self.compute, self.limits = connection, recognizer, compute, limits
        self.seconds, self.words = 0.0, 0

    async def run(self) -> str | None:
        """Serve the connection until it is closed. Returns what was wrong, if anything."""
        why, code = None, CloseCode.POLICY_VIOLATION
        try:
            await self._converse()
        except Refused as e:
            why, code = str(e), CloseCode(e.code)
        except UserError as e:
            why = str(e)
        except asyncio.TimeoutError:
            why = f"nothing came, or nothing was taken, for {self.limits.idle_seconds:g} s"
        except MemoryError:
            why, code = "out of memory", CloseCode.INTERNAL_ERROR
        except ConnectionClosed as e:
            if e.rcvd is not None and e.rcvd.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY):
                return None
            return e.sent.reason if e.sent is not None and e.sent.reason else "the connection was lost"
        if why is not None:
            await self._close(why, code)
        return why

    async def _converse(self) -> None:
        rate, dtype = _opening(await self._receive())
        stream: Stream = await self.compute(self.recognizer.stream)
        try:
            await self._send({"ready": True})
            while not isinstance(message := await self._receive(), str):
                samples = _samples(message, dtype)
                self.seconds += len(samples) / rate
                await self._report(await self.compute(stream.accept, samples, rate))
                if self.seconds > self.limits.seconds:
                    await self._report(await self.compute(stream.finish))
                    raise Refused(f"the recording is longer than {self.limits.seconds:g} s", CloseCode.MESSAGE_TOO_BIG)
            if _json(message) != {"end": True}:
                raise Refused('a text message that is not {"end": true}')
            await self._report(await self.compute(stream.finish))
        finally:
            stream.close()
        await self._send({"done": True, "seconds": round(self.seconds, 3)})
        await self.connection.close()

    async def _receive(self) -> str | bytes:
        return await asyncio.wait_for(self.connection.recv(), self.limits.idle_seconds)

    async def _send(self, value: Json) -> None:
        await asyncio.wait_for(self.connection.send(json.dumps(value, ensure_ascii=False)), self.limits.idle_seconds)

    async def _report(self, segments: list[Segment]) -> None:
        for segment in segments:
            self.words += len(segment.words) if segment.final else 0
            await self._send(asdict(segment))

    async def _close(self, why: str, code: int) -> None:
        try:
            await self._send({"error": why})
            await self.connection.close(code, why.encode()[:_LONGEST_REASON].decode(errors="ignore"))
        except (ConnectionClosed, asyncio.TimeoutError):
            self.connection.transport.abort()  # the client takes nothing


def _json(message: str | bytes) -> Any:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise Refused("a text message that is not JSON", CloseCode.INVALID_DATA) from None


def _opening(message: str | bytes) -> tuple[int, Any]:
    """(rate, dtype) of the first message."""
    first = _json(message) if isinstance(message, str) else None
    if not isinstance(first, dict) or not {"rate"} <= first.keys() <= {"rate", "encoding"}:
        raise Refused('the first message is not like {"rate": 16000, "encoding": "s16"}')
    rate, encoding = first["rate"], first.get("encoding", "s16")
    if type(rate) is not int or not 4000 <= rate <= 192_000:
        raise Refused("`rate` is not a whole number from 4000 to 192000")
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        raise Refused(f"`encoding` is not {' or '.join(ENCODINGS)}")
    return rate, ENCODINGS[encoding]


def _samples(message: bytes, dtype: Any) -> Array:
    if len(message) % dtype.itemsize:
        raise Refused(f"a message of {len(message)} bytes, not a whole number of samples", CloseCode.INVALID_DATA)
    return np.frombuffer(message, dtype)
