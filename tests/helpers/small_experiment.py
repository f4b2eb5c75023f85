"""A very small experiment, made by the real commands from six utterances of noise; tests damage its files."""

import shutil
from pathlib import Path

import numpy as np
import soundfile
import yaml

from helpers import ROOT
from lstmp.corpus import prepare_dict, prepare_lang, prepare_lm, take_data_dirs
from lstmp.decode import decode
from lstmp.features import extract
from lstmp.gmm import align, train_mono
from lstmp.graph import make_graph
from lstmp.nnet import train as train_lstmp

LEXICON = "A AA1\nBAT B AE1 T\nTAB T AE1 B\nAT AE0 T\n"
TEXT = {"ann-1": "A BAT", "ann-2": "TAB AT A", "ann-3": "AT BAT", "bob-1": "A TAB", "bob-2": "BAT", "bob-3": "AT A TAB"}
SMALL = {
    "mono": {"em": {"num_iters": 2, "realign": [1], "num_gaussians": 40, "grow_until": 2}},
    "lstmp": {"layers": 1, "cells": 8, "recurrent_projection": 4, "streams": 2, "epochs": 1},
    "decode": {"max_active": 200, "min_active": 20, "lm_weights": [8, 9], "word_penalties": [0.0]},
    "score": {"replicates": 100},
}


def build(root: Path):
    """Run every step below ``root``: writes src/ (the input), data/, exp/ and conf/."""
    write_configs(root / "conf")
    write_source(root / "src")
    data, exp, conf = root / "data", root / "exp", root / "conf"
    take_data_dirs.main(["--corpus", f"{root}/src", "--out", str(data), "--splits", "train", "--nj", "1"])
    prepare_dict.main(["--lexicon", f"{root}/src/lexicon.txt", "--out", f"{data}/dict"])
    prepare_lang.main(["--dict", f"{data}/dict", "--out", f"{data}/lang"])
    prepare_lm.main(["--lang", f"{data}/lang", "--out", f"{data}/lang_lm", "--arpa", f"{root}/src/lm.arpa"])
    for kind, out in (("mfcc", "train"), ("fbank", "train_fbank")):
        extract.main(["--kind", kind, "--config", f"{conf}/{kind}.yaml", "--nj", "1", "--out", f"{data}/{out}",
                      f"{data}/train"])
    lang = ["--lang", f"{data}/lang"]
    train_mono.main(["--data", f"{data}/train", *lang, "--out", f"{exp}/mono", "--config", f"{conf}/mono.yaml"])
    align.main(["--data", f"{data}/train", *lang, "--model", f"{exp}/mono", "--out", f"{exp}/mono_ali",
                "--config", f"{conf}/align.yaml"])
    (root / "heldout").write_text("ann-3\n")
    train_lstmp.main(["--train", f"{data}/train_fbank", "--valid", f"{root}/heldout", "--ali", f"{exp}/mono_ali",
                      "--out", f"{exp}/lstmp", "--config", f"{conf}/lstmp.yaml"])
    make_graph.main(["--lang", f"{data}/lang_lm", "--model", f"{exp}/mono", "--out", f"{exp}/mono/graph_lm"])
    decode.main(["--model", f"{exp}/mono", "--graph", f"{exp}/mono/graph_lm", "--data", f"{data}/train",
                 "--out", f"{exp}/mono/decode_lm_train", "--config", f"{conf}/decode.yaml"])


def write_configs(folder: Path):
    """Write conf/ with small models."""
    shutil.copytree(ROOT / "conf", folder)
    for name, changes in SMALL.items():
        values = yaml.safe_load((folder / f"{name}.yaml").read_text())
        for key, value in changes.items():
            values[key] = values[key] | value if isinstance(value, dict) else value
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def write_source(src: Path):
    """Write what a user provides: audio, three tables, a lexicon, a language model."""
    folder = src / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for n, utt in enumerate(TEXT):
        seconds = 1.0 + 0.1 * n
        envelope = np.abs(np.sin(np.linspace(0, 9, int(16000 * seconds))))
        soundfile.write(str(src / f"{utt}.wav"), 0.1 * envelope * rng.standard_normal(len(envelope)), 16000)
    (folder / "wav.scp").write_text("".join(f"{u} {src}/{u}.wav\n" for u in TEXT))
    (folder / "text").write_text("".join(f"{u} {t}\n" for u, t in TEXT.items()))
    (folder / "utt2spk").write_text("".join(f"{u} {u[:3]}\n" for u in TEXT))
    (src / "lexicon.txt").write_text(LEXICON)
    grams = "".join(f"-1.0\t{w}\t-0.3\n" for w in ("<s>", "A", "AT", "BAT", "TAB")) + "-1.0\t</s>\n"
    (src / "lm.arpa").write_text(f"\\data\\\nngram 1=6\nngram 2=2\n\n\\1-grams:\n{grams}\n\\2-grams:\n-0.5\t<s> A\n"
                                 "-0.5\tA BAT\n\n\\end\\\n")


def snapshot(root: Path) -> dict[str, bytes]:
    """The contents of all files below data/ and exp/ except hidden ones."""
    return {str(p.relative_to(root)): p.read_bytes() for top in ("data", "exp") for p in (root / top).rglob("*")
            if p.is_file() and not p.name.startswith(".")}
