"""Ways to damage the small experiment of ``small_experiment.py``; each is, or returns, a function of its folder."""

import shutil

import numpy as np
import soundfile

from helpers import small_experiment as w
from lstmp.corpus import prepare_dict, prepare_lang
from lstmp.features.ark import ArkWriter, read_mat, read_scp


def remove(name):
    return lambda root: (root / name).unlink()


def cut(name, part=0.5):
    def spoil(root):
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[:int(len(data) * part)])
    return spoil


def write(name, content):
    def spoil(root):
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return spoil


def edit(name, old, new):
    def spoil(root):
        text = (root / name).read_text()
        assert old in text, f"{old!r} is not in {name}"
        (root / name).write_text(text.replace(old, new, 1))
    return spoil


def audio(name, rate=16000, channels=1, value=None):
    def spoil(root):
        samples = np.random.default_rng(0).normal(0, 0.1, (16000, channels)).astype(np.float32)
        if value is not None:
            samples[8000:] = value
            samples[:8000] = 0 if value == 0 else samples[:8000]
        soundfile.write(str(root / name), samples, rate, subtype="FLOAT")
    return spoil


def features(utt, change):
    """Rewrite the features of data/train, with those of ``utt`` changed; names and other sizes stay the same."""
    def spoil(root):
        folder = root / "data" / "train"
        mats = {u: read_mat(rx).copy() for u, rx in read_scp(folder / "feats.scp").items()}
        mats[utt] = change(mats[utt])
        with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
            for u, mat in mats.items():
                writer.write(u, mat)
        (folder / "utt2num_frames").write_text("".join(f"{u} {len(mat)}\n" for u, mat in mats.items()))
    return spoil


def nan(mat):
    mat[3, 2] = np.nan
    return mat


def second_lang(root):
    """A lang folder with a phone that the models were not trained with."""
    (root / "src" / "lexicon.txt").write_text(w.LEXICON + "ZOO Z UW1\n")
    shutil.rmtree(root / "data" / "dict")
    shutil.rmtree(root / "data" / "lang")
    prepare_dict.main(["--lexicon", f"{root}/src/lexicon.txt", "--out", f"{root}/data/dict"])
    prepare_lang.main(["--dict", f"{root}/data/dict", "--out", f"{root}/data/lang"])
    edit("data/train/text", "ann-2 TAB", "ann-2 ZOO")(root)


def both(*spoils):
    def spoil(root):
        for s in spoils:
            s(root)
    return spoil
