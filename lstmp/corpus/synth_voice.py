"""The voices of ``tiny``: accents × variants of espeak-ng, each with a different pitch, speed, loudness and noise."""

from dataclasses import dataclass

import numpy as np

from lstmp.corpus.audio import RATE
from lstmp.corpus.espeak import Espeak, VoiceSettings

ACCENTS = {  # short name → name of espeak's voice
    "us": "en-us", "gb": "en", "scot": "en-gb-scotland", "carib": "en-029", "rp": "en-gb-x-rp",
    "lanc": "en-gb-x-gbclan", "wmid": "en-gb-x-gbcwmd", "nyc": "en-us-nyc",
}
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
PEAK = 0.9 * 32768  # maximum absolute sample value


@dataclass(frozen=True)
class Voice:
    """One speaker: synthesizer settings and a recording channel.

    Attributes:
        name: speaker id, such as ``scot-f2``.
        settings: voice, words per minute, pitch and pitch range; each utterance varies around them.
        level: RMS of the speech in dB relative to full scale.
        tilt: power spectrum of the noise is ``1 / f ** tilt``: 0 is white, 1 pink, 2 brown.
        snr: minimum and maximum signal-to-noise ratio of an utterance in dB.
    """

    name: str
    settings: VoiceSettings
    level: float
    tilt: float
    snr: tuple[float, float]


def assign_voices(seed: int, n_train: int, n_dev: int, n_test: int) -> dict[str, list[Voice]]:
    """Assign voices to train, dev and test. No voice is in two splits; in each split the accents take turns."""
    rng = np.random.default_rng((seed, 1))
    queues = {accent: list(rng.permutation(VARIANTS)) for accent in ACCENTS}
    voices: dict[str, list[Voice]] = {}
    for split, n in (("dev", n_dev), ("test", n_test), ("train", n_train)):
        voices[split] = []
        while len(voices[split]) < n:
            accent = max(ACCENTS, key=lambda a: len(queues[a]))  # the first accent with most variants left
            voices[split].append(_voice(rng, accent, str(queues[accent].pop())))
    return voices


def max_voices() -> int:
    """The number of different voices."""
    return len(ACCENTS) * len(VARIANTS)


def _voice(rng: np.random.Generator, accent: str, variant: str) -> Voice:
    settings = VoiceSettings(f"{ACCENTS[accent]}+{variant}", int(rng.integers(140, 191)), int(rng.integers(35, 66)),
                    int(rng.integers(35, 66)))
    low = float(rng.uniform(8, 15))
    level, tilt = float(rng.uniform(-32, -20)), float(rng.uniform(0, 2))
    return Voice(f"{accent}-{variant}", settings, level, tilt, (low, low + 12))


def render(espeak: Espeak, text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Synthesize ``text``: float32 ``[samples]`` at 16 kHz, ±32768, padded with silence, with noise added."""
    base = voice.settings
    settings = VoiceSettings(base.voice, base.rate + int(rng.integers(-10, 11)), base.pitch + int(rng.integers(-5, 6)),
                             base.range)
    speech = resample(espeak.speak(text, settings, seed=int(rng.integers(1, 1 << 30))), espeak.sample_rate, RATE)
    loud = np.abs(speech) > 0.02 * np.abs(speech).max()
    first, last = int(np.argmax(loud)), len(loud) - int(np.argmax(loud[::-1]))
    before, after = (rng.uniform(0.15, 0.35, size=2) * RATE).astype(int)
    speech = np.concatenate([np.zeros(before), speech[first:last], np.zeros(after)])
    rms = np.sqrt(np.mean(speech[before:len(speech) - after] ** 2))
    speech *= 32768 * 10 ** (voice.level / 20) / rms
    noise = coloured_noise(rng, len(speech), voice.tilt) * 32768 * 10 ** ((voice.level - rng.uniform(*voice.snr)) / 20)
    mixed = speech + noise
    return (mixed * min(1.0, PEAK / np.abs(mixed).max())).astype(np.float32)


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Resample in the frequency domain, with a raised-cosine edge on the top 6 % of the narrower band.

    Padding to a whole number of periods of both sampling rates makes the ratio exact. Returns float64.
    """
    step = rate // np.gcd(rate, to)  # this many samples become `to / gcd` samples
    length = -(-(len(samples) + rate // 20) // step) * step  # 50 ms of silence between end and start
    spectrum = np.fft.rfft(samples.astype(np.float64), length)
    resampled = length // step * (to // np.gcd(rate, to))
    bins = resampled // 2 + 1
    spectrum = np.pad(spectrum[:bins], (0, max(0, bins - len(spectrum))))
    frequency = np.arange(bins) * (to / resampled)
    edge = min(rate, to) / 2
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * np.clip((frequency / edge - 0.94) / 0.06, 0, 1))
    return np.fft.irfft(spectrum, resampled)[:-(-len(samples) * to // rate)] * (resampled / length)


def coloured_noise(rng: np.random.Generator, n: int, tilt: float) -> np.ndarray:
    """Gaussian noise of unit power with power spectrum ``1 / f ** tilt``, flat below 50 Hz: float64 ``[n]``."""
    length = 1 << (n - 1).bit_length()  # a power of two is many times faster than a prime
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)) * (RATE / length), 50.0)
    noise = np.fft.irfft(spectrum * frequency ** (-tilt / 2), length)[:n]
    return noise / np.sqrt(np.mean(noise**2))
