"""Reads the audio of an utterance: a file, a WAV in an archive (``wav.ark:1234``), or the output of a command; all of
it or a segment, one channel, at any sampling rate.

A command in ``wav.scp`` is run only if the user allows it (``--allow-commands``), because it is a program written by
whoever wrote that file. A command without pipes, redirections etc. is run without a shell, any other by bash.
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

_OVERSHOOT = 0.5  # seconds by which a segment may extend beyond its recording, as in Kaldi
_SHELL = re.compile(r"[|&;<>()$`*?\[\]{}~!#\n]|^\s*\w+=")  # shell syntax beyond the quoting that shlex handles


def add_option(p: argparse.ArgumentParser):
    """Add ``--allow-commands`` to a command."""
    p.add_argument("--allow-commands", action="store_true",
                   help="run the commands in wav.scp, lines that end in `|`; they are programs of whoever wrote "
                        "that file (default: refuse them)")


def check_commands(data: DataDir, allow: bool):
    """Refuse a data directory with commands before any work, unless commands are allowed.

    Raises:
        UserError: it contains a command; the first one is named.
    """
    first = next((u for u in data.utts.values() if is_command(u)), None)
    if first is not None and not allow:
        lines = (data.path / "wav.scp").read_text(encoding="utf-8", errors="replace").split("\n")
        number = next((n for n, line in enumerate(lines, 1) if line.split()[:1] == [first.recording]), None)
        raise UserError(f"`{first.recording}` is the command `{_shown(first.wav)}`, and commands are not run unless "
                        "allowed", file=data.path / "wav.scp", line=number,
                        hint="give --allow-commands (in a recipe `allow_commands: true`) if you trust this file, or "
                             "write their output to files")


def is_command(utt: Utterance) -> bool:
    """Whether the audio is the output of a command."""
    return utt.wav.endswith("|")


def read_utterance(utt: Utterance, rate: int, allow_commands: bool = False) -> np.ndarray:
    """Read the samples of an utterance, resampled to ``rate`` if necessary: float32 [samples], ±32768.

    Raises:
        UserError: as for :func:`read_original`.
    """
    samples, original_rate = read_original(utt, allow_commands)
    return at_rate(samples, original_rate, rate)


def at_rate(samples: np.ndarray, original_rate: int, rate: int) -> np.ndarray:
    """Resample from the rate ``original_rate`` to ``rate``."""
    return samples if original_rate == rate else soxr.resample(samples, original_rate, rate)


def read_original(utt: Utterance, allow_commands: bool = False) -> tuple[np.ndarray, int]:
    """Read an utterance at its original sampling rate: float32 [samples], ±32768, and the rate in Hz.

    Raises:
        UserError: the audio cannot be read; it has several channels but none is specified, or lacks the one that is;
            the segment is outside it or too short; or a command is not allowed or fails.
    """
    reader = _read_cached if utt.segment else _read
    samples, rate = reader(utt.wav, allow_commands, _stamp(utt.wav))
    channel = _channel(utt, samples.shape[1])
    begin, end = _part(utt, len(samples) / rate)
    return np.ascontiguousarray(samples[round(begin * rate):round(end * rate), channel]), rate


def seconds_of(utt: Utterance, allow_commands: bool = False) -> float:
    """Determine the duration in seconds from the header and last samples of a file, without decoding the rest.

    Raises:
        UserError: as for :func:`read_original`.
    """
    if is_command(utt) or _archived(utt.wav):
        samples, rate = read_original(utt, allow_commands)
        return len(samples) / rate
    info = _info_cached(utt.wav, _stamp(utt.wav))
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
        raise UserError(f"the command `{_shown(wav)}` is not run unless allowed", hint="give --allow-commands")
    return _run(wav)


# Utterances are read sorted by id, so those of a recording follow each other; cache it to decode it only once.
_read_cached = functools.lru_cache(maxsize=1)(_read)
_info_cached = functools.lru_cache(maxsize=1)(lambda wav, stamp: audio_info(wav, None))


def _run(wav: str) -> tuple[np.ndarray, int]:
    text = wav.rstrip("|").strip()
    with files.temporary_folder() as work, open(work / "sound.wav", "wb") as sound, tempfile.TemporaryFile() as stderr:
        try:
            words = ["bash", "-c", text] if _SHELL.search(text) else shlex.split(text)
            status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sound, stderr=stderr).returncode
        except (OSError, ValueError) as e:  # no such program, or unbalanced quotes
            raise _failed(wav, getattr(e, "strerror", None) or str(e)) from None
        stderr.seek(0)
        last_line = (stderr.read().decode(errors="replace").strip().splitlines() or [""])[-1][:200]
        if status:
            raise _failed(wav, f"ended with status {status}{f': {last_line}' if last_line else ''}")
        try:
            return read_channels(work / "sound.wav")
        except UserError as e:
            raise _failed(wav, f"{e.what}{f'; it printed: {last_line}' if last_line else ''}") from None


def _archived(wav: str) -> tuple[str, int] | None:
    """Split ``wav.ark:1234`` into (archive, offset); None if the entry is not in an archive."""
    path, colon, offset = wav.rpartition(":")
    archived = colon and config.is_count(offset, 18) and not os.path.exists(wav) and os.path.isfile(path)
    return (path, int(offset)) if archived else None


def _read_archived(wav: str, path: str, offset: int) -> tuple[np.ndarray, int]:
    with open(path, "rb") as f, files.temporary_folder() as work:
        f.seek(offset)
        head = f.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            raise UserError(f"no WAV at byte {offset}", file=path, hint="correct the offset in wav.scp")
        left = Path(path).stat().st_size - f.tell()  # do not allocate a placeholder size of all ones
        (work / "sound.wav").write_bytes(head + f.read(min(left, int.from_bytes(head[4:], "little"))))
        try:
            return read_channels(work / "sound.wav")
        except UserError as e:
            raise UserError(e.what, file=wav, hint=e.hint) from None


def _failed(wav: str, why: str) -> UserError:
    return UserError(f"the command `{_shown(wav)}`: {why}", hint="run it by hand; it must write an audio file, such as "
                                                              "WAV, to its standard output")


def _shown(wav: str) -> str:
    return wav if len(wav) <= 200 else f"{wav[:200]}…"


def _name(utt: Utterance) -> str:
    """The audio file, or the command, to name in an error."""
    return f"`{_shown(utt.wav)}`" if is_command(utt) else utt.wav


def audio_stamps(utts) -> list:
    """Size and modification time of every audio file, None if it is missing or a command.

    Stages use them to detect changed audio; digests of the contents would take minutes for 1,000 hours.
    """
    return [_stamp(utt.wav) for utt in utts]


def _stamp(wav: str) -> tuple[int, int] | None:
    path = Path(wav if (archived := _archived(wav)) is None else archived[0])
    return None if wav.endswith("|") or not os.path.isfile(path) else ((s := path.stat()).st_size, s.st_mtime_ns)


def log_resampling(where, rates: Counter, rate: int):
    """Log which utterances of a data directory were resampled; ``rates`` counts utterances by original rate."""
    for original_rate, count in sorted(rates.items()):
        if original_rate < rate:
            warn(f"{where}: {count} utterances at {original_rate} Hz were resampled to {rate} Hz: they contain "
                 f"nothing above {original_rate // 2} Hz. If all your audio has this rate, set `sample_rate: "
                 f"{original_rate}` in conf/mfcc.yaml and conf/fbank.yaml")
        elif original_rate > rate:
            say(f"{where}: {count} utterances were resampled from {original_rate} to {rate} Hz")
