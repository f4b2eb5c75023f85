"""Plots of alignments, and word times."""

import shutil

import matplotlib.image
import numpy as np
import pytest
from helpers.random_hmms import SIL, phone_sequences, random_lang, random_transitions, random_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.alignment import plot as plot_alignment
from lstmp.alignment.plot import smoothed, spectrogram, state_starts
from lstmp.alignment.word_times import word_segments
from lstmp.corpus.audio import write_wav
from lstmp.corpus.datadir import read_table, write_table
from lstmp.corpus.ids import file_name
from lstmp.errors import UserError
from lstmp.features.ark import write_int_vectors
from lstmp.gmm.align import Segment, read_alignment
from lstmp.gmm.model import AcousticModel

UTT = "s0-030"


@pytest.fixture
def recorded(toy, ali_dir, tmp_path):
    """The data dir with audio: a rising tone, as long as the features of one utterance."""
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    frames = len(read_alignment(ali_dir)[UTT])
    time = np.arange(400 + 160 * (frames - 1)) / 16000
    write_wav(tmp_path / "tone.wav", 8000 * np.sin(2 * np.pi * (300 + 800 * time) * time))
    write_table(data / "wav.scp", {u: str(tmp_path / "tone.wav") for u in read_table(data / "wav.scp")})
    return data


def plot(toy, data, ali, out, *options):
    plot_alignment.main(["--data", str(data), "--lang", str(toy.lang), "--ali", str(ali), "--out", str(out),
                         *options])
    return {p.stem: matplotlib.image.imread(p).shape for p in out.glob("*.png")}


def test_a_model_adds_a_panel_and_a_part_has_a_smaller_plot(toy, mono_dir, ali_dir, recorded, tmp_path):
    plain = plot(toy, recorded, ali_dir, tmp_path / "plain", UTT)
    scored = plot(toy, recorded, ali_dir, tmp_path / "scored", "--model", str(mono_dir), UTT)
    assert set(plain) == {UTT} and scored[UTT][0] > plain[UTT][0] and scored[UTT][1] == plain[UTT][1]
    part = plot(toy, recorded, ali_dir, tmp_path / "part", "--start", "0.2", "--end", "0.6", UTT)
    assert part[UTT][1] <= plain[UTT][1] and not list((tmp_path / "part").glob(".*"))


def test_utterance_ids_that_are_paths_do_not_leave_the_output_folder(toy, ali_dir, recorded, tmp_path):
    bad = f"{tmp_path}/elsewhere"
    for name in ("wav.scp", "text", "utt2spk"):
        table = read_table(recorded / name)
        write_table(recorded / name, {bad: table[UTT]})
    for name in ("spk2utt", "utt2dur"):
        (recorded / name).unlink(missing_ok=True)
    shutil.copytree(ali_dir, tmp_path / "ali")
    write_int_vectors(tmp_path / "ali" / "ali.ark", [(bad, read_alignment(ali_dir)[UTT])])
    assert list(plot(toy, recorded, tmp_path / "ali", tmp_path / "out", bad)) == [file_name(bad)]
    assert not (tmp_path / "elsewhere.png").exists()


def test_long_utterances_take_several_rows(toy, ali_dir, recorded, tmp_path, monkeypatch):
    one = plot(toy, recorded, ali_dir, tmp_path / "one", UTT)
    monkeypatch.setattr(plot_alignment, "_ROW_SECONDS", 0.4)
    several = plot(toy, recorded, ali_dir, tmp_path / "several", UTT)
    assert several[UTT][0] > 1.7 * one[UTT][0]


def test_the_plot_shows_the_alignment(toy, mono_dir, ali_dir, recorded):
    lang, model = plot_alignment.Lang.load(toy.lang), AcousticModel.load(mono_dir)
    data, alignment = plot_alignment.read_data_dir(recorded), read_alignment(ali_dir)
    picture = plot_alignment.load_picture(UTT, data, lang, model, alignment, model, 0.01)
    assert [word for word, _, _ in picture.words] == list(data.utts[UTT].words)
    assert sum(length for *_, length in picture.phones) == len(alignment[UTT]) == len(picture.loglike)
    assert set(np.array([start for _, start, _ in picture.phones])) <= set(picture.states.tolist())
    like = {u: float(x) for u, x in read_table(ali_dir / "utt2like").items()}
    assert picture.loglike.mean() == pytest.approx(like[UTT], abs=1e-3)


def test_bad_input_gives_a_one_line_error(toy, mono_dir, tri_dir, ali_dir, recorded, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(recorded, other)
    write_wav(tmp_path / "short.wav", np.zeros(8000))
    write_table(other / "wav.scp", {u: str(tmp_path / "short.wav") for u in read_table(recorded / "wav.scp")})
    for data, options, expected in [
            (recorded, ["nobody"], "text: no utterance nobody; give ids from its first column"),
            (recorded, ["s1-short"], "s1-short is not aligned; see failed.txt"),
            (recorded, ["--start", "99", UTT], f"{UTT} ends at"),
            (recorded, ["--start", "2", "--end", "1", UTT], "--end must be later than --start"),
            (recorded, ["--model", str(ali_dir), UTT], "not the GMM that made the alignment"),
            (other, [UTT], f"frames in the alignment of {UTT}, but 48 in its audio")]:
        with pytest.raises(SystemExit):
            plot(toy, data, ali_dir, tmp_path / "out", *options)
        assert expected in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_spectrogram_of_a_tone_peaks_at_its_frequency():
    time = np.arange(16000) / 16000
    spectrum = spectrogram(1000 * np.sin(2 * np.pi * 2000 * time).astype(np.float32), 0.01)
    assert spectrum.shape == (98, 257) and (np.abs(spectrum[5:-5].argmax(1) * 16000 / 512 - 2000) < 40).all()
    assert spectrogram(np.zeros(100, dtype=np.float32), 0.01).shape == (0, 257)


def test_smoothing_keeps_a_constant_and_the_mean_of_its_window():
    assert smoothed(np.full(20, 3.0)) == pytest.approx(3.0)
    assert smoothed(np.arange(20.0), 5)[10] == pytest.approx(10) and smoothed(np.arange(20.0), 5)[0] == pytest.approx(1)


def test_states_start_where_the_path_enters_a_state():
    rng = np.random.default_rng(0)
    lang = random_lang(rng, states=(3,))
    transitions = random_transitions(lang, random_tree(lang, rng, 1), rng)
    tids = [[t for t in range(1, transitions.num_tids + 1) if transitions.tid_phone[t] == 2
             and transitions.tid_state[t] == s] for s in range(3)]  # for each state: self-loop, forward transition
    (loop, go), (_, go2), (loop3, go3) = tids
    assert state_starts(np.array([go, loop, loop, go2, go3, loop3]), transitions).tolist() == [0, 3, 4]


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_words_get_their_phones_with_any_pronunciations(seed, count):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    ids = rng.integers(1, 4, count).tolist()
    ways = list(phone_sequences(lang, ids))
    sequence, _ = ways[int(rng.integers(len(ways)))]
    phones = [Segment(p, 10 * i, 10) for i, p in enumerate(sequence)]
    spans = word_segments(phones, [lang.word_names[w] for w in ids], lang)
    assert [word for word, _, _ in spans] == [lang.word_names[w] for w in ids]
    spelled = [tuple(p.phone for p in phones if at <= p.start < at + length) for _, at, length in spans]
    assert all(any(x == p for _, p in lang.lexicon[w]) for x, w in zip(spelled, ids, strict=True))
    covered = {p.start for p in phones for _, at, length in spans if at <= p.start < at + length}
    assert all(p.phone == SIL for p in phones if p.start not in covered)
    with pytest.raises(UserError, match="its phones are not a pronunciation"):
        word_segments([*phones, Segment(99, 0, 1)], [lang.word_names[w] for w in ids], lang)
