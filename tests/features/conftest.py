"""A small data dir with audio."""

import numpy as np
import pytest

from lstmp.corpus.audio import write_wav
from lstmp.corpus.datadir import Utterance, write_data_dir


@pytest.fixture
def data_dir(tmp_path):
    """Four utterances of two speakers: tones in noise, 0.3 to 0.9 s."""
    rng = np.random.default_rng(1)
    utts = []
    for i, seconds in enumerate((0.3, 0.5, 0.7, 0.9)):
        t = np.arange(int(16000 * seconds)) / 16000
        samples = 3000 * np.sin(2 * np.pi * 300 * (i + 1) * t) + 500 * rng.standard_normal(len(t))
        path = tmp_path / "wav" / f"u{i}.wav"
        write_wav(path, samples.astype(np.float32))
        utts.append(Utterance(f"s{i // 2}-u{i}", f"s{i // 2}", str(path), ("A", "B")))
    write_data_dir(tmp_path / "data", utts)
    return tmp_path / "data"
