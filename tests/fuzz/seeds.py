"""Makes the valid files that are damaged: one of each format that the project reads, below one folder."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import kaldifst
import numpy as np
import soundfile
import torch
from helpers import kaldi_bytes as kb
from helpers.five_words import babble, export_options, make_parts
from helpers.small_denominators import SmallSystem
from helpers.small_graphs import WIDE, SmallGraph, scores

from lstmp.corpus.audio import write_mp3, write_wav
from lstmp.corpus.fst import read_fst
from lstmp.decode.lattice import write_lattices
from lstmp.decode.search import decode_utterance
from lstmp.features.ark import ArkWriter, write_gzipped_int_vectors, write_int_vectors
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel, FeatureConfig
from lstmp.kaldi.model import write_model
from lstmp.kaldi.tree import write_tree
from lstmp.stage import Stage
from lstmp.transcribe import export

GRAMMAR = """#JSGF V1.0;
grammar test;
public <command> = <verb> [GREEN] (RED | BLUE)+ | /2/ BLUE RED*; // a comment
<verb> = RED | "GREEN RED" {tag} /* another */;
"""


def make(root: Path):
    """Write all files."""
    root.mkdir()
    make_parts(root)  # lexicon, dict, lang, ARPA, HMM, graph, network …
    export.main(export_options(root, root / "model"))
    _gmm(root)
    _data(root / "data")
    _audio(root / "audio")
    _segments(root)
    _kaldis(root)
    _fsts(root)
    _lexicons(root)
    _alignments(root)
    SmallSystem(0).denominator.write(root / "denominator.safetensors")
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
    for name, form, kind in (("b.ogg", "OGG", "OPUS"), ("a.aiff", "AIFF", "PCM_16"), ("a.caf", "CAF", "PCM_16"),
                             ("a.w64", "W64", "PCM_16"), ("a.rf64", "RF64", "PCM_16"), ("a.au", "AU", "ULAW")):
        soundfile.write(folder / name, samples / 32768, 16000, format=form, subtype=kind)
    whole = bytearray((folder / "a.flac").read_bytes())
    whole[22:26], whole[21] = bytes(4), whole[21] & 0xF0  # without its number of samples
    (folder / "open.flac").write_bytes(whole)
    whole = bytearray((folder / "a.wav").read_bytes())
    whole[40:44] = b"\xff" * 4
    (folder / "open.wav").write_bytes(whole)
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


def _segments(root: Path):
    """Write a data dir with segments of recordings: of a file, of an archive and of a channel."""
    data, audio = root / "segmented", root / "audio"
    data.mkdir()
    begin = len(b"rec2 ")
    (data / "wav.ark").write_bytes(b"rec2 " + (audio / "a.wav").read_bytes())
    (data / "wav.scp").write_text(f"rec1 {audio}/a.wav\nrec2 {data}/wav.ark:{begin}\nrec3 {audio}/float.wav\n")
    (data / "segments").write_text("u1 rec1 0.00 0.20\nu2 rec1 0.10 -1\nu3 rec2 0.05 0.30\nu4 rec3 0 0.4\n"
                                   "u5 rec3 0.1 0.4 1\n")
    (data / "reco2file_and_channel").write_text("rec3 float B\n")
    (data / "text").write_text("".join(f"u{n} RED\n" for n in range(1, 6)))
    (data / "utt2spk").write_text("".join(f"u{n} s\n" for n in range(1, 6)))
    rng = np.random.default_rng(2)
    with open(root / "data" / "compressed.ark", "wb") as f, open(root / "data" / "compressed.scp", "w") as scp:
        for kind, form, first in (("CM", "u1", 4 * 5), ("CM2", "<u2", 0), ("CM3", "u1", 0)):
            f.write(kind.encode() + b" ")
            scp.write(f"{kind} {root}/data/compressed.ark:{f.tell()}[0:4,1:3]\n")
            f.write(b"\0B" + kind.encode() + b" " + struct.pack("<ffii", -1, 2, 7, 5))
            f.write(np.sort(rng.integers(0, 65536, first)).astype("<u2").tobytes())
            f.write(rng.integers(0, 256, 7 * 5).astype(form).tobytes())


def _kaldis(root: Path):
    """Write files in Kaldi's formats: a GMM with its transform, a lang folder, a graph."""
    hmm, kaldi = AcousticModel.load(root / "hmm"), root / "kaldi_gmm"
    size, graph = hmm.tree.num_pdfs, kaldi / "graph"
    (graph / "phones").mkdir(parents=True)
    rng = torch.Generator().manual_seed(2)
    write_model(kaldi / "final.mdl", hmm.transitions, DiagGmms(
        torch.arange(size + 1), torch.ones(size), torch.randn(size, 4, generator=rng), torch.ones(size, 4)))
    write_tree(kaldi / "tree", hmm.tree)
    for name, text in (("cmvn_opts", "--norm-vars=true"), ("splice_opts", "--left-context=1 --right-context=1")):
        (kaldi / name).write_text(text + "\n")
    (kaldi / "final.mat").write_bytes(b"\0B" + kb.matrix(torch.randn(4, 6, generator=rng).tolist()))
    shutil.copy(root / "lang" / "phones.txt", kaldi / "phones.txt")
    kb.lang_folder(root / "lang_x", kaldi / "lang")
    kaldifst.StdConstFst(read_fst(root / "graph_x" / "HCLG.fst")).write(str(graph / "HCLG.fst"))
    shutil.copy(root / "graph_x" / "words.txt", graph / "words.txt")
    (graph / "phones" / "silence.csl").write_text("1:2\n")


def _fsts(root: Path):
    """Write files of other OpenFst types: const, aligned, with symbol tables."""
    folder = root / "fsts"
    folder.mkdir()
    fst = read_fst(root / "lang_x" / "G.fst")
    kaldifst.StdConstFst(fst).write(str(folder / "const.fst"))
    fst.write(str(folder / "symbols.fst"))
    whole = (folder / "const.fst").read_bytes()
    at = whole.index(b"standard") + 8
    header = at + struct.calcsize("<iiQqqq")
    states = 20 * struct.unpack_from("<q", whole, at + 24)[0]
    out = bytearray(whole[:header])
    struct.pack_into("<ii", out, at, 1, 0)
    out += bytes(-len(out) % 16) + whole[header:header + states]
    (folder / "aligned.fst").write_bytes(out + bytes(-len(out) % 16) + whole[header + states:])
    table = struct.pack("<ii5sqqi5sqi3sq", 2125658996, 5, b"words", 2, 2, 5, b"<eps>", 0, 3, b"RED", 1)
    whole = bytearray((folder / "symbols.fst").read_bytes())
    at = whole.index(b"standard") + 8
    struct.pack_into("<i", whole, at + 4, 3)
    header = at + struct.calcsize("<iiQqqq")
    (folder / "symbols.fst").write_bytes(whole[:header] + 2 * table + whole[header:])


def _lexicons(root: Path):
    folder = root / "lexicons"
    folder.mkdir()
    (folder / "cmudict").write_text(";;; a comment\nA AH0\nA(1) EY1\nBAT B AE1 T # another\n#HASH HH AE1 SH\n")
    (folder / "kaldi").write_text("A 0.6 AH\nA 0.4 EY\nBAT 1.0 B AE T\n")
    (folder / "mfa").write_text("A 0.6 0.1 1.2 0.9 AH\nA 0.4 0.2 1.0 1.0 EY\nBAT 0.99 0.3 1.1 0.8 B AE T\n")
    (folder / "grammar").write_text(
        "#JSGF V1.0 UTF-8 en;\ngrammar com.acme.test;\n"
        "public <a> = <com.acme.test.b>* (GREEN {x {y} \\} z} | <NULL>) RED;\n"
        "<b> = /0.5/ GREEN {t} | /2f/ \"BLUE RED\" | <VOID> | /0/ RED;\n")
