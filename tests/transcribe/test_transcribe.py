"""Export and transcription as a user runs them, with an untrained network."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.five_words import ROOT, babble, export_options

from lstmp.corpus.audio import read_audio, write_wav
from lstmp.decode.decode_online import decode_pieces
from lstmp.decode.online import OnlineSearch
from lstmp.errors import UserError
from lstmp.features.extract import compute_features
from lstmp.nnet.forward import AcousticNetwork
from lstmp.transcribe import export, recognize, transcribe
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.transcribe import LiveModel


def run(*options, data=None):
    done = subprocess.run([sys.executable, "-m", "lstmp.transcribe.transcribe", *map(str, options)], cwd=ROOT,
                          input=data, capture_output=True, timeout=300)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def fails(capsys, *options):
    with pytest.raises(SystemExit) as stopped:
        transcribe.main(list(map(str, options)))
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_the_exported_folder_is_complete(model, parts):
    folder = ModelFolder.load(model)
    assert (folder.feature, folder.adapts, folder.live) == ("fbank", False, True)
    assert (folder.lm_weight, folder.word_penalty) == (0.5, 0.25) and folder.silent
    card = (model / "README.md").read_text()
    assert "# five-words" in card and "12.50 [10.00, 15.00]" in card and "--stream" in card
    assert "only the 6 words of its list" in card
    assert not re.search(r"\{|\}", card)
    assert (model / "graph/HCLG.k2.safetensors").read_bytes() == (parts / "graph_x/HCLG.k2.safetensors").read_bytes()


def test_a_second_export_replaces_the_model_but_no_other_folder(parts, tmp_path, capsys):
    for _ in range(2):
        export.main(export_options(parts, tmp_path / "m"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    with pytest.raises(SystemExit):
        export.main(export_options(parts, tmp_path / "mine"))
    assert "it contains other files" in capsys.readouterr().err and (tmp_path / "mine/thesis.txt").is_file()
    for about in ("{}", '{"format": "lstmp model 1", "files": {}}', "[]", "not json"):
        (tmp_path / "mine/model.json").write_text(about)
        with pytest.raises(SystemExit):
            export.main(export_options(parts, tmp_path / "mine"))
        assert "it contains other files" in capsys.readouterr().err and (tmp_path / "mine/thesis.txt").is_file()


def test_parts_that_do_not_belong_together_are_refused(parts, tmp_path, capsys):
    shutil.copytree(parts, tmp_path / "p")
    options = export_options(tmp_path / "p", tmp_path / "m")
    with pytest.raises(SystemExit):
        export.main([*options, "--adapt", str(parts / "hmm")])
    assert "leave --adapt out" in capsys.readouterr().err
    (tmp_path / "p/net/decode_x_dev/score.json").unlink()
    with pytest.raises(SystemExit):
        export.main(options)
    assert "none of its decode dirs with graph_x is scored" in capsys.readouterr().err
    export.main([*options, "--lm-weight", "3", "--word-penalty", "0"])
    assert ModelFolder.load(tmp_path / "m").lm_weight == 3
    for more, message in ((["--lm-weight", "0"], "an LM weight of 0"),
                          (["--word-penalty", "-1"], "a word penalty of -1"),
                          (["--conf", str(tmp_path / "none")], "fbank.yaml: no such file")):
        with pytest.raises(SystemExit):
            export.main([*options, "--lm-weight", "3", "--word-penalty", "0", *more])
        assert message in capsys.readouterr().err
    (tmp_path / "p/net/tree.json").write_text("{}")
    with pytest.raises(SystemExit):
        export.main(options)
    assert "not made from the decision tree" in capsys.readouterr().err


def test_transcripts_in_all_formats(model, recording, tmp_path):
    shutil.copyfile(recording, tmp_path / "other.wav")
    shutil.copytree(model, tmp_path / "moved")  # it must work at another path
    status, text, err = run("--model", tmp_path / "moved", recording, tmp_path / "other.wav")
    assert status == 0, err
    (talk, first), (other, second) = (line.split(" ", 1) for line in text.splitlines())
    assert (talk, other) == ("talk", "other") and first == second
    assert set(first.split()) <= {"RED", "READ", "A", "ARID"} and len(first.split()) > 1
    status, out, err = run("--model", model, "--format", "json", recording)
    assert status == 0 and err == ""
    found = json.loads(out)
    assert found["text"] == first and found["seconds"] == 9.0
    times = [(w["begin"], w["end"]) for w in found["words"]]
    assert [w["word"] for w in found["words"]] == first.split() and times == sorted(times)
    assert all(0 <= a < b <= 9.0 for a, b in times)
    assert all(0 <= w["confidence"] <= 1 for w in found["words"])
    status, _, _ = run("--model", model, "--format", "srt", "--out", tmp_path / "out", recording)
    assert status == 0 and (tmp_path / "out/talk.srt").read_text().startswith("1\n00:00:0")


def test_times_continue_across_the_pieces_of_a_long_recording(model, tmp_path):
    write_wav(tmp_path / "long.wav", babble(50.0))
    status, out, err = run("--model", model, "--format", "json", "--nj", 2, tmp_path / "long.wav")
    assert status == 0, err
    words = json.loads(out)["words"]
    begins = [w["begin"] for w in words]
    assert begins == sorted(begins) and begins[-1] > 25 and words[-1]["end"] <= 50.0


def test_if_the_alignment_fails_words_are_kept_with_estimated_times(model, recording, tmp_path):
    shutil.copytree(model, tmp_path / "m")
    text = (tmp_path / "m/conf/align.yaml").read_text()
    (tmp_path / "m/conf/align.yaml").write_text(re.sub(r"(beams?): .*", lambda m: f"{m[1]}: " + (
        "[0.0001]" if m[1] == "beams" else "0.0001"), text))
    about = json.loads((tmp_path / "m/model.json").read_text())
    about["files"]["conf/align.yaml"] = (tmp_path / "m/conf/align.yaml").stat().st_size
    (tmp_path / "m/model.json").write_text(json.dumps(about))
    _, expected, _ = run("--model", model, "--format", "json", recording)
    status, out, err = run("--model", tmp_path / "m", "--format", "json", recording)
    assert status == 0 and "the times of their words are guessed" in err, err
    words = json.loads(out)["words"]
    assert [w["word"] for w in words] == [w["word"] for w in json.loads(expected)["words"]]
    assert words[0]["begin"] == 0 and words[-1]["end"] == pytest.approx(9.0, abs=0.1)


def test_raw_pcm_on_the_standard_input(model, recording):
    raw = read_audio(recording).astype("<i2").tobytes()
    _, expected, _ = run("--model", model, recording)
    status, out, err = run("--model", model, "-", data=raw)
    assert (status, out) == (0, expected), err
    _, expected, _ = run("--model", model, "--stream", recording)
    status, out, err = run("--model", model, "--stream", "-", data=raw)
    assert (status, out) == (0, expected), err
    assert out.strip()


def test_a_segment_has_the_words_of_offline_decoding(model, recording):
    """For any division into blocks, a segment has the words that a search over all its frames gives."""
    live = LiveModel(ModelFolder.load(model))
    live.live = dataclasses.replace(live.live, pause_seconds=100.0, max_seconds=101.0, hard_max_seconds=102.0,
                                    short_pause_seconds=100.0, no_speech_seconds=100.0)
    samples = read_audio(recording)
    (segment,) = [s for s in live.segments(np.array_split(samples, 7)) if s.final]
    network = AcousticNetwork.load(model / "network")
    feats = torch.from_numpy(compute_features(samples, live.features))
    decoded = decode_pieces(network, OnlineSearch(live.graph, live.search), feats, len(feats))
    assert segment.words == tuple(live.names[w] for w in decoded.words) and len(segment.words) > 1
    assert (segment.begin, segment.end) == (0.0, pytest.approx(len(feats) / 100))


def test_partial_results_and_segments(model):
    live = LiveModel(ModelFolder.load(model))
    live.live = dataclasses.replace(live.live, pause_seconds=0.05, short_pause_seconds=0.05)
    found = list(live.segments([babble(20.0, seed=3)]))
    final = [s for s in found if s.final]
    assert len(final) > 1 and any(not s.final for s in found)
    assert all(s.words and s.begin < s.end <= 20.0 for s in found)
    assert all(a.end <= b.begin for a, b in zip(final[:-1], final[1:], strict=True))


def test_settled_words_do_not_change(model):
    live = LiveModel(ModelFolder.load(model))
    live.live = dataclasses.replace(live.live, pause_seconds=100.0, max_seconds=101.0, hard_max_seconds=102.0,
                                    short_pause_seconds=100.0)
    found = list(live.segments([babble(20.0, seed=3)]))
    assert all(len(s.confidences) == len(s.words) and 0 < min(s.confidences) <= max(s.confidences) <= 1 for s in found)
    assert len({c for s in found for c in s.confidences}) > 2
    assert any(0 < s.settled < len(s.words) for s in found) and found[-1].settled == len(found[-1].words)
    for before, after in zip(found[:-1], found[1:], strict=True):  # of the same segment
        assert before.final or before.words[:before.settled] == after.words[:before.settled]


def test_a_recording_that_is_too_short_gives_no_words(model, tmp_path):
    write_wav(tmp_path / "short.wav", np.zeros(200))
    status, out, err = run("--model", model, tmp_path / "short.wav")
    assert (status, out) == (0, "\n"), err
    assert list(LiveModel(ModelFolder.load(model)).segments([np.zeros(200, np.float32)])) == []


def test_parts_without_sound_give_no_words(model, tmp_path):
    noise = np.random.default_rng(0).normal(size=48000)
    quiet = {"zeros": np.zeros(48000), "noise": 30 * noise, "mean": np.full(48000, 400)}
    for name, samples in quiet.items():
        write_wav(tmp_path / f"{name}.wav", samples)
    write_wav(tmp_path / "speech.wav", np.concatenate([np.zeros(48000), 0.01 * babble(6.0), np.zeros(48000)]))
    files = [tmp_path / f"{name}.wav" for name in (*quiet, "speech")]
    status, out, err = run("--model", model, *files)
    assert status == 0, err
    assert out.splitlines()[:3] == list(quiet) and len(out.splitlines()[3].split()) > 1
    for samples in quiet.values():
        assert list(LiveModel(ModelFolder.load(model)).segments([samples.astype(np.float32)])) == []


def test_digital_silence_changes_no_word_and_times_stay_correct(model, tmp_path):
    talk = babble(8.0)
    for n, zeros in enumerate((4000, 8000, 80000)):
        write_wav(tmp_path / f"{n}.wav", np.concatenate([talk[:64000], np.zeros(zeros), talk[64000:]]))
    status, out, err = run("--model", model, "--format", "json", *(tmp_path / f"{n}.wav" for n in range(3)))
    assert status == 0, err
    _, short, long = (json.loads(line) for line in out.splitlines())
    assert short["text"] == long["text"] and long["seconds"] == 13.0
    ends = [(a["end"], b["end"]) for a, b in zip(short["words"], long["words"], strict=True)]
    assert ends and ends[-1][0] > 4.5 and all(b == pytest.approx(a + 4.5 * (a > 4.3), abs=0.011) for a, b in ends)


def test_a_bad_recording_does_not_affect_the_others(model, recording, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copyfile(recording, tmp_path / "b/talk.wav")
    (tmp_path / "page.mp3").write_text("<html>")
    files = [recording, tmp_path / "page.mp3", tmp_path / "absent.wav", tmp_path / "b/talk.wav"]
    status, _, err = run("--model", model, "--out", tmp_path / "out", *files)
    assert status == 1 and err.count("warning: ") == 2 and "page.mp3: cannot be read as audio" in err
    assert err.splitlines()[-1].startswith("error: 2 of 4 recordings could not be transcribed")
    assert (tmp_path / "out/talk.txt").read_text() == (tmp_path / "out/b/talk.txt").read_text() != "\n"
    status, out, _ = run("--model", model, "--format", "ctm", recording, tmp_path / "b/talk.wav")
    assert status == 0 and list(dict.fromkeys(line.split()[0] for line in out.splitlines())) == ["talk", "b/talk"]


def test_for_text_neither_times_nor_confidences_are_computed(model, recording, monkeypatch, capsys):
    transcribe.main(["--model", str(model), "--nj", "1", "--format", "json", str(recording)])
    text = json.loads(capsys.readouterr().out)["text"]
    monkeypatch.setattr(recognize, "timed_words", lambda *_: pytest.fail("not needed"))
    transcribe.main(["--model", str(model), "--nj", "1", str(recording)])
    assert capsys.readouterr().out == text + "\n"


def test_each_transcript_is_written_when_it_is_done(model, recording, tmp_path, monkeypatch, capsys):
    shutil.copyfile(recording, tmp_path / "other.wav")
    monkeypatch.setattr(transcribe, "_BATCH_SECONDS", 5.0)
    read, written = transcribe.read_recording, []
    monkeypatch.setattr(transcribe, "read_recording", lambda f: (written.append((tmp_path / "out/talk.txt").is_file()),
                                                                 read(f))[1])
    transcribe.main(["--model", str(model), "--nj", "1", "--out", str(tmp_path / "out"), str(recording),
                     str(tmp_path / "other.wav")])
    assert written == [False, True] and (tmp_path / "out/other.txt").is_file()


def test_wrong_input_gives_one_clear_line(model, recording, tmp_path, capsys):
    assert "no such audio file" in fails(capsys, "--model", model, tmp_path / "absent.wav")
    assert "srt; leave --stream out" in fails(capsys, "--model", model, "--stream", "--format", "srt", recording)
    assert "given more than once" in fails(capsys, "--model", model, "--out", tmp_path, recording, recording)
    assert "steps/export_model.sh" in fails(capsys, "--model", tmp_path, recording)
    shutil.copytree(model, tmp_path / "cut")
    graph = tmp_path / "cut/graph/HCLG.k2.safetensors"
    graph.write_bytes(graph.read_bytes()[:-100])
    assert re.search(r"HCLG.k2.safetensors: \d+ of \d+ bytes; copy the whole folder again",
                     fails(capsys, "--model", tmp_path / "cut", recording))
    graph.unlink()
    assert "no such file" in fails(capsys, "--model", tmp_path / "cut", recording)


def test_a_network_for_whole_recordings_is_not_used_online(model, recording, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "m")
    about = json.loads((tmp_path / "m/model.json").read_text()) | {"live": False}
    (tmp_path / "m/model.json").write_text(json.dumps(about))
    assert "needs whole recordings" in fails(capsys, "--model", tmp_path / "m", "--stream", recording)
    live = LiveModel(ModelFolder.load(model))
    live.network.cfg = dataclasses.replace(live.network.cfg, feature=dataclasses.replace(live.network.cfg.feature,
                                                                                         cmvn="mean"))
    live.network.feature = live.network.cfg.feature
    with pytest.raises(UserError, match="cmvn mean"):
        list(live.segments([np.zeros(1600, np.float32)]))


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_can_replace_the_language_model(model, recording, tmp_path, stream):
    (tmp_path / "g.jsgf").write_text("#JSGF V1.0;\npublic <x> = ARID (READ | RED)+;\n")
    status, out, err = run("--model", model, "--grammar", tmp_path / "g.jsgf", recording, *["--stream"] * stream)
    assert status == 0, err
    assert out.split() and set(out.split()) <= {"ARID", "READ", "RED"}
    for line in out.splitlines():
        assert line.startswith("ARID") and line.count("ARID") == 1
    (tmp_path / "g.jsgf").write_text("BLUE\n")
    status, out, err = run("--model", model, "--grammar", tmp_path / "g.jsgf", recording, *["--stream"] * stream)
    assert status == 1 and out == "" and "g.jsgf:1: the word BLUE is not in the lexicon" in err
