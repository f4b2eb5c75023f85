"""Parses Kaldi's tables ``segments`` and ``reco2file_and_channel``.

A line of ``segments`` is ``utterance recording begin end``, with times in seconds; an end of -1 is the end of the
recording. An optional fifth field is the channel, counted from 0. A line of ``reco2file_and_channel`` is ``recording
file channel``; the channel is A or B, or a number counted from 1.
"""

from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import number
from lstmp.errors import UserError


@dataclass(frozen=True)
class Segment:
    """The part of a recording that an utterance is: times in seconds (``end`` None: end of recording), channel."""

    recording: str
    begin: float
    end: float | None
    channel: int | None


def parse_segments(path: Path, table: dict[str, str], recordings: dict[str, str]) -> dict[str, Segment]:
    """Parse ``segments``: utterance → segment.

    Args:
        path: the file, for errors.
        table: the result of :func:`lstmp.corpus.datadir.read_table`.
        recordings: the table wav.scp; empty: do not check recordings.

    Raises:
        UserError: a line is malformed, or a recording is not in wav.scp.
    """
    segments = {}
    for n, (utt, rest) in enumerate(table.items(), 1):
        recording, *times = fields = rest.split()
        begin, end = map(number, times[:2]) if len(times) > 1 else (None, None)
        channel = int(times[2]) if len(times) == 3 and config.is_count(times[2]) else None
        if begin is None or end is None or len(fields) > 4 or (len(fields) == 4 and channel is None):
            raise UserError(f"`{utt} {rest}` is not `utterance recording begin end`", file=path, line=n,
                            hint="give times in seconds; the channel, from 0, may be a fifth field")
        if recordings and recording not in recordings:
            raise UserError(f"recording `{recording}` of `{utt}` is not in wav.scp", file=path, line=n,
                            hint="add it to wav.scp or delete this line")
        segments[utt] = Segment(recording, begin, None if end == -1 else end, channel)
    return segments


def parse_channels(path: Path, table: dict[str, str]) -> dict[str, int]:
    """Parse ``reco2file_and_channel``: recording → channel, from 0.

    Raises:
        UserError: a line is malformed.
    """
    channels = {}
    for n, (recording, rest) in enumerate(table.items(), 1):
        channel = rest.split()[-1]
        if len(rest.split()) == 2 and len(channel) == 1 and channel.upper() in "ABCDEFGH":
            channels[recording] = ord(channel.upper()) - ord("A")
        elif len(rest.split()) == 2 and config.is_count(channel) and int(channel) > 0:
            channels[recording] = int(channel) - 1
        else:
            raise UserError(f"`{recording} {rest}` is not `recording file channel`", file=path, line=n,
                            hint="the channel is A or B, or 1 or 2")
    return channels
