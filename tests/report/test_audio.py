"""The sound of utterances: what is linked, what is written, and the pictures."""

import dataclasses
import os
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from helpers import CONF
from PIL import Image

from lstmp import config
from lstmp.corpus.audio import read_channels, write_wav
from lstmp.corpus.datadir import DataDir, Utterance
from lstmp.corpus.segments import Segment
from lstmp.report.audio import RATE, SetAudio, is_playable, mel_centres, picture
from lstmp.report.experiment import ScoredSet
from lstmp.report.notes import Notes
from lstmp.report.options import ReportConfig

CFG = config.load(CONF / "report.yaml", ReportConfig)
TONE = 8000 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)  # one second of 1 kHz


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "audio" / "a b.wav"
    write_wav(path, TONE)
    return path


def sounds(tmp_path, *utts, allow_commands=False):
    data = DataDir(tmp_path, {u.id: u for u in utts}, {})
    test_set = ScoredSet("te st", data, {u.id: ("A",) for u in utts})
    notes = Notes()
    maker = SetAudio(tmp_path / "exp" / "report", test_set, CFG, allow_commands)
    return maker.write([[u.id for u in utts]], 1, notes), notes.texts


def linked(tmp_path, url):
    return os.path.normpath(os.path.join(tmp_path / "exp/report", unquote(url)))


def test_a_file_that_browsers_play_is_linked(tmp_path, wav):
    items, notes = sounds(tmp_path, Utterance("u/1", "s", str(wav), ("A",)))
    item = items["u/1"]
    assert item["audio"] == "../../audio/a%20b.wav" and linked(tmp_path, item["audio"]) == str(wav)
    assert item["offset"] == 0 and item["seconds"] == 1 and item["level"] == pytest.approx(-15.3, abs=0.2)
    assert notes == [] and not (tmp_path / "exp/report/audio").exists()
    image = Image.open(linked(tmp_path, item["spectrogram"]))
    assert image.size == (100, CFG.mel_bins) and item["frame_seconds"] == 0.01 and len(item["bins"]) == CFG.mel_bins
    row = int(np.asarray(image.convert("L"), int)[:, 20:80].sum(1).argmax())
    assert item["bins"][row] == pytest.approx(1000, rel=0.05)


def test_a_segment_is_played_from_its_begin(tmp_path, wav):
    utt = Utterance("u", "s", str(wav), ("A",), Segment("r", 0.25, 0.75, None))
    item = sounds(tmp_path, utt)[0]["u"]
    assert (item["offset"], item["seconds"]) == (0.25, 0.5) and item["audio"].endswith("a%20b.wav")


def test_the_output_of_a_command_is_written_only_if_commands_are_allowed(tmp_path, wav):
    utt = Utterance("u", "s", f"cat '{wav}' |", ("A",), Segment("r", 0.25, 0.75, None))
    items, notes = sounds(tmp_path, utt)
    assert items["u"]["audio"] is None and items["u"]["level"] is None
    (note,) = notes
    assert "u: " in note and "--allow-commands" in note
    items, notes = sounds(tmp_path, utt, allow_commands=True)
    samples, rate = read_channels(linked(tmp_path, items["u"]["audio"]))
    assert notes == [] and items["u"]["offset"] == 0 and len(samples) == rate / 2  # the segment alone


def test_files_that_browsers_cannot_play_are_written(tmp_path, wav):
    mu_law = tmp_path / "mu.wav"
    soundfile.write(mu_law, TONE / 32768, RATE, subtype="ULAW")
    sphere = tmp_path / "sphere.wav"  # as in LDC's corpora
    soundfile.write(sphere, TONE / 32768, RATE, format="NIST")
    flac = tmp_path / "x.flac"
    soundfile.write(flac, TONE / 32768, RATE)
    utts = [Utterance(p.stem, "s", str(p), ("A",)) for p in (flac, mu_law, sphere)]
    assert [is_playable(u) for u in utts] == [True, False, False]
    items, notes = sounds(tmp_path, *utts)
    assert notes == [] and items["x"]["audio"] == "../../x.flac"
    for name in ("mu", "sphere"):
        assert items[name]["audio"] == f"audio/te%2520st/{name}.ogg"
        samples, rate = read_channels(linked(tmp_path, items[name]["audio"]))
        assert len(samples) == rate and np.abs(samples[1000:-1000, 0]).max() == pytest.approx(8000, rel=0.1)


def test_an_unreadable_file_costs_only_itself(tmp_path, wav, monkeypatch):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF no sound at all")
    utts = [Utterance(n, "s", str(p), ("A",)) for n, p in (("a", bad), ("b", tmp_path / "none.wav"), ("c", wav))]
    real_open = open

    def refuse(path, *more, **options):
        if str(path).endswith("bad.wav"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *more, **options)
    monkeypatch.setattr("builtins.open", refuse)  # root may read everything
    items, (note,) = sounds(tmp_path, *utts)
    assert items["a"]["level"] is None and items["a"]["audio"] is None and items["b"]["audio"] is None
    assert items["c"]["level"] is not None
    assert note.startswith("no sound of utterances of te st: a: ") and "(and 1 more utterance)" in note


def test_a_long_utterance_gets_a_picture_that_is_not_too_wide():
    cfg = dataclasses.replace(CFG, frame_shift_ms=1.0)
    pixels, join = picture(np.tile(TONE, 20), cfg)
    assert join == 2 and pixels.shape == (CFG.mel_bins, 10_000)


def test_centres_rise_to_half_the_rate():
    centres = mel_centres(64)
    assert (np.diff(centres) > 0).all() and centres[0] > 20 and 7500 < centres[-1] < 8000
