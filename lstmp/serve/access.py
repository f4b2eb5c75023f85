"""Who may use the server: programs and pages of this machine, or those that know the token."""

import hmac
import ipaddress
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers

from lstmp.errors import UserError, naming

_SHORTEST = 16  # characters of a token


def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(file: str | None, host: str) -> str | None:
    """The token, from a file or LSTMP_TOKEN.

    Raises:
        UserError: it is too short; or ``host`` can be reached from other machines, and there is none.
    """
    if file:
        with naming(file):
            token = Path(file).read_text(errors="replace").strip()
    else:
        token = os.environ.get("LSTMP_TOKEN", "")
    if not token and not file:
        if is_loopback(host):
            return None
        raise UserError(f"{host} can be reached from other machines, and there is no token",
                        hint="give --token-file FILE, or set LSTMP_TOKEN; clients then need it")
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
        raise UserError(f"the token has fewer than {_SHORTEST} printable ASCII characters", file=file or "LSTMP_TOKEN",
                        hint="make one with: openssl rand -hex 16")
    return token


def why_refused(path: str, headers: Headers, token: str | None) -> tuple[int, str] | None:
    """Why a request for the stream is refused: (HTTP status, reason), or None.

    A page of another site that a user of this machine has open can connect to it too. Its origin gives it away, or the
    name by which it calls this machine.

    Args:
        path: of the request, with its query.
        headers: of the request.
        token: None if none is needed.
    """
    values = {name: headers.get_all(name) for name in ("Host", "Origin", "Authorization")}
    if twice := [name for name, given in values.items() if len(given) > 1]:
        return 400, f"{twice[0]} is given more than once"
    host, origin, authorization = (given[0] if given else "" for given in values.values())
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        return 403, f"pages of {origin} may not use this server"
    if token is None:
        return None if is_loopback(urlsplit(f"//{host}").hostname or "") else (403, f"this server is not called {host}")
    kind, _, given = authorization.partition(" ")
    if kind.lower() != "bearer":
        given = parse_qs(urlsplit(path).query).get("token", [""])[0]
    if not hmac.compare_digest(given.strip().encode(), token.encode()):
        return 401, "the token is missing or wrong"
    return None
