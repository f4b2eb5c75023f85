"""Decoding with a network with subsampling, from features to a CTM, where the words and their times are known.

A feed-forward network reads the state of a frame from features that name it. It looks at the middle frame of a group.
"""

import gzip
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT
from helpers.five_words import make_parts

from lstmp import config
from lstmp.alignment.word_times import word_segments
from lstmp.corpus.datadir import write_table
from lstmp.corpus.lang import Lang
from lstmp.decode.lattice import read_lattices
from lstmp.features.ark import ArkWriter
from lstmp.gmm.align import segments
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import StateNetwork

ROWS = {"a-30": 30, "b-71": 71, "c-90": 90}  # output frames of each utterance
WORDS = ["A", "RED", "A"]


def write_network(folder, num_pdfs: int, **changes):
    """A network whose scores are high for the state that the middle frame of a group names."""
    cfg = config.load(ROOT / "conf/lstmp.yaml", LstmpConfig)
    cfg = replace(cfg, feature=replace(cfg.feature, cmvn="none"), kind="dnn", layers=1, cells=num_pdfs,
                  recurrent_projection=0, activation="relu", label_delay=0, subsampling=3, **changes)
    network = StateNetwork(cfg, num_pdfs, num_pdfs)
    network.initialize(1)
    with torch.no_grad():
        network.layers[0].w_x.copy_(torch.eye(num_pdfs).repeat(1, 3))
        network.layers[0].w_x[:, :num_pdfs] = network.layers[0].w_x[:, 2 * num_pdfs:] = 0
        network.w_out.copy_(20 * torch.eye(num_pdfs))
    checkpoint.write(folder / "final.safetensors",
                     {**network.state_dict(), "log_priors": torch.zeros(num_pdfs)}, {"epochs": [1]})
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict(cfg)))


def some_path(model: AcousticModel, lang: Lang, rows: int, seed: int) -> np.ndarray:
    """A random path through the words, transition-ids int32 [rows]."""
    graph = GraphCompiler(lang, model.tree, model.transitions).compile(lang.word_ids(WORDS)[0])
    scores = 5 * torch.randn(rows, model.tree.num_pdfs, generator=torch.Generator().manual_seed(seed))
    log_prob = model.transitions.graph_log_probs(1.0, 1.0).numpy()
    return BeamAligner(None, torch.zeros(model.tree.num_pdfs), 1.0, log_prob)(graph, scores, float("inf"))[0]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """The parts of a recognizer, a data dir, and for each utterance the (begin, end) of its words in output frames."""
    if not BeamAligner.available("cpu"):
        pytest.skip("no compiler")
    parts = make_parts(tmp_path_factory.mktemp("parts"))
    model, lang, times = AcousticModel.load(parts / "hmm"), Lang.load(parts / "lang_x"), {}
    (parts / "data").mkdir()
    with ArkWriter(parts / "data/feats.ark", parts / "data/feats.scp") as writer:
        for seed, (utt, rows) in enumerate(ROWS.items()):
            tids = some_path(model, lang, rows, seed)
            pdfs = model.transitions.tid_pdf.numpy()[tids]
            writer.write(utt, np.eye(model.tree.num_pdfs, dtype=np.float32)[np.repeat(pdfs, 3)[:3 * rows - 1]])
            times[utt] = [(begin, begin + length) for _, begin, length in
                          word_segments(segments(tids, model.transitions), WORDS, lang)]
    write_table(parts / "data/wav.scp", {utt: "none.wav" for utt in ROWS})
    for name in ("utt2spk", "spk2utt"):
        write_table(parts / "data" / name, {utt: utt for utt in ROWS})
    return parts, model, times


def run(module, *options):
    done = subprocess.run([sys.executable, "-m", f"lstmp.decode.{module}", *map(str, options)], cwd=ROOT,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("repeat_scores", [False, True])
def test_words_have_their_times(spoken, tmp_path, repeat_scores):
    parts, model, times = spoken
    write_network(parts / "net", model.tree.num_pdfs, repeat_scores=repeat_scores)
    decoded, weights = tmp_path / "decoded", ["--lm-weight", 10, "--word-penalty", 0]
    run("decode", "--model", parts / "net", "--graph", parts / "graph_x", "--data", parts / "data", "--out", decoded)
    info = json.loads((decoded / "decode.json").read_text())
    assert info["subsampling"] == (1 if repeat_scores else 3)
    assert info["audio_seconds"] == pytest.approx(0.03 * sum(ROWS.values()) - 0.03)
    warned = run("ctm", decoded, "--graph", parts / "graph_x", "--lang", parts / "lang_x", *weights)
    assert "guessed" not in warned
    found = {}
    for line in (decoded / "ctm/words.ctm").read_text().splitlines():
        utt, _, begin, seconds, word, _ = line.split()
        found.setdefault(utt, []).append((float(begin), float(begin) + float(seconds), word.replace("READ", "RED")))
    assert {utt: [w for *_, w in words] for utt, words in found.items()} == dict.fromkeys(ROWS, WORDS)
    for utt, words in found.items():
        last = 0.01 * (3 * ROWS[utt] - 1)
        for (begin, end, _), (first, after) in zip(words, times[utt], strict=True):
            assert begin == pytest.approx(0.03 * first, abs=0.006)
            assert end == pytest.approx(min(0.03 * after, last), abs=0.006)


def test_kaldi_lattices_have_output_frames(spoken, tmp_path):
    parts, model, _ = spoken
    write_network(parts / "net", model.tree.num_pdfs)
    decoded = tmp_path / "decoded"
    run("decode", "--model", parts / "net", "--graph", parts / "graph_x", "--data", parts / "data", "--out", decoded)
    run("kaldi_lattice", decoded, "--graph", parts / "graph_x", "--lm-weight", 10, "--word-penalty", 0, "--beam", 0)
    assert (decoded / "kaldi/frame_shift").read_text() == "0.03\n"
    text = gzip.open(decoded / "kaldi/lat.1.gz", "rt").read().strip().split("\n\n")
    frames = {block.split("\n")[0]: sum(len(line.split(",")[2].split("_")) for line in block.split("\n")[1:]
                                        if line.split(",")[2:] and line.split(",")[2]) for block in text}
    assert frames == ROWS
    lattices = {u: x for path in decoded.glob("lat.*") for u, x in read_lattices(path).items()}
    assert lattices.keys() == ROWS.keys()
