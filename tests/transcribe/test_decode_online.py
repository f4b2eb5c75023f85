"""The command that decodes online, compared with the command that decodes whole utterances."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.five_words import ROOT, babble, with_front

from lstmp import config
from lstmp.corpus.audio import write_wav
from lstmp.corpus.datadir import write_table
from lstmp.decode import decode, decode_online
from lstmp.decode.lattice import read_lattices
from lstmp.errors import UserError
from lstmp.features.extract import FbankConfig, extract


@pytest.fixture(scope="module")
def work(parts, tmp_path_factory):
    """data/ with filterbank energies, decode.yaml, whole/: its decoding."""
    folder = tmp_path_factory.mktemp("online")
    utts = [f"u{i}" for i in range(6)]
    for i, utt in enumerate(utts):
        write_wav(folder / f"{utt}.wav", babble(0.3 + 4.0 * i, seed=i))
    write_table(folder / "data/wav.scp", {u: str(folder / f"{u}.wav") for u in utts})
    for name in ("utt2spk", "spk2utt"):
        write_table(folder / "data" / name, {u: u for u in utts})
    extract(folder / "data", folder / "data", config.load(ROOT / "conf/fbank.yaml", FbankConfig), 1)
    text = (ROOT / "conf/decode.yaml").read_text()
    (folder / "decode.yaml").write_text(re.sub(r"lm_weights: .*", "lm_weights: [2]", re.sub(
        r"acoustic_scale: \S+", "acoustic_scale: 0.5", text)))
    done = subprocess.run([sys.executable, "-m", "lstmp.decode.decode", *options(parts, folder), "--out",
                           str(folder / "whole")], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def options(parts, work):
    return ["--model", str(parts / "net"), "--graph", str(parts / "graph_x"), "--data", str(work / "data"), "--config",
            str(work / "decode.yaml")]


def run(parts, work, *more):
    decode_online.main([*options(parts, work), "--live-config", str(ROOT / "conf/live.yaml"), *map(str, more)])


@pytest.mark.parametrize("nj", [1, 2])
def test_the_words_are_those_of_whole_utterances(parts, work, tmp_path, nj, capsys):
    run(parts, work, "--out", tmp_path, "--lm-weight", 2, "--same-as", work / "whole", "--nj", nj)
    assert "0 of 6 utterances differ" in capsys.readouterr().out
    report = json.loads((tmp_path / "decode.json").read_text())
    assert report["differ"] == [] and report["failed"] == report["without_end"] == 0
    assert 0 < report["latency"]["mean"] <= report["latency"]["worst"] and report["rtf"] > 0
    said = (tmp_path / "scoring/2_0.0.txt").read_text()
    assert said == (work / "whole/scoring/2_0.0.txt").read_text() and len(said.split()) > 9


def test_a_difference_is_found(parts, work, tmp_path):
    other = tmp_path / "other/scoring"
    other.mkdir(parents=True)
    lines = (work / "whole/scoring/2_0.0.txt").read_text().splitlines()
    (other / "2_0.0.txt").write_text("\n".join([lines[0] + " RED", *lines[1:]]) + "\n")
    run(parts, work, "--out", tmp_path / "out", "--lm-weight", 2, "--same-as", tmp_path / "other")
    assert json.loads((tmp_path / "out/decode.json").read_text())["differ"] == ["u0"]


@pytest.mark.parametrize("more, message", [
    (["--lm-weight", 0], "--lm-weight must be 1 or more"),
    (["--same-as", "nowhere"], "11_0.0.txt: no such file"),
    (["--graph", "nowhere"], "graph.json: no such file"),
    (["--model", "nowhere"], "nowhere/final.safetensors: no such file"),
])
def test_wrong_input_gives_one_clear_line(parts, work, tmp_path, more, message, capsys):
    with pytest.raises(SystemExit):
        run(parts, work, "--out", tmp_path, *more)
    assert message in capsys.readouterr().err


def test_nothing_can_be_decoded(parts, work, tmp_path, monkeypatch, capsys):
    """As many failures as the configuration allows are still no result."""
    def fail(*_):
        raise UserError("no path")
    monkeypatch.setattr(decode_online, "decode_pieces", fail)
    text = (work / "decode.yaml").read_text()
    (tmp_path / "decode.yaml").write_text(re.sub(r"(?m)^max_failed: \S+", "max_failed: 1.0", text))
    with pytest.raises(SystemExit):
        run(parts, work, "--out", tmp_path, "--config", tmp_path / "decode.yaml")
    assert "data: none of its utterances could be decoded; see the warnings above" in capsys.readouterr().err


@pytest.mark.parametrize("ivectors", [False, True])
def test_earlier_utterances_of_a_speaker_count_in_both_ways_of_decoding(parts, work, tmp_path, ivectors, capsys):
    """With online CMVN, words and lattices of later utterances depend on `speaker_history`, and both ways agree."""
    copied, folder = with_front(parts, tmp_path / "parts", ivectors, mean=5.0), tmp_path / "work"
    shutil.copytree(work, folder)
    write_table(folder / "data/utt2spk", {f"u{i}": "one" for i in range(6)})
    write_table(folder / "data/spk2utt", {"one": " ".join(f"u{i}" for i in range(6))})
    said = {}
    for history in ("true", "false"):
        text = re.sub(r"speaker_history: \w+", f"speaker_history: {history}", (work / "decode.yaml").read_text())
        (folder / "decode.yaml").write_text(text)
        decode.main([*options(copied, folder), "--out", str(folder / history), "--nj", "2"])
        run(copied, folder, "--out", tmp_path / history, "--lm-weight", 2, "--same-as", folder / history)
        assert "0 of 6 utterances differ" in capsys.readouterr().out
        lattices = read_lattices(next((folder / history).glob("lat.*.safetensors")))
        said[history] = {utt: lattice.acoustic for utt, lattice in lattices.items()}
    same = {u: np.array_equal(x, said["false"][u]) for u, x in said["true"].items()}
    assert same["u0"] and not same["u5"]  # u0 is the first one of the speaker


def test_revised_words_are_counted(parts, work, tmp_path):
    run(parts, work, "--out", tmp_path, "--lm-weight", 2)
    report = json.loads((tmp_path / "decode.json").read_text())
    assert report["words"] == len((tmp_path / "scoring/2_0.0.txt").read_text().split()) - 6
    assert 0 < report["revised_words"]
