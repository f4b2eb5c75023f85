"""Kaldi's tables of parts of recordings: ``segments``, and the channels in ``reco2file_and_channel``.

A line of ``segments`` is ``utterance recording begin end``, times in seconds, an end of -1 being that of the recording;
a fifth field is the channel, counted from 0. A line of ``reco2file_and_channel`` is ``recording file channel``, the
channel being A or B, or counted from 1.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.errors import UserError


@dataclass(frozen=True)
class Segment:
    """What of a recording an utterance is: seconds (``end`` None: to its end), and its channel or None."""

    recording: str
    begin: float
    end: float | None
    channel: int | None


def parse_segments(path: Path, table: dict[str, str], recordings: dict[str, str]) -> dict[str, Segment]:
    """Utterance → segment, of the table as ``read_table`` gives it; ``recordings`` are those of wav.scp.

    Raises:
        UserError: a malformed line, or a recording that is not in wav.scp.
    """
    found = {}
    for number, (utt, rest) in enumerate(table.items(), 1):
        fields = rest.split()
        try:
            recording, begin, end = fields[0], float(fields[1]), float(fields[2])
            channel = int(fields[3]) if len(fields) > 3 else None
            fits = len(fields) <= 4 and math.isfinite(begin) and math.isfinite(end) and (channel or 0) >= 0
        except (ValueError, IndexError):
            fits = False
        if not fits:
            raise UserError(f"`{utt} {rest}` is not `utterance recording begin end`", file=path, line=number,
                            hint="write times in seconds, and if the recording has channels, a fifth field from 0")
        if recordings and recording not in recordings:
            raise UserError(f"recording `{recording}` of `{utt}` is not in wav.scp", file=path, line=number,
                            hint="add it to wav.scp or delete this line")
        found[utt] = Segment(recording, begin, None if end == -1 else end, channel)
    return found


def parse_channels(path: Path, table: dict[str, str]) -> dict[str, int]:
    """Recording → its channel, from 0.

    Raises:
        UserError: a malformed line.
    """
    found = {}
    for number, (recording, rest) in enumerate(table.items(), 1):
        channel = rest.split()[-1]
        if len(rest.split()) == 2 and len(channel) == 1 and channel.upper() in "ABCDEFGH":
            found[recording] = ord(channel.upper()) - ord("A")
        elif len(rest.split()) == 2 and config.is_count(channel) and int(channel) > 0:
            found[recording] = int(channel) - 1
        else:
            raise UserError(f"`{recording} {rest}` is not `recording file channel`", file=path, line=number,
                            hint="the channel is A or B, or 1 or 2")
    return found
