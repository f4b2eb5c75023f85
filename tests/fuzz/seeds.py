"""Makes the sound files that are damaged: one of each kind that the project reads, below one folder."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

for _folder in ("transcribe", "graph", "gmm", "decode"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))

import kaldi_bytes as kb  # noqa: E402
from five_words import babble, export_options, make_parts  # noqa: E402
from small_graphs import WIDE, SmallGraph, scores  # noqa: E402

from lstmp.corpus.audio import write_mp3, write_wav  # noqa: E402
from lstmp.decode.lattice import write_lattices  # noqa: E402
from lstmp.decode.search import decode_utterance  # noqa: E402
from lstmp.features.ark import ArkWriter, write_gzipped_int_vectors, write_int_vectors  # noqa: E402
from lstmp.gmm.diag import DiagGmms  # noqa: E402
from lstmp.gmm.model import AcousticModel, FeatureConfig  # noqa: E402
from lstmp.stage import Stage  # noqa: E402
from lstmp.transcribe import export  # noqa: E402

GRAMMAR = """#JSGF V1.0;
grammar test;
public <command> = <verb> [GREEN] (RED | BLUE)+ | /2/ BLUE RED*; // a comment
<verb> = RED | "GREEN RED" {tag} /* another */;
"""


def make(root: Path):
    """Write all of them."""
    root.mkdir()
    make_parts(root)  # lexicon, dict, lang, ARPA, HMM, graph, network …
    export.main(export_options(root, root / "model"))
    _gmm(root)
    _data(root / "data")
    _audio(root / "audio")
    _alignments(root)
    (root / "grammar").write_text(GRAMMAR)
    (root / "phrases").write_text("RED GREEN\nBLUE\n\nGREEN RED BLUE\n")
    (root / "text.gz").write_bytes(gzip.compress(b"RED GREEN\nBLUE\n" * 20))
    info = {"key": "x", "seconds": 1.5, "core_seconds": 1.0, "frames": 27, "failed": {"u9": "why"}, "arcs": 9,
            "utterances": 3}
    write_lattices(root / "lat", {f"u{n}": decode_utterance(SmallGraph.random(n).engine(4), scores(n, 9), WIDE)
                                  for n in range(3)}, info)
    stage = Stage(root / "marked", "work", [root / "phrases"], {"number": 3, "list": [1, "a"]})
    (root / "marked").mkdir()
    (root / "marked" / "out").write_text("x")
    stage.mark([root / "marked" / "out"])
    (root / "hyps.txt").write_text("u1 RED GREEN\nu2\nu3 BLUE\n")


def _gmm(root: Path):
    hmm = AcousticModel.load(root / "hmm")
    size = hmm.tree.num_pdfs
    rng = torch.Generator().manual_seed(1)
    gmms = DiagGmms(torch.arange(0, 2 * size + 1, 2), torch.full((2 * size,), 0.5),
                    torch.randn(2 * size, 5, generator=rng), torch.rand(2 * size, 5, generator=rng) + 0.1)
    other = DiagGmms(gmms.offsets, *(x.clone() for x in (gmms.weights, gmms.means, gmms.variances)))
    feature = FeatureConfig("mfcc", "mean", 0)
    AcousticModel(hmm.transitions, hmm.tree, gmms, feature, torch.eye(5), other).save(root / "gmm")


def _data(data: Path):
    data.mkdir()
    utts = {f"s{n % 2}-u{n}": f"s{n % 2}" for n in (0, 2, 1, 3)}
    (data / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in sorted(utts.items())))
    (data / "text").write_text("".join(f"{u} RED BLUE\n" for u in sorted(utts)))
    (data / "wav.scp").write_text("".join(f"{u} /nowhere/{u}.wav\n" for u in sorted(utts)))
    (data / "utt2dur").write_text("".join(f"{u} 1.250\n" for u in sorted(utts)))
    (data / "spk2utt").write_text("s0 s0-u0 s0-u2\ns1 s1-u1 s1-u3\n")
    (data / "utt2num_frames").write_text("".join(f"{u} 7\n" for u in sorted(utts)))
    (data / "feats.json").write_text(json.dumps({"kind": "mfcc"}))
    rng = np.random.default_rng(1)
    with ArkWriter(data / "feats.ark", data / "feats.scp") as writer:
        for utt in sorted(utts):
            writer.write(utt, rng.normal(size=(7, 5)).astype(np.float32))
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as writer:
        for speaker in ("s0", "s1"):
            writer.write(speaker, np.stack([np.append(rng.normal(size=5), 14.0), np.append(rng.random(5) + 20, 0)]))
    (data / "text.ark").write_text("s0-u0  [\n  1.0 2.0 3.5\n  -1 0 1e-3 ]\ns1-u1  [ 1 2 3 ]\n")


def _audio(folder: Path):
    folder.mkdir()
    samples = babble(0.4)
    write_wav(folder / "a.wav", samples)
    write_mp3(folder / "a.mp3", samples, 32)
    soundfile.write(folder / "a.flac", samples / 32768, 16000)
    soundfile.write(folder / "a.ogg", samples / 32768, 16000)
    soundfile.write(folder / "float.wav", np.stack([samples, samples], 1) / 32768, 48000, subtype="FLOAT")


def _alignments(root: Path):
    ali = root / "ali"
    ali.mkdir()
    vectors = {"s0-u0": np.array([1, 2, 2, 3], np.int32), "s1-u1": np.array([5, 6], np.int32)}
    write_int_vectors(ali / "ali.ark", vectors.items())
    write_gzipped_int_vectors(ali / "ali.gz", vectors.items())
    (ali / "text.ark").write_text("s0-u0 1 2 2 3\ns1-u1 5 6 \n")
    (ali / "phones.ctm").write_text("s0-u0 1 0.000 0.100 SIL\ns0-u0 1 0.100 0.050 R_B\ns1-u1 1 0.000 0.300 EH_I\n")
    with gzip.open(ali / "ctm.gz", "wt") as f:
        f.write((ali / "phones.ctm").read_text())
    for name, tree, model in (("kaldi", kb.MONO_TREE, kb.MONO_MODEL),
                              ("kaldi_text", kb.MONO_TREE_TEXT.encode(), kb.MONO_MODEL_TEXT.encode())):
        (root / name).mkdir()
        (root / name / "tree").write_bytes(tree)
        (root / name / "final.mdl").write_bytes(model)
        (root / name / "ali.1.gz").write_bytes(kb.gzipped_ark({"u1": [1, 2, 3], "u2": [9, 10]}))
        (root / name / "num_jobs").write_text("1\n")
        (root / name / "phones.txt").write_text("<eps> 0\nA 1\nB 2\nC 3\n")
