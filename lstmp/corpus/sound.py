"""Bandwidth and level of recordings: a network trained on full-band speech reads speech without high frequencies badly,
and nothing else shows it.

Both are measured in the louder half of an utterance's frames, where there is speech. The level is their RMS, in dB of
full scale (a square wave as loud as can be has 0). The bandwidth is the highest frequency at which their mean power is
within 50 dB of its maximum above 500 Hz: what was coded as MP3 or resampled falls far below that at its edge, to the
noise floor. ``sound.json`` in a data dir holds the medians over some of its utterances.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft

from lstmp import config
from lstmp.errors import UserError
from lstmp.log import warn

MOST_UTTERANCES = 200  # of a set, evenly spread: more do not change the medians, and take time
FRAME_SECONDS = 0.032  # 31 Hz from bin to bin
MOST_FRAMES = 60  # of an utterance, of which spectra are taken
SMOOTHED_HZ = 100
ABOVE_HZ = 500  # below it are hum, and the strongest harmonics of low voices
WITHIN_DB = 50
FULL_SCALE = 32768.0
QUIETEST_DB = -120.0  # below one bit of 24

MAX_HZ, MAX_SHARE = 500, 0.1  # bandwidths that differ by more than either of them are warned of
MAX_DB = 10  # levels
MARGIN = 0.05  # of the bandwidth, for the slope of whatever filter made it


@dataclass(frozen=True)
class Sound:
    """Of an utterance, or the medians of a set: bandwidth in Hz, level in dB of full scale."""

    bandwidth: float
    level: float


def measure(samples: np.ndarray, rate: int) -> Sound:
    """Bandwidth and level of an utterance.

    Args:
        samples: float32 [samples], ±32768, one or more, finite.
        rate: of them a second.
    """
    n = scipy.fft.next_fast_len(max(8, round(FRAME_SECONDS * rate)), real=True)
    if len(samples) < n:
        samples = np.pad(samples, (0, n - len(samples)))
    frames = samples[:len(samples) // n * n].reshape(-1, n)
    powers = np.einsum("ij,ij->i", frames, frames) / n - frames.mean(axis=1) ** 2  # an offset is no sound
    louder = np.flatnonzero(powers >= np.median(powers))
    level = 10 * np.log10(max(powers[louder].mean(), 1e-9) / FULL_SCALE ** 2)
    some = louder[np.linspace(0, len(louder) - 1, min(len(louder), MOST_FRAMES)).astype(int)]
    spectra = scipy.fft.rfft(frames[some] * np.hanning(n).astype(np.float32))
    width = min(max(1, round(SMOOTHED_HZ * n / rate)), spectra.shape[1])
    power = np.convolve((spectra.real ** 2 + spectra.imag ** 2).mean(axis=0), np.ones(width) / width, "same")
    top = power[round(min(ABOVE_HZ, rate / 4) * n / rate):].max()
    there = np.flatnonzero(power > top * 10 ** (-WITHIN_DB / 10))
    return Sound(float(there[-1] * rate / n if top else 0.0), float(max(level, QUIETEST_DB)))


def chosen(utterances: int) -> list[bool]:
    """Which of a set are measured: at most ``MOST_UTTERANCES``."""
    step = max(1, -(-utterances // MOST_UTTERANCES))
    return [i % step == 0 for i in range(utterances)]


def medians(sounds: Sequence[Sound]) -> Sound | None:
    """Those of a set, to 100 Hz and 0.1 dB; None of an empty one."""
    if not sounds:
        return None
    return Sound(round(float(np.median([s.bandwidth for s in sounds])), -2),
                 round(float(np.median([s.level for s in sounds])), 1))


def write_sound(data_dir, sound: Sound | None):
    """Leave ``sound.json`` in a data dir; with None, none."""
    if sound is None:
        _path(data_dir).unlink(missing_ok=True)
    else:
        found = {"bandwidth_hz": sound.bandwidth, "level_db": sound.level}
        config.write_text(_path(data_dir), json.dumps(found) + "\n")


def read_sound(data_dir) -> Sound | None:
    """What was measured of a data dir; None if nothing was.

    Raises:
        UserError: its ``sound.json`` is not as :func:`write_sound` leaves it.
    """
    path, hint = _path(data_dir), "delete it, and run local/validate_data_dir.sh again"
    if not path.is_file():
        return None
    found = config.read_json(path, hint)
    values: list[Any] = [found.get(key) for key in ("bandwidth_hz", "level_db")]
    if not all(type(v) in (int, float) and abs(v) < 1e9 for v in values):
        raise UserError("not bandwidth and level of a data dir", file=path, hint=hint)
    return Sound(*values)


def warn_of_differences(sets: list[tuple[str, Sound]]):
    """A line if bandwidths differ from that of the first set, which is trained on, and a line if levels do."""
    if not sets:
        return
    (_, first), *others = sets
    most = min(MAX_HZ, MAX_SHARE * first.bandwidth)
    if any(abs(s.bandwidth - first.bandwidth) > most for _, s in others):
        edge = int(min(s.bandwidth for _, s in sets) * (1 - MARGIN) // 100 * 100)
        shown = ", ".join(f"{s.bandwidth / 1000:.1f} in {name}" for name, s in sets)
        warn(f"bandwidths differ, in kHz: {shown}; above them there is next to nothing. Set `high_freq` to {edge} or "
             "less in conf/mfcc.yaml and conf/fbank.yaml, for training and decoding alike, or the difference costs "
             "word errors")
    if any(abs(s.level - first.level) > MAX_DB for _, s in others):
        shown = ", ".join(f"{s.level:.0f} in {name}" for name, s in sets)
        warn(f"levels differ, in dB of full scale: {shown}. Mean normalization takes a constant level out; see that "
             "nothing is clipped or lost in noise")


def _path(data_dir) -> Path:
    return Path(data_dir) / "sound.json"
