"""Recognizer: it gives the same words as the command, accepts every form of samples, and restores all settings."""

import json
import shutil
import threading

import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers.five_words import export_options, with_front

from lstmp.corpus.audio import read_audio
from lstmp.decode import search
from lstmp.errors import UserError
from lstmp.tensors import read_tensors, write_tensors
from lstmp.transcribe import export, transcribe
from lstmp.transcribe.recognizer import Recognizer


@pytest.fixture(scope="module")
def recognizer(model):
    return Recognizer(model)


@pytest.fixture
def floats(recording):
    return read_audio(recording) / 32768


def test_it_gives_the_same_words_as_the_command(recognizer, recording, floats, capsys):
    found = recognizer.transcribe(recording)
    assert capsys.readouterr() == ("", "")
    transcribe.main(["--model", str(recognizer.model.path), "--format", "json", "--nj", "1", str(recording)])
    output = json.loads(capsys.readouterr().out)
    assert found.text == output["text"] and len(found.words) > 1
    assert (found.name, found.seconds) == (str(recording), 9.0)
    assert [round(w.begin, 3) for w in found.words] == [w["begin"] for w in output["words"]]
    for samples in (floats, floats.astype(np.float64), (floats * 32768).astype(np.int16), np.stack([floats] * 2, 1),
                    torch.from_numpy(floats)):
        assert recognizer.transcribe(samples, 16000).words == found.words


def test_samples_of_other_rates_give_the_same_words_as_a_file(recognizer, floats, tmp_path):
    stereo = np.stack([floats, 0.9 * floats], 1)
    for rate, seconds in ((48000, 9), (22050, 25)):  # 25 s: a file is read in pieces of 10
        samples = soxr.resample(np.tile(stereo, (3, 1))[:seconds * 16000], 16000, rate).astype(np.float32)
        soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
        found = recognizer.transcribe(samples, rate)
        assert found.words and found.words == recognizer.transcribe(tmp_path / "x.wav").words
        assert found.seconds == pytest.approx(seconds, abs=0.01)


def test_the_settings_of_the_process_are_restored(recognizer, floats, monkeypatch, capfd):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert recognizer.transcribe(floats, 16000).words
        with recognizer.stream() as stream:
            assert stream.accept(floats, 16000)
        assert torch.get_num_threads() == 2 and float(torch.full((1,), 1e-40)) != 0
    finally:
        torch.set_num_threads(threads)
    assert not torch.distributed.is_initialized() and capfd.readouterr().out == ""


def test_the_graph_is_read_once(recognizer, floats, monkeypatch):
    expected = recognizer.transcribe(floats, 16000)
    monkeypatch.setattr(search.SearchGraph, "load", lambda *_: pytest.fail("read again"))
    assert recognizer.transcribe(floats, 16000) == expected


def test_several_threads_give_the_same_result(recognizer, floats):
    expected, found = recognizer.transcribe(floats, 16000), []
    threads = [threading.Thread(target=lambda: found.append(recognizer.transcribe(floats, 16000))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [expected] * 2


def test_empty_recordings_and_silence_give_no_words(recognizer):
    for samples in ([], np.zeros(200), np.zeros(16000, np.int16)):
        found = recognizer.transcribe(samples, 16000)
        assert found.seconds == len(samples) / 16000 and found.words == ()


def test_wrong_input_gives_clear_errors(recognizer, recording, floats, tmp_path):
    with pytest.raises(UserError, match="steps/export_model.sh"):
        Recognizer(tmp_path)
    with pytest.raises(UserError, match="no such audio file"):
        recognizer.transcribe(tmp_path / "absent.wav")
    with pytest.raises(UserError, match="leave rate out"):
        recognizer.transcribe(recording, 16000)
    for call in (recognizer.transcribe, recognizer.stream().accept):
        with pytest.raises(UserError, match="give rate="):
            call(floats)
        with pytest.raises(UserError, match="divide 16-bit samples"):
            call(floats * 32768, 16000)
        with pytest.raises(TypeError, match="int16"):
            call((floats * 32768).astype(np.int32), 16000)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stream_gives_the_same_segments_as_the_command(recognizer, floats, rate):
    expected = [s for s in recognizer._live.segments([floats * 32768]) if s.final]
    samples = soxr.resample(floats, 16000, rate) if rate != 16000 else floats
    with recognizer.stream() as stream:
        found = [s for block in np.array_split(samples, 23) for s in stream.accept(block, rate)]
        assert any(not s.final for s in found)
        last = stream.finish()
        assert all(s.final for s in last) and stream.finish() == []
    words = [s.words for s in found + last if s.final]
    assert words and (rate != 16000 or found[-1].end <= 9.0 and words == [s.words for s in expected])
    with pytest.raises(UserError, match=r"take a new stream\(\)"):
        stream.accept(samples)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_segments_do_not_depend_on_the_blocks(recognizer, floats, rate):
    samples, found = soxr.resample(floats, 16000, rate), []
    for blocks in (1, 7, 311):
        with recognizer.stream() as stream:
            segments = [s for block in np.array_split(samples, blocks) for s in stream.accept(block, rate)]
            found.append([s for s in segments + stream.finish() if s.final])
    assert found[0] == found[1] == found[2] != []


def test_two_streams_can_run_at_once_with_one_rate_each(recognizer, floats):
    one, two = recognizer.stream(), recognizer.stream()
    found = [[], []]
    for block in np.array_split(floats, 11):
        for stream, segments in zip((one, two), found, strict=True):
            segments += stream.accept(block) if segments else stream.accept(block, 16000)
    assert found[0] == found[1] and one.finish() == two.finish() != []
    stream = recognizer.stream()
    stream.accept(floats[:100], 16000)
    with pytest.raises(UserError, match="8000 samples per second after 16000"):
        stream.accept(floats[:100], 8000)
    assert recognizer.stream().finish() == []


def test_a_model_for_whole_recordings_has_no_stream(model, floats, tmp_path):
    shutil.copytree(model, tmp_path / "m")
    about = json.loads((tmp_path / "m/model.json").read_text()) | {"live": False}
    (tmp_path / "m/model.json").write_text(json.dumps(about))
    other = Recognizer(tmp_path / "m")
    with pytest.raises(UserError, match=r"use transcribe\(\)"):
        other.stream()
    assert other.transcribe(floats, 16000).words


@pytest.fixture(params=[False, True], ids=["cmvn", "cmvn and i-vectors"])
def remembering(parts, tmp_path, request):
    """The model with online CMVN that leaves the features nearly as they are, and with i-vectors of weight 0.

    It finds the same words.
    """
    folder = tmp_path / "remembering"
    nearly_as_they_are = {"cmvn_window": 10**9, "cmvn_speaker_frames": 1, "cmvn_global_frames": 10**9}
    copied = with_front(parts, tmp_path / "parts", request.param, **nearly_as_they_are)
    export.main(export_options(copied, folder))
    return folder


def test_a_speaker_is_remembered(remembering, recognizer, floats, recording, tmp_path, capsys):
    expected = [s.words for s in recognizer._live.segments([floats * 32768]) if s.final]
    speaker, live = tmp_path / "anna.safetensors", Recognizer(remembering)
    counts = []
    for _ in range(2):
        with live.stream(speaker) as stream:
            segments = [*stream.accept(floats, 16000), *stream.finish()]
        assert [s.words for s in segments if s.final] == expected
        counts.append(float(read_tensors(speaker)["cmvn"][0, -1]))
    assert counts[1] == 2 * counts[0] > 800
    transcribe.main(["--model", str(remembering), "--stream", "--speaker", "anna", "--speakers", str(tmp_path),
                     str(recording)])
    assert read_tensors(speaker)["cmvn"][0, -1] == 3 * counts[0] and capsys.readouterr().out
    with live.stream() as stream:  # of nobody
        stream.accept(floats, 16000)
        stream.finish()
    assert read_tensors(speaker)["cmvn"][0, -1] == 3 * counts[0]


def test_wrong_speakers_are_one_line(remembering, recognizer, recording, tmp_path, capsys):
    with pytest.raises(UserError, match="it remembers no speaker"):
        recognizer.stream(tmp_path / "anna.safetensors")
    bad = tmp_path / "anna.safetensors"
    bad.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not what was heard of a speaker, or cut off"):
        Recognizer(remembering).stream(bad)
    nothing = torch.zeros(0, dtype=torch.float64)
    write_tensors(bad, {"cmvn": torch.zeros(2, 9, dtype=torch.float64), "counts": nothing, "linear": nothing},
                  {"made_with": "{}"})
    with pytest.raises(UserError, match="of another network, or of features with another configuration"):
        Recognizer(remembering).stream(bad)
    for options, message in ((["--speaker", "../anna", "--stream"], "cannot be the id of a speaker"),
                             (["--speaker", "anna"], "--speaker is for --stream")):
        with pytest.raises(SystemExit):
            transcribe.main(["--model", str(remembering), *options, str(recording)])
        assert message in capsys.readouterr().err
