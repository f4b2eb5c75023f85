"""The synthetic corpus: reproducible bytes, unseen voices and sentences in test sets, complete lexicon."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmp.corpus import synth_text
from lstmp.corpus.audio import read_audio
from lstmp.corpus.datadir import read_data_dir, read_lines
from lstmp.corpus.synth import main
from lstmp.corpus.synth_lexicon import to_arpabet
from lstmp.corpus.synth_voice import assign_voices, coloured_noise, max_voices, resample
from lstmp.errors import UserError

SMALL = ["--train", "12", "--dev", "5", "--test", "4", "--train-voices", "4", "--dev-voices", "2", "--test-voices", "2",
         "--lm-sentences", "300"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "tiny"
    make(out, 2)
    return out


def make(out, nj, seed=1):
    """Make it in a fresh process, as run.sh does: espeak-ng must not have been used in it before."""
    subprocess.run([sys.executable, "-m", "lstmp.corpus.synth", "--out", str(out), "--nj", str(nj), "--seed", str(seed),
                    *SMALL], check=True, capture_output=True)


def digests(out):
    return {str(p.relative_to(out)): hashlib.md5(p.read_bytes().replace(bytes(out), b"")).hexdigest()
            for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")}


def test_same_seed_same_bytes_whatever_nj(tiny, tmp_path):
    make(tmp_path / "again", 1)
    assert digests(tmp_path / "again") == digests(tiny)
    (tmp_path / "other/audio/train").mkdir(parents=True)
    (tmp_path / "other/audio/train/of-another-seed.wav").touch()
    make(tmp_path / "other", 2, seed=2)
    assert not (tmp_path / "other/audio/train/of-another-seed.wav").exists()
    assert not set(digests(tmp_path / "other").values()) & {
        d for name, d in digests(tiny).items() if name.endswith(".wav")}


def test_splits_are_disjoint(tiny):
    sets = {s: read_data_dir(tiny / s) for s in ("train", "dev", "test")}
    assert [len(d.utts) for d in sets.values()] == [12, 5, 4]
    assert [len(d.speakers) for d in sets.values()] == [4, 2, 2]
    assert len({s for d in sets.values() for s in d.speakers}) == 8
    texts = [u.words for d in sets.values() for u in d.utts.values()]
    assert len(set(texts)) == len(texts)
    lm = {tuple(line.split()) for line in read_lines(tiny / "local" / "lm_text.txt")}
    assert not lm & {u.words for s in ("dev", "test") for u in sets[s].utts.values()}
    words = {line.split()[0] for line in read_lines(tiny / "local" / "lexicon.txt")}
    assert {w for t in [*texts, *lm] for w in t} <= words


def test_audio_has_plausible_statistics(tiny):
    for split in ("train", "dev", "test"):
        data = read_data_dir(tiny / split)
        for utt in data.utts.values():
            samples = read_audio(utt.wav)
            assert len(samples) / 16000 == pytest.approx(data.durations[utt.id], abs=1e-3)
            assert 1.0 < len(samples) / 16000 < 8.0 and np.abs(samples).max() <= 0.9 * 32768 + 1
            level = 20 * np.log10(np.sqrt(np.mean(samples**2)) / 32768)
            assert -36 < level < -15
            edge = np.sqrt(np.mean(samples[:1600] ** 2))  # the pause before the first word: noise, not silence
            assert 0 < edge < 0.7 * np.sqrt(np.mean(samples**2))


def test_a_finished_corpus_is_skipped_and_a_missing_file_is_made_again(tiny, capsys):
    args = ["--out", str(tiny), *SMALL]
    main(args)
    assert "is done" in capsys.readouterr().out
    wav = next(iter(read_data_dir(tiny / "dev").utts.values())).wav
    before = read_audio(wav)
    open(wav, "wb").close()
    subprocess.run([sys.executable, "-m", "lstmp.corpus.synth", *args], check=True, capture_output=True)
    np.testing.assert_array_equal(read_audio(wav), before)


def test_grammar():
    assert len(synth_text.vocabulary()) >= 200
    drawn = synth_text.sentences(3, 2000)
    assert len({tuple(s) for s in drawn}) == 2000 and all(4 <= len(s) <= 14 for s in drawn)
    assert set(Counter(w for s in drawn for w in s)) == set(synth_text.vocabulary())
    assert synth_text.sentences(3, 50) == drawn[:50]
    assert not any(set(w) - set("abcdefghijklmnopqrstuvwxyz'I") for s in drawn for w in s)


def test_lexicon(tiny):
    vowels = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
    lines = read_lines(tiny / "local" / "lexicon.txt")
    assert lines == sorted(set(lines)) and all(len(line.split()) > 1 for line in lines)
    assert {line.split()[0] for line in lines} == {w.upper() for w in synth_text.vocabulary()}
    phones = {p for line in lines for p in line.split()[1:]}
    assert {p[:-1] for p in phones if p[-1].isdigit()} == vowels
    assert not any(p in vowels for p in phones)
    assert "WATER W AO1 T ER0" not in lines and "HARBOUR HH AA1 R B ER0" in lines and "HARBOUR HH AA1 B AH0" in lines
    assert "THE DH AH0" in lines and "SEVEN S EH1 V AH0 N" in lines


def test_arpabet():
    assert to_arpabet(["h", "'A@", "b", "3"], rhotic=True) == "HH AA1 R B ER0"
    assert to_arpabet(["h", "'A@", "b", "3"], rhotic=False) == "HH AA1 B AH0"
    assert to_arpabet(["l", "'I", "t#", "@L"], rhotic=True) == "L IH1 T AH0 L"
    with pytest.raises(UserError, match="`Q`"):
        to_arpabet(["'Q"], rhotic=True)


@given(st.integers(0, 1000), st.integers(0, 20), st.integers(0, 20), st.integers(1, 64))
def test_no_voice_is_in_two_splits(seed, n_dev, n_test, n_train):
    voices = assign_voices(seed, n_train, n_dev, n_test)
    assert [len(voices[s]) for s in ("train", "dev", "test")] == [n_train, n_dev, n_test]
    names = [v.name for s in voices.values() for v in s]
    assert len(set(names)) == len(names) <= max_voices()
    assert len({v.name.split("-")[0] for v in voices["dev"]}) == min(8, n_dev)


@pytest.mark.parametrize("frequency", [100, 1000, 5000])
def test_resampling_keeps_a_tone(frequency):
    n = 22050
    x = np.sin(2 * np.pi * frequency * np.arange(n) / 22050)
    y = resample(x, 22050, 16000)
    assert len(y) == 16000
    inner = slice(800, -800)
    np.testing.assert_allclose(y[inner], np.sin(2 * np.pi * frequency * np.arange(16000) / 16000)[inner], atol=0.01)


def test_resampling_removes_frequencies_that_would_alias():
    y = resample(np.sin(2 * np.pi * 9500 * np.arange(22050) / 22050), 22050, 16000)
    assert np.abs(y[800:-800]).max() < 0.01


@pytest.mark.parametrize("tilt", [0, 1, 2])
def test_noise_has_the_given_spectral_tilt(tilt):
    noise = coloured_noise(np.random.default_rng(1), 100_000, tilt)
    assert np.mean(noise**2) == pytest.approx(1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    f = np.fft.rfftfreq(100_000, 1 / 16000)
    low, high = power[(f > 400) & (f < 600)].mean(), power[(f > 4000) & (f < 6000)].mean()
    assert 10 * np.log10(low / high) == pytest.approx(10 * tilt, abs=1.0)


@pytest.mark.parametrize(("options", "what"), [
    (["--train-voices", "100"], "116 voices"), (["--train", "3"], "3 utterances by 44 voices"),
    (["--nj", "0"], "--nj")])
def test_invalid_options_are_rejected(tmp_path, capsys, options, what):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), *options])
    error = capsys.readouterr().err
    assert what in error and error.count("\n") == 1
