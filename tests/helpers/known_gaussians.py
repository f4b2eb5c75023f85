"""Makes a data dir with features drawn from a known HMM, so that the true alignment is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.features.ark import ArkWriter
from lstmp.gmm import align, train_mono, train_tri
from lstmp.gmm.model import AcousticModel

LEXICON = ("RED 1.0 R E D\nREAD 0.6 R E D\nREAD 0.4 R I D\nA 1.0 A\nDARE 1.0 D A R E\nAID 1.0 A I D\nAIR 1.0 E R\n"
           "DAD 1.0 D A D\nID 1.0 I D\nIRA 1.0 I R A\nDEED 1.0 D E D\n"
           "OR 1.0 R\nDEE 1.0 D\nEH 1.0 E\nI 1.0 I\n")
DIM = 6
ALIGN = {"acoustic_scale": 0.3, "transition_scale": 1.0, "self_loop_scale": 0.3, "boost_silence": 1.0,
         "beam": 0, "retry_beam": 0, "max_failed": 0.1}
EM = {"num_iters": 12, "realign": list(range(1, 12)), "num_gaussians": 30, "grow_until": 9, "power": 0.25,
      "perturb": 0.01, "min_occupancy": 3, "min_variance": 0.01}
FEATURE = {"kind": "mfcc", "cmvn": "none", "deltas": 0}
MONO = {"feature": FEATURE, "em": EM, "first_min_occupancy": 1, "align": ALIGN}
TRI = {"feature": FEATURE, "lda_dim": 0, "lda_context": 0, "mllt": [], "adapt": [], "align": ALIGN,
       "em": {**EM, "num_iters": 6, "realign": [3], "num_gaussians": 40, "grow_until": 4},
       "tree": {"max_leaves": 60, "min_gain": 30.0, "merge": True, "refine_iters": 3, "question_pdf_class": 1}}


TRI2B = {**TRI, "lda_dim": 5, "lda_context": 1, "mllt": [2, 4]}
TRI3B = {**TRI, "lda_dim": 0, "mllt": [], "adapt": [2, 4]}
FMLLR = {"min_count": 100, "silence_weight": 0.0, "iterations": 20}


@dataclass
class ToyCorpus:
    """Folders, and the true phone of every frame of each utterance, as index into ``Lang.sets``; silence is 0."""

    data: Path
    lang: Path
    conf: Path
    truth: dict[str, list[int]]

    def write(self, name: str, **changed) -> Path:
        """Write a copy of a configuration of conf/ with changed keys (such as ``em__num_iters=3``)."""
        values = yaml.safe_load((self.conf / f"{name}.yaml").read_text())
        for key, value in changed.items():
            *groups, last = key.split("__")
            mapping = values
            for group in groups:
                mapping = mapping[group]
            mapping[last] = value
        path = self.conf / f"{name}-changed.yaml"
        path.write_text(yaml.safe_dump(values))
        return path


def make(folder: Path, utts: int = 40, seed: int = 0) -> ToyCorpus:
    """Write lang, data and conf. The features of E depend on R before it; the last utterance is too short."""
    rng = np.random.default_rng(seed)
    (folder / "lexicon.txt").write_text(LEXICON)
    prepare_dict(folder / "lexicon.txt", folder / "dict")
    prepare_lang(folder / "dict", folder / "lang", sil_prob=0.5)
    lang = Lang.load(folder / "lang")
    base = {p: i for i, phones in enumerate(lang.sets) for p in phones}
    r, e = base[lang.phones["R_B"]], base[lang.phones["E_I"]]
    # as in speech, the states of a phone differ less than phones do; without that, a flat start would fail
    means = rng.normal(0, 4, (len(lang.sets), 1, DIM)) + rng.normal(0, 1.5, (len(lang.sets), 3, DIM))
    after_r = rng.normal(0, 1.5, DIM)
    silence = np.full(DIM, -4.0)
    data, truth, feats = [], {}, {}
    words = [w for w in lang.lexicon if lang.word_names[w][0] != "<"]
    single = [w for w in words if len(lang.lexicon[w][0][1]) == 1]  # a flat start needs some simple utterances
    for n in range(utts):
        utt = f"s{n % 2}-{n:03d}"
        spoken = [single[n % len(single)]] if n < utts // 2 else rng.choice(words, rng.integers(2, 4)).tolist()
        frames, phones = [], []

        def pause(frames=frames, phones=phones):
            length = int(rng.integers(8, 15))
            frames.append(silence + rng.normal(0, 1, (length, DIM)))
            phones.extend([0] * length)

        previous = None
        pause()
        for word in spoken:
            pronunciations = lang.lexicon[word]
            for phone in pronunciations[int(rng.integers(len(pronunciations)))][1]:
                for state in range(3):
                    length = int(rng.integers(3, 6))
                    mean = means[base[phone], state] + (after_r if (previous, base[phone]) == (r, e) else 0)
                    frames.append(mean + rng.normal(0, 1, (length, DIM)))
                    phones += [base[phone]] * length
                previous = base[phone]
            if rng.random() < 0.4:
                pause()
                previous = None
        pause()
        data.append(Utterance(utt, f"s{n % 2}", "none.wav", tuple(lang.word_names[w] for w in spoken)))
        feats[utt], truth[utt] = np.concatenate(frames).astype(np.float32), phones
    data.append(Utterance("s1-short", "s1", "none.wav", ("DARE", "DARE")))
    feats["s1-short"] = rng.normal(size=(23, DIM)).astype(np.float32)
    write_data_dir(folder / "data", data)
    write_feats(folder / "data", feats)
    conf = folder / "conf"
    conf.mkdir()
    for name, values in (("mono", MONO), ("tri1", TRI), ("tri2b", TRI2B), ("tri3b", TRI3B), ("align", ALIGN),
                         ("fmllr", FMLLR)):
        (conf / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return ToyCorpus(folder / "data", folder / "lang", conf, truth)


def write_feats(directory: Path, feats: dict[str, np.ndarray]):
    with ArkWriter(directory / "feats.ark", directory / "feats.scp") as writer:
        for utt in sorted(feats):
            writer.write(utt, feats[utt])


def mono(toy, out, *options, data=None, lang=None, conf=None):
    train_mono.main(["--data", str(data or toy.data), "--lang", str(lang or toy.lang), "--out", str(out),
                     "--config", str(conf or toy.conf / "mono.yaml"), *options])
    return out


def aligned(toy, model, out, *options, data=None, lang=None, conf=None):
    align.main(["--data", str(data or toy.data), "--lang", str(lang or toy.lang), "--model", str(model),
                "--out", str(out), "--config", str(conf or toy.conf / "align.yaml"),
                "--fmllr-config", str(toy.conf / "fmllr.yaml"), *options])
    return out


def tri(toy, ali, out, *options, data=None, lang=None, conf=None):
    train_tri.main(["--data", str(data or toy.data), "--lang", str(lang or toy.lang), "--ali", str(ali),
                    "--out", str(out), "--config", str(conf or toy.conf / "tri1.yaml"),
                    "--fmllr-config", str(toy.conf / "fmllr.yaml"), *options])
    return out


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    return make(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="session")
def mono_dir(toy, tmp_path_factory):
    return mono(toy, tmp_path_factory.mktemp("exp") / "mono")


@pytest.fixture(scope="session")
def ali_dir(toy, mono_dir):
    return aligned(toy, mono_dir, mono_dir.parent / "mono_ali")


@pytest.fixture(scope="session")
def tri_dir(toy, ali_dir):
    return tri(toy, ali_dir, ali_dir.parent / "tri1")


def agreement(toy, directory) -> float:
    """Share of frames with the true phone. States are not compared: training may place their boundaries elsewhere."""
    lang, transitions = Lang.load(toy.lang), AcousticModel.load(directory).transitions
    base = {p: i for i, phones in enumerate(lang.sets) for p in phones}
    right = total = 0
    for utt, tids in align.read_alignment(directory).items():
        right += sum(base[p] == q for p, q in zip(transitions.tid_phone.numpy()[tids].tolist(), toy.truth[utt],
                                                  strict=True))
        total += len(tids)
    return right / total


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A toy corpus, and an exp folder with a speaker-adapted model and its alignment."""
    toy, exp = make(tmp_path_factory.mktemp("w"), utts=30, seed=6), tmp_path_factory.mktemp("exp")
    aligned(toy, mono(toy, exp / "mono"), exp / "mono_ali")
    conf = toy.write("tri2b", em__num_iters=3, em__realign=[2], em__grow_until=2, mllt=[2])
    tri(toy, exp / "mono_ali", exp / "tri2b", conf=conf)
    aligned(toy, exp / "tri2b", exp / "tri2b_ali")
    conf = toy.write("tri3b", em__num_iters=3, em__realign=[2], em__grow_until=2, adapt=[2])
    tri(toy, exp / "tri2b_ali", exp / "tri3b", "--model", str(exp / "tri2b"), conf=conf)
    aligned(toy, exp / "tri3b", exp / "tri3b_ali")
    return toy, exp
