"""The audio of an utterance, whatever its data directory says of it: a file, one in an archive (``wav.ark:1234``, a WAV
at that byte), a command, a channel, a part, any rate.

A command of ``wav.scp`` is run only where the user said so (``--allow-commands``): it is a program of whoever wrote
that file. One without pipes, redirections and the like is run without a shell, any other by bash.
"""

import argparse
import functools
import os
import re
import shlex
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soxr

from lstmp import config, files
from lstmp.corpus.audio import MIN_SECONDS, audio_info, read_channels
from lstmp.corpus.datadir import DataDir, Utterance
from lstmp.errors import UserError
from lstmp.log import say, warn

_OVERSHOOT = 0.5  # seconds by which a segment may end after its recording, as in Kaldi
_SHELL = re.compile(r"[|&;<>()$`*?\[\]{}~!#\n]|^\s*\w+=")  # what shlex alone does not understand


def add_option(p: argparse.ArgumentParser):
    """``--allow-commands``."""
    p.add_argument("--allow-commands", action="store_true",
                   help="run the commands of wav.scp, lines that end in `|`: programs of whoever wrote that file "
                        "(default: refuse them)")


def check_commands(data: DataDir, allow: bool):
    """Before any work: refuse a data directory with commands, unless they are allowed.

    Raises:
        UserError: it has some; the first is named.
    """
    first = next((u for u in data.utts.values() if is_command(u)), None)
    if first is not None and not allow:
        lines = (data.path / "wav.scp").read_text(encoding="utf-8", errors="replace").split("\n")
        number = next((n for n, line in enumerate(lines, 1) if line.split()[:1] == [first.recording]), None)
        raise UserError(f"`{first.recording}` is the command `{_shown(first.wav)}`, and commands are not run unless "
                        "you say so", file=data.path / "wav.scp", line=number,
                        hint="give --allow-commands (in a recipe `allow_commands: true`) if you trust this file, or "
                             "write what they give to files")


def is_command(utt: Utterance) -> bool:
    """Whether its audio is what a command gives."""
    return utt.wav.endswith("|")


def read_utterance(utt: Utterance, rate: int, allow_commands: bool = False) -> np.ndarray:
    """The samples of an utterance at ``rate``: float32 [samples], ±32768; resampled where it is of another rate.

    Raises:
        UserError: as :func:`read_as_is`.
    """
    samples, own = read_as_is(utt, allow_commands)
    return at_rate(samples, own, rate)


def at_rate(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
    """Samples of the rate ``own`` at ``rate``."""
    return samples if own == rate else soxr.resample(samples, own, rate)


def read_as_is(utt: Utterance, allow_commands: bool = False) -> tuple[np.ndarray, int]:
    """The samples of an utterance, float32 [samples], ±32768, and how many of them are a second.

    Raises:
        UserError: the audio cannot be read, has several channels of which none is named, or not the one that is; a part
            that is not within it or too short; a command that is not allowed, or fails.
    """
    whole = _last_recording if utt.segment else _read
    samples, rate = whole(utt.wav, allow_commands, _stamp(utt.wav))
    channel = _channel(utt, samples.shape[1])
    begin, end = _part(utt, len(samples) / rate)
    return np.ascontiguousarray(samples[round(begin * rate):round(end * rate), channel]), rate


def seconds_of(utt: Utterance, allow_commands: bool = False) -> float:
    """Its length in seconds, by the header and the last samples of a file, without decoding the rest.

    Raises:
        UserError: as :func:`read_as_is`.
    """
    if is_command(utt) or _archived(utt.wav):
        samples, rate = read_as_is(utt, allow_commands)
        return len(samples) / rate
    info = _info(utt.wav, _stamp(utt.wav))
    _channel(utt, info.channels)
    begin, end = _part(utt, info.seconds)
    return end - begin


def _channel(utt: Utterance, there: int) -> int:
    """The channel to take. Of a single one it is that one: a command such as `sph2pipe -c 2` has chosen already."""
    if there == 1:
        return 0
    if utt.channel is None:
        raise UserError(f"{there} channels, and none is named", file=_name(utt),
                        hint=f"write `{utt.recording} file A` (or B) to reco2file_and_channel, or mix them: "
                             "`sox in.wav out.wav remix -`")
    if utt.channel >= there:
        raise UserError(f"{there} channels, but channel {utt.channel + 1} is asked for", file=_name(utt),
                        hint="correct reco2file_and_channel or segments")
    return utt.channel


def _part(utt: Utterance, seconds: float) -> tuple[float, float]:
    if utt.segment is None:
        return 0.0, seconds
    begin, end = utt.segment.begin, seconds if utt.segment.end is None else utt.segment.end
    if not 0 <= begin < end or end > seconds + _OVERSHOOT or begin >= seconds:
        raise UserError(f"`{utt.id}` is from {begin:g} to {end:g} s of a recording of {seconds:.2f} s", file=_name(utt),
                        hint="correct segments, or leave the utterance out")
    end = min(end, seconds)
    if end - begin < MIN_SECONDS:
        raise UserError(f"`{utt.id}` is too short: {end - begin:.4f} s, less than one window of {MIN_SECONDS} s",
                        file=_name(utt), hint="leave the utterance out")
    return begin, end


def _read(wav: str, allow_commands: bool, _stamp) -> tuple[np.ndarray, int]:
    if archived := _archived(wav):
        return _read_archived(wav, *archived)
    if not wav.endswith("|"):
        return read_channels(wav)
    if not allow_commands:
        raise UserError(f"the command `{_shown(wav)}` is not run unless you say so", hint="give --allow-commands")
    return _run(wav)


# Utterances come sorted by id, those of a recording in a row: it is decoded once for them, not once for each.
_last_recording = functools.lru_cache(maxsize=1)(_read)
_info = functools.lru_cache(maxsize=1)(lambda wav, stamp: audio_info(wav, None))


def _run(wav: str) -> tuple[np.ndarray, int]:
    text = wav.rstrip("|").strip()
    with files.temporary_folder() as work, open(work / "sound.wav", "wb") as sound, tempfile.TemporaryFile() as said:
        try:
            words = ["bash", "-c", text] if _SHELL.search(text) else shlex.split(text)
            status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sound, stderr=said).returncode
        except (OSError, ValueError) as e:  # no such program, or quotes that do not close
            raise _failed(wav, getattr(e, "strerror", None) or str(e)) from None
        said.seek(0)
        last = (said.read().decode(errors="replace").strip().splitlines() or [""])[-1][:200]
        if status:
            raise _failed(wav, f"ended with status {status}{f': {last}' if last else ''}")
        try:
            return read_channels(work / "sound.wav")
        except UserError as e:
            raise _failed(wav, f"{e.what}{f'; it said: {last}' if last else ''}") from None


def _archived(wav: str) -> tuple[str, int] | None:
    """(archive, byte) of ``wav.ark:1234``."""
    path, colon, offset = wav.rpartition(":")
    found = colon and config.is_count(offset, 18) and not os.path.exists(wav) and os.path.isfile(path)
    return (path, int(offset)) if found else None


def _read_archived(wav: str, path: str, offset: int) -> tuple[np.ndarray, int]:
    with open(path, "rb") as f, files.temporary_folder() as work:
        f.seek(offset)
        head = f.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            raise UserError(f"no WAV at byte {offset}", file=path, hint="correct the offset in wav.scp")
        left = Path(path).stat().st_size - f.tell()  # a size of all ones must not be asked for
        (work / "sound.wav").write_bytes(head + f.read(min(left, int.from_bytes(head[4:], "little"))))
        try:
            return read_channels(work / "sound.wav")
        except UserError as e:
            raise UserError(e.what, file=wav, hint=e.hint) from None


def _failed(wav: str, why: str) -> UserError:
    return UserError(f"the command `{_shown(wav)}`: {why}", hint="run it by hand; it must write a sound file, such as "
                                                              "WAV, to its standard output")


def _shown(wav: str) -> str:
    return wav if len(wav) <= 200 else f"{wav[:200]}…"


def _name(utt: Utterance) -> str:
    """The file for an error; of a command, the command."""
    return f"`{_shown(utt.wav)}`" if is_command(utt) else utt.wav


def audio_stamps(utts) -> list:
    """Size and time of every utterance's audio file, None where it is missing or a command: whether work on it still
    holds. (Contents would take minutes for a thousand hours.)"""
    return [_stamp(utt.wav) for utt in utts]


def _stamp(wav: str) -> tuple[int, int] | None:
    path = Path(wav if (archived := _archived(wav)) is None else archived[0])
    return None if wav.endswith("|") or not os.path.isfile(path) else ((s := path.stat()).st_size, s.st_mtime_ns)


def tell_rates(where, found: Counter, rate: int):
    """Say once for a data directory what was resampled: ``found`` counts utterances by their own rate."""
    for own, count in sorted(found.items()):
        if own < rate:
            warn(f"{where}: {count} utterances have {own} samples a second, and were resampled to {rate}: they hold "
                 f"nothing above {own // 2} Hz. If all speech is so, set `sample_rate: {own}` in conf/mfcc.yaml and "
                 "conf/fbank.yaml")
        elif own > rate:
            say(f"{where}: {count} utterances were resampled from {own} to {rate} samples a second")
