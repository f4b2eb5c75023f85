"""Measures bandwidth and level of recordings, and warns if they differ between data sets.

A network trained on full-band speech recognizes band-limited speech poorly, and no other check detects this. Both are
measured in the louder half of an utterance's frames, which contains the speech. The level is their RMS in dB relative
to full scale (a full-scale square wave has 0 dB). The bandwidth is the highest frequency at which their mean power is
at most 50 dB below its maximum above 500 Hz; MP3 coding and resampling leave only the noise floor beyond it.
``sound.json`` in a data dir contains the medians over a subset of its utterances.
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

MAX_UTTERANCES = 200  # measured per set, evenly spread; more take time and hardly change the medians
FRAME_SECONDS = 0.032  # frequency resolution 31 Hz
MAX_FRAMES = 60  # frames per utterance whose spectra are averaged
SMOOTHED_HZ = 100
ABOVE_HZ = 500  # hum and the strongest harmonics of low voices are below
WITHIN_DB = 50
FULL_SCALE = 32768.0
QUIETEST_DB = -120.0  # below one bit of 24-bit samples

MAX_HZ, MAX_SHARE = 500, 0.1  # warn of bandwidths that differ by more than the smaller of the two
MAX_DB = 10  # warn of levels that differ by more
MARGIN = 0.05  # relative to the bandwidth, for the slope of the filter at its edge


@dataclass(frozen=True)
class Sound:
    """Bandwidth in Hz and level in dB relative to full scale, of an utterance or as medians over a set."""

    bandwidth: float
    level: float


def measure(samples: np.ndarray, rate: int) -> Sound:
    """Measure bandwidth and level of an utterance.

    Args:
        samples: float32 [samples], ±32768, one or more, finite.
        rate: sampling rate in Hz.
    """
    n = scipy.fft.next_fast_len(max(8, round(FRAME_SECONDS * rate)), real=True)
    if len(samples) < n:
        samples = np.pad(samples, (0, n - len(samples)))
    frames = samples[:len(samples) // n * n].reshape(-1, n)
    powers = np.einsum("ij,ij->i", frames, frames) / n - frames.mean(axis=1) ** 2  # without the DC offset
    louder = np.flatnonzero(powers >= np.median(powers))
    level = 10 * np.log10(max(powers[louder].mean(), 1e-9) / FULL_SCALE ** 2)
    selected = louder[np.linspace(0, len(louder) - 1, min(len(louder), MAX_FRAMES)).astype(int)]
    spectra = scipy.fft.rfft(frames[selected] * np.hanning(n).astype(np.float32))
    width = min(max(1, round(SMOOTHED_HZ * n / rate)), spectra.shape[1])
    power = np.convolve((spectra.real ** 2 + spectra.imag ** 2).mean(axis=0), np.ones(width) / width, "same")
    maximum = power[round(min(ABOVE_HZ, rate / 4) * n / rate):].max()
    bins_in_band = np.flatnonzero(power > maximum * 10 ** (-WITHIN_DB / 10))
    return Sound(float(bins_in_band[-1] * rate / n if maximum else 0.0), float(max(level, QUIETEST_DB)))


def measured_subset(utterances: int) -> list[bool]:
    """Select the utterances of a set to measure, at most ``MAX_UTTERANCES``: one flag per utterance."""
    step = max(1, -(-utterances // MAX_UTTERANCES))
    return [i % step == 0 for i in range(utterances)]


def medians(sounds: Sequence[Sound]) -> Sound | None:
    """Medians over a set, rounded to 100 Hz and 0.1 dB; None if it is empty."""
    if not sounds:
        return None
    return Sound(round(float(np.median([s.bandwidth for s in sounds])), -2),
                 round(float(np.median([s.level for s in sounds])), 1))


def write_sound(data_dir, sound: Sound | None):
    """Write ``sound.json`` of a data dir; None removes it."""
    if sound is None:
        _path(data_dir).unlink(missing_ok=True)
    else:
        values = {"bandwidth_hz": sound.bandwidth, "level_db": sound.level}
        config.write_text(_path(data_dir), json.dumps(values) + "\n")


def read_sound(data_dir) -> Sound | None:
    """Read ``sound.json`` of a data dir; None if there is none.

    Raises:
        UserError: the file does not have the form that :func:`write_sound` writes.
    """
    path, hint = _path(data_dir), "delete it, and run local/validate_data_dir.sh again"
    if not path.is_file():
        return None
    content = config.read_json(path, hint)
    values: list[Any] = [content.get(key) for key in ("bandwidth_hz", "level_db")]
    if not all(type(v) in (int, float) and abs(v) < 1e9 for v in values):
        raise UserError("does not contain bandwidth_hz and level_db", file=path, hint=hint)
    return Sound(*values)


def warn_about_differences(sets: list[tuple[str, Sound]]):
    """Log a warning if bandwidths, or levels, differ from those of the first set, the training set."""
    if not sets:
        return
    (_, first), *others = sets
    max_difference = min(MAX_HZ, MAX_SHARE * first.bandwidth)
    if any(abs(s.bandwidth - first.bandwidth) > max_difference for _, s in others):
        edge = int(min(s.bandwidth for _, s in sets) * (1 - MARGIN) // 100 * 100)
        shown = ", ".join(f"{s.bandwidth / 1000:.1f} in {name}" for name, s in sets)
        warn(f"bandwidths differ, in kHz: {shown}; there is hardly any energy above them. Set `high_freq` to {edge} or "
             "less in conf/mfcc.yaml and conf/fbank.yaml, for both training and decoding, or expect more word "
             "errors")
    if any(abs(s.level - first.level) > MAX_DB for _, s in others):
        shown = ", ".join(f"{s.level:.0f} in {name}" for name, s in sets)
        warn(f"levels differ, in dB of full scale: {shown}. Mean normalization removes a constant level; check that "
             "nothing is clipped or masked by noise")


def _path(data_dir) -> Path:
    return Path(data_dir) / "sound.json"
