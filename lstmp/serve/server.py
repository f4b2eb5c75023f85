"""Serve an online model: recognition over WebSockets, and a page that sends the microphone.

    lstmp serve --model DIR                              http://127.0.0.1:8765/ for this machine only
    lstmp serve --model DIR --host 0.0.0.0 --token-file FILE --certificate cert.pem --key key.pem

Several connections share one model in memory. Each sends a recording to /stream as it is spoken, and gets its words;
lstmp/serve/session.py has the messages. The server ends after SIGINT or SIGTERM.
"""

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import ssl
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from lstmp.errors import UserError, command, naming
from lstmp.log import quiet, say
from lstmp.program import program_name
from lstmp.serve.access import read_token, why_refused
from lstmp.serve.limits import Limits
from lstmp.serve.session import Session
from lstmp.transcribe.recognizer import Recognizer

_PAGE = Path(__file__).parent / "page"
_FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
          "/page.js": ("page.js", "text/javascript"), "/recorder.js": ("recorder.js", "text/javascript")}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STREAM = "/stream"


class Server:
    """The connections of a server.

    Args:
        recognizer: of an online model.
        limits: of each connection, and their number.
        token: that clients need, or None.
        threads: that recognize.

    Attributes:
        connections: number of open ones.
    """

    def __init__(self, recognizer: Recognizer, limits: Limits, token: str | None = None, threads: int = 1):
        self.recognizer, self.limits, self.token = recognizer, limits, token
        self.connections = 0
        self._threads = ThreadPoolExecutor(threads, "recognizer")

    async def run(self, host: str, port: int, secure: ssl.SSLContext | None = None,
                  ready: "asyncio.Future[int] | None" = None) -> None:
        """Serve until the task is cancelled.

        Args:
            host, port: to listen on; 0 is any free port.
            secure: for TLS.
            ready: gets the port as soon as the server listens.

        Raises:
            UserError: nothing can listen there.
        """
        try:
            listening = await serve(self._serve, host, port, ssl=secure, process_request=self._answer, compression=None,
                                    max_size=self.limits.message_bytes, max_queue=4)
        except (OSError, OverflowError) as e:
            raise UserError(f"cannot listen on {host}, port {port}: {e}",
                            hint="choose another --host or --port") from None
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            name = f"[{host}]" if ":" in host else host
            say(f"listening: http{'s' if secure else ''}://{name}:{port}/")
            if ready is not None:
                ready.set_result(port)
            await asyncio.get_running_loop().create_future()  # never comes

    async def _serve(self, connection: ServerConnection) -> None:
        if self.connections >= self.limits.connections:
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"{self.connections} others are connected")
            return
        self.connections += 1
        session = Session(connection, self.recognizer, self._compute, self.limits)
        try:
            why = await session.run()
        finally:
            self.connections -= 1
        client = connection.remote_address[0]
        say(f"{client}: {session.seconds:.1f} s, {session.words} words{f': {why}' if why else ''}")

    async def _compute(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(function, *arguments))

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The page, or None for a connection to the stream."""
        path = urlsplit(request.path).path
        if path == STREAM:
            refused = why_refused(request.path, request.headers, self.token)
            return connection.respond(HTTPStatus(refused[0]), refused[1] + "\n") if refused else None
        if path not in _FILES:
            return connection.respond(HTTPStatus.NOT_FOUND, "no such page\n")
        name, kind = _FILES[path]
        body = (_PAGE / name).read_bytes()
        return Response(200, "OK", Headers({
            "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close",
            "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache"}), body)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until SIGINT or SIGTERM, which cancel it."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """The settings of TLS; None without a certificate.

    Raises:
        UserError: only one of the two, or they do not fit.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise UserError("--certificate and --key belong together", hint="give both, or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        with naming(certificate, key):
            context.load_cert_chain(certificate, key)
    except ssl.SSLError as e:
        raise UserError(f"not a certificate with its key {key}: {e.reason}", file=certificate,
                        hint="give PEM files") from None
    return context


@command
def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog=program_name("steps/serve.sh"), description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an online model, made by steps/export_model.sh")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine only)")
    parser.add_argument("--port", type=int, default=8765, help="port; 0: any free one (%(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="with the token that clients need (LSTMP_TOKEN)")
    parser.add_argument("--certificate", metavar="FILE", help="PEM certificate for TLS")
    parser.add_argument("--key", metavar="FILE", help="its key")
    parser.add_argument("--connections", type=int, default=Limits.connections, help="at once (%(default)s)")
    parser.add_argument("--max-minutes", type=float, default=Limits.seconds / 60, help="of a recording (%(default)g)")
    parser.add_argument("--idle-seconds", type=float, default=Limits.idle_seconds,
                        help="after which a silent connection ends (%(default)g)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that recognize (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no line for each connection")
    a = parser.parse_args(argv)
    if a.threads < 1:
        raise UserError("--threads must be 1 or more", hint="correct the value")
    token, secure = read_token(a.token_file, a.host), tls(a.certificate, a.key)
    limits = Limits(a.connections, 60 * a.max_minutes, a.idle_seconds)
    recognizer = Recognizer(a.model)
    recognizer.stream().close()  # reads network and graph; an error here is better than one at the first connection
    with quiet(a.quiet):
        asyncio.run(until_signal(Server(recognizer, limits, token, a.threads).run(a.host, a.port, secure)))


if __name__ == "__main__":
    main()
