"""What a connection may take."""

from dataclasses import dataclass

from lstmp.config import check


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        connections: number of connections at once; more are refused.
        seconds: length of a recording; a longer one is ended.
        idle_seconds: a connection ends if nothing comes, or nothing of what is sent is taken, for this long.
        message_bytes: size of a message.
    """

    connections: int = 16
    seconds: float = 7200.0
    idle_seconds: float = 60.0
    message_bytes: int = 2**18

    def __post_init__(self) -> None:
        for name in ("connections", "seconds", "idle_seconds", "message_bytes"):
            check(getattr(self, name) > 0, name, "greater than zero")
