"""A small model, graph and data dir for tests of decoding, and command-line options for them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import ROOT
from helpers.small_graphs import SmallGraph
from lstmp import config
from lstmp.corpus.topology import Topology
from lstmp.decode.config import DecodeConfig
from lstmp.features.ark import ArkWriter
from lstmp.features.load import FeatureConfig, affine_transform
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import monophone_tree
from lstmp.graph.graph_file import write_graph_file
from lstmp.stage import digest


def decode_config(**changes):
    values = {"acoustic_scale": 1.0, "search_beam": 1e4, "output_beam": 12.0, "max_word_arcs": 100_000,
              "min_active": 0, "max_active": 100_000,
              "retries": 0, "utts_per_job": 2, "max_failed": 0.5, "lm_weights": [1, 3], "word_penalties": [0.0, 0.5],
              "fmllr": {"min_count": 500, "silence_weight": 0.01, "iterations": 9, "passes": 2, "first_beam": 9.0,
                        "first_max_active": 9, "second_beam": 9.0, "second_max_active": 9}}
    return config.build(values | changes, DecodeConfig)


PDFS, DIM, UTTS = 6, 3, 7


CONFIG = """acoustic_scale: 0.5
search_beam: 100.0
output_beam: 8.0
max_word_arcs: 1000
min_active: 0
max_active: 1000
retries: 1
utts_per_job: 2
max_failed: 0.3
lm_weights: [1, 2, 5]
word_penalties: [0.0, 1.0]
fmllr:
  min_count: 500
  silence_weight: 0.01
  iterations: 20
  passes: 3
  first_beam: 100.0
  first_max_active: 1000
  second_beam: 100.0
  second_max_active: 1000
"""


GRAPH = SmallGraph.random(5, num_pdfs=PDFS)  # has paths for utterances of any length


@pytest.fixture
def work(tmp_path):
    """A folder with model/, graph/, data/ and decode.yaml."""
    topology = Topology.bakis(nonsilence=[1, 2], silence=[])
    tree = monophone_tree([[1], [2]], topology)
    generator = torch.Generator().manual_seed(1)
    gmms = DiagGmms(torch.arange(PDFS + 1), torch.ones(PDFS), 2 * torch.randn(PDFS, DIM, generator=generator),
                    torch.ones(PDFS, DIM))
    AcousticModel(TransitionModel.from_tree(topology, tree, [1, 2]), tree, gmms,
                  FeatureConfig("mfcc", "none", 0)).save(tmp_path / "model")
    graph = tmp_path / "graph"
    graph.mkdir()
    (graph / "words.txt").write_text("<eps> 0\n" + "".join(f"w{i} {i}\n" for i in range(1, 7)))
    (graph / "graph.json").write_text(json.dumps({"num_pdfs": PDFS, "tree": digest(tmp_path / "model" / "tree.json")}))
    write_graph_file(GRAPH.engine(PDFS).bundled, graph, PDFS)
    write_data(tmp_path / "data", {f"u{i}": 3 * i + 2 for i in range(UTTS)})
    (tmp_path / "decode.yaml").write_text(CONFIG)
    return tmp_path


def write_data(folder, lengths):
    rng = np.random.default_rng(0)
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as ark:
        for utt, length in lengths.items():
            ark.write(utt, 2 * rng.standard_normal((length, DIM)).astype(np.float32))
    (folder / "utt2spk").write_text("".join(f"{utt} {utt}\n" for utt in lengths))


def arguments(work, out="out", nj=1):
    return ["--model", str(work / "model"), "--graph", str(work / "graph"), "--data", str(work / "data"), "--out",
            str(work / out), "--config", str(work / "decode.yaml"), "--nj", str(nj)]


def walk(rng, min_frames):
    """The pdfs on a random path through the graph, of ``min_frames`` frames or a few more."""
    state, pdfs = 0, []
    while len(pdfs) < min_frames or state not in GRAPH.final:
        arcs = [arc for arc in GRAPH.arcs if arc[0] == state]
        _, state, pdf, _, _ = arcs[rng.integers(len(arcs))]
        pdfs.append(pdf)
    return np.array(pdfs)


@pytest.fixture
def adapted_work(work):
    """``work`` with a speaker-adapted model and two speakers who say the same: the features of a match the model, those
    of b have an affine distortion."""
    model = AcousticModel.load(work / "model")
    model.gmms.variances.fill_(0.3 ** 2)
    model.si_gmms = DiagGmms(*(x.clone() for x in (model.gmms.offsets, model.gmms.weights, model.gmms.means,
                                                   model.gmms.variances)))
    model.save(work / "model")
    info = json.loads((work / "graph" / "graph.json").read_text())
    (work / "graph" / "graph.json").write_text(json.dumps(info | {"silence": []}))
    rng = np.random.default_rng(4)
    distort = torch.cat([torch.eye(3) * 0.8, torch.tensor([[0.5], [-0.5], [0.4]])], 1)
    feats = {}
    for n in range(6):
        states = walk(rng, min_frames=25)
        x = (model.gmms.means[torch.from_numpy(states)] + 0.3 * torch.tensor(rng.normal(size=(len(states), 3)))).float()
        feats |= {f"a-{n}": x, f"b-{n}": affine_transform(x, distort)}
    with ArkWriter(work / "data" / "feats.ark", work / "data" / "feats.scp") as ark:
        for utt in sorted(feats):
            ark.write(utt, feats[utt].numpy())
    (work / "data" / "utt2spk").write_text("".join(f"{s}-{n} {s}\n" for s in "ab" for n in range(6)))
    (work / "decode.yaml").write_text(CONFIG.replace("min_count: 500", "min_count: 50"))
    return work


def run(folder, nj=1, out="out"):
    return subprocess.run([sys.executable, "-m", "lstmp.decode.decode", *arguments(folder, out, nj)], cwd=ROOT,
                          capture_output=True, text=True, timeout=300)
