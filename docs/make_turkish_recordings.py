"""Makes the recordings of docs/low-resource.md: synthetic Turkish voices read numbers; the transcripts are lower case.

    python docs/make_turkish_recordings.py turkish
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

from lstmp.corpus.audio import RATE
from lstmp.corpus.espeak import Espeak, VoiceSettings
from lstmp.corpus.synth_voice import Voice, render

UNITS = " bir iki üç dört beş altı yedi sekiz dokuz".split(" ")
TENS = " on yirmi otuz kırk elli altmış yetmiş seksen doksan".split(" ")
SPLITS = {"train": ("m1 m2 m3 m4 m5 m6 f1 f2 f3", 20), "dev": ("m7 f4", 15), "test": ("m8 f5", 15)}  # variants, numbers


def words(number: int) -> str:
    thousand, hundred, rest = number // 1000, number // 100 % 10, number % 100
    parts = [UNITS[thousand] if thousand > 1 else "", "bin" if thousand else "", UNITS[hundred] if hundred > 1 else "",
             "yüz" if hundred else "", TENS[rest // 10], UNITS[rest % 10]]
    return " ".join(filter(None, parts))


def main(out: Path):
    rng, espeak = np.random.default_rng(1), Espeak()
    for split, (variants, count) in SPLITS.items():
        for variant in variants.split():
            settings = VoiceSettings(f"tr+{variant}", int(rng.integers(130, 180)), int(rng.integers(30, 70)), 50)
            voice = Voice(variant, settings, level=-25.0, tilt=1.0, snr=(15.0, 30.0))
            for n in range(count):
                path = out / split / variant / f"{n:02}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                text = f"{words(int(rng.integers(1, 10000)))}, {words(int(rng.integers(1, 10000)))}"
                soundfile.write(path, render(espeak, text, voice, rng) / 32768, RATE)
                path.with_suffix(".txt").write_text(text + ".\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
