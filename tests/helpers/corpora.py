"""Writes small corpora for tests."""

from pathlib import Path

import numpy as np
import soundfile

TEXT = {"19-198-0000": "THE CAT SAT", "19-198-0001": "ON A MAT", "26-495-0000": "DOGS BARK", "26-495-0001": "AND RUN"}


def tone(path, seconds=0.5, rate=16000, channels=1, **options):
    """Write a quiet tone with a little noise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    n = int(seconds * rate)
    samples = 0.2 * np.sin(np.arange(n) * 0.1) + np.random.default_rng(0).normal(0, 0.01, n)
    soundfile.write(str(path), np.tile(samples[:, None], channels) if channels > 1 else samples, rate, **options)
    return path


def data_dir(path: Path, audio: bool = False) -> Path:
    """Write a valid data directory of four utterances and two speakers."""
    path.mkdir(parents=True)
    (path / "wav.scp").write_text("".join(f"{u} {path}/{u}.wav\n" for u in TEXT))
    (path / "text").write_text("".join(f"{u} {t}\n" for u, t in TEXT.items()))
    (path / "utt2spk").write_text("".join(f"{u} {u[:-5]}\n" for u in TEXT))
    (path / "utt2dur").write_text("".join(f"{u} 0.{5 + i}00\n" for i, u in enumerate(TEXT)))
    if audio:
        for i, u in enumerate(TEXT):
            tone(path / f"{u}.wav", seconds=0.5 + i / 10)
    return path


def librispeech(root: Path, split: str = "dev", speakers: int = 3, utts: int = 4, ext: str = "wav") -> Path:
    """Write a corpus with the layout of LibriSpeech. Returns ``root``."""
    for s in range(speakers):
        chapter = root / "LibriSpeech" / split / str(10 + s) / "7"
        chapter.mkdir(parents=True)
        lines = []
        for n in range(utts):
            utt = f"{10 + s}-7-{n:04d}"
            tone(chapter / f"{utt}.{ext}", seconds=0.3 + 0.1 * n)
            lines.append(f"{utt} SOME  WORDS {'AB'[n % 2]}\n")
        (chapter / f"{10 + s}-7.trans.txt").write_text("".join(lines))
    return root
