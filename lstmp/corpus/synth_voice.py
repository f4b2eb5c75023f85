"""The voices of ``tiny``: accent × variant of espeak-ng, each with its own pitch, speed, loudness and noise."""

from dataclasses import dataclass

import numpy as np

from lstmp.corpus.audio import RATE
from lstmp.corpus.espeak import Espeak, Manner

ACCENTS = {  # short name → espeak's voice
    "us": "en-us", "gb": "en", "scot": "en-gb-scotland", "carib": "en-029", "rp": "en-gb-x-rp",
    "lanc": "en-gb-x-gbclan", "wmid": "en-gb-x-gbcwmd", "nyc": "en-us-nyc",
}
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
PEAK = 0.9 * 32768  # no sample goes beyond


@dataclass(frozen=True)
class Voice:
    """One speaker: a manner of speaking and a recording channel.

    Attributes:
        name: speaker id, such as ``scot-f2``.
        manner: voice, words per minute, pitch and its range; an utterance varies around them.
        level: root mean square of the speech in dB below full scale.
        tilt: the noise's power falls as ``1 / f ** tilt``: 0 is white, 1 pink, 2 brown.
        snr: lowest and highest signal-to-noise ratio of an utterance in dB.
    """

    name: str
    manner: Manner
    level: float
    tilt: float
    snr: tuple[float, float]


def cast(seed: int, n_train: int, n_dev: int, n_test: int) -> dict[str, list[Voice]]:
    """Voices of train, dev and test: no voice is in two of them, and every accent comes in turn in each."""
    rng = np.random.default_rng((seed, 1))
    queues = {accent: list(rng.permutation(VARIANTS)) for accent in ACCENTS}
    voices: dict[str, list[Voice]] = {}
    for split, n in (("dev", n_dev), ("test", n_test), ("train", n_train)):
        voices[split] = []
        while len(voices[split]) < n:
            accent = max(ACCENTS, key=lambda a: len(queues[a]))  # the first of those with most variants left
            voices[split].append(_voice(rng, accent, str(queues[accent].pop())))
    return voices


def max_voices() -> int:
    """How many different voices there are."""
    return len(ACCENTS) * len(VARIANTS)


def _voice(rng: np.random.Generator, accent: str, variant: str) -> Voice:
    manner = Manner(f"{ACCENTS[accent]}+{variant}", int(rng.integers(140, 191)), int(rng.integers(35, 66)),
                    int(rng.integers(35, 66)))
    low = float(rng.uniform(8, 15))
    return Voice(f"{accent}-{variant}", manner, float(rng.uniform(-32, -20)), float(rng.uniform(0, 2)), (low, low + 12))


def render(espeak: Espeak, text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Speak ``text``: float32 ``[samples]`` at 16 kHz, ±32768, with silence around it and noise throughout."""
    m = voice.manner
    manner = Manner(m.voice, m.rate + int(rng.integers(-10, 11)), m.pitch + int(rng.integers(-5, 6)), m.range)
    speech = resample(espeak.speak(text, manner, seed=int(rng.integers(1, 1 << 30))), espeak.sample_rate, RATE)
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
    """Change the sampling rate in the frequency domain, with a raised-cosine edge on the top 6 % of the narrower band.

    Padding to a whole number of periods of both rates makes the ratio exact. Returns float64.
    """
    step = rate // np.gcd(rate, to)  # so many samples become `to / gcd` ones
    length = -(-(len(samples) + rate // 20) // step) * step  # 50 ms of silence part the end from the beginning
    spectrum = np.fft.rfft(samples.astype(np.float64), length)
    resampled = length // step * (to // np.gcd(rate, to))
    bins = resampled // 2 + 1
    spectrum = np.pad(spectrum[:bins], (0, max(0, bins - len(spectrum))))
    frequency = np.arange(bins) * (to / resampled)
    edge = min(rate, to) / 2
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * np.clip((frequency / edge - 0.94) / 0.06, 0, 1))
    return np.fft.irfft(spectrum, resampled)[:-(-len(samples) * to // rate)] * (resampled / length)


def coloured_noise(rng: np.random.Generator, n: int, tilt: float) -> np.ndarray:
    """Gaussian noise of unit power whose spectrum falls as ``1 / f ** tilt``, flat below 50 Hz. Float64 ``[n]``."""
    length = 1 << (n - 1).bit_length()  # a power of two is many times faster than a prime
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)) * (RATE / length), 50.0)
    noise = np.fft.irfft(spectrum * frequency ** (-tilt / 2), length)[:n]
    return noise / np.sqrt(np.mean(noise**2))
