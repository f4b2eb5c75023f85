"""LDA+MLLT and speaker-adaptive triphones end to end, on known features that two speakers have distorted."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers.known_gaussians import DIM, agreement, aligned, make, mono, tri, write_feats

from lstmp.corpus.lang import Lang
from lstmp.features.ark import read_mat, read_scp
from lstmp.gmm.adapt import Adapter, FmllrConfig, read_transforms
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import Shard

RNG = np.random.default_rng(11)
DISTORTION = {s: (np.eye(DIM) + 0.12 * RNG.normal(size=(DIM, DIM)), 1.5 * RNG.normal(size=DIM)) for s in ("s0", "s1")}


@pytest.fixture(scope="module")
def distorted(tmp_path_factory):
    """The known world with an affine transform of each speaker's features."""
    world = make(tmp_path_factory.mktemp("distorted"), utts=60, seed=3)
    feats = {}
    for utt, rx in read_scp(world.data / "feats.scp").items():
        a, b = DISTORTION[utt[:2]]
        feats[utt] = (read_mat(rx) @ a.T + b).astype(np.float32)
    write_feats(world.data, feats)
    return world


@pytest.fixture(scope="module")
def folders(distorted, tmp_path_factory):
    """mono, tri1, tri2b, tri3b and the alignment of each, as run.sh makes them."""
    exp = tmp_path_factory.mktemp("exp")
    mono(distorted, exp / "mono")
    aligned(distorted, exp / "mono", exp / "mono_ali")
    last = "mono"
    for name in ("tri1", "tri2b", "tri3b"):
        tri(distorted, exp / f"{last}_ali", exp / name, "--model", str(exp / last),
            conf=distorted.conf / f"{name}.yaml")
        aligned(distorted, exp / name, exp / f"{name}_ali")
        last = name
    return exp


def test_every_system_finds_the_alignment_and_adaptation_does_not_harm(distorted, folders):
    found = {name: agreement(distorted, folders / f"{name}_ali") for name in ("tri1", "tri2b", "tri3b")}
    assert found["tri2b"] > 0.9 and found["tri3b"] > 0.93, found
    assert found["tri3b"] >= found["tri2b"] - 0.01, found


def test_what_the_folders_hold(folders):
    two, three = AcousticModel.load(folders / "tri2b"), AcousticModel.load(folders / "tri3b")
    assert two.transform.shape == (5, 3 * DIM) and two.gmms.dim == 5 and two.si_gmms is None
    assert torch.equal(three.transform, two.transform)  # taken over, not estimated anew
    assert torch.equal(three.si_gmms.offsets, three.gmms.offsets)
    assert not torch.equal(three.si_gmms.means, three.gmms.means)
    assert json.loads((folders / "tri3b" / "train.json").read_text())["system"] == "tri3b"
    assert not (folders / "tri2b_ali" / "trans.ark").exists()
    shapes = {s: tuple(w.shape) for s, w in read_transforms(folders / "tri3b_ali").items()}
    assert shapes == {"s0": (5, 6), "s1": (5, 6)}


def test_the_transforms_bring_the_speakers_together(distorted, folders):
    """Both transforms undo what the features went through, in one common space: they agree where they are combined."""
    model = AcousticModel.load(folders / "tri3b")
    shard = Shard(distorted.data, Lang.load(distorted.lang), model.feature, linear=model.transform)
    shard.alignment = read_alignment(folders / "tri3b_ali")
    adapter = Adapter(shard, FmllrConfig(100, 0.0, 20))
    adapter.apply(read_transforms(folders / "tri3b_ali"))

    def apart(feats):  # distance of the two speakers' means of the same pdf, against the spread within
        pdfs, by = model.transitions.tid_pdf, {}
        for utt in shard.alignment:
            for p, x in zip(pdfs[torch.from_numpy(shard.alignment[utt]).long()].tolist(), feats[utt], strict=True):
                by.setdefault((p, utt[:2]), []).append(x)
        both = [p for p, s in by if s == "s0" and (p, "s1") in by]
        return np.mean([float((torch.stack(by[p, "s0"]).mean(0) - torch.stack(by[p, "s1"]).mean(0)).norm())
                        for p in both])

    assert apart(shard.feats) < 0.6 * apart(adapter.plain)


def test_transforms_raise_the_likelihood_of_the_alignment(distorted, folders, capsys):
    """Estimated with the model itself on a fixed alignment, each round gains, and the gain is what is said."""
    model = AcousticModel.load(folders / "tri3b")
    shard = Shard(distorted.data, Lang.load(distorted.lang), model.feature, linear=model.transform)
    shard.alignment = read_alignment(folders / "tri3b_ali")
    adapter = Adapter(shard, FmllrConfig(100, 1.0, 20))

    def likelihood():  # of the plain features: the transforms' Jacobians count
        total = 0.0
        for utt, tids in shard.alignment.items():
            pdfs = model.transitions.tid_pdf[torch.from_numpy(tids).long()]
            w = adapter.transforms.get(shard.speaker[utt], torch.eye(5, 6))
            total += float(model.gmms.loglikes(shard.feats[utt])[torch.arange(len(pdfs)), pdfs].double().sum()
                           + len(pdfs) * torch.linalg.slogdet(w[:, :5].double())[1])
        return total

    values = [likelihood()]
    for i in range(4):
        adapter.update(model, f"round {i}")
        values.append(likelihood())
    assert all(b >= a - 0.01 for a, b in itertools.pairwise(values)) and values[-1] > values[0] + 100
    said = [float(g) for g in re.findall(r"gains (-?[0-9.]+) log-likelihood", capsys.readouterr().out)]
    assert len(said) == 4 and all(g >= 0 for g in said)


@pytest.mark.parametrize("name, before, nj", [("tri2b", "tri1", "2"), ("tri3b", "tri2b", "2"), ("tri3b", "tri2b", "4")])
def test_several_processes_give_the_same(distorted, folders, tmp_path, name, before, nj):
    """The tree, the transform, the sizes and what the model says of the data."""
    out = tri(distorted, folders / f"{before}_ali", tmp_path / name, "--model", str(folders / before), "--nj", nj,
              conf=distorted.conf / f"{name}.yaml")
    a, b = AcousticModel.load(folders / name), AcousticModel.load(out)
    assert (out / "tree.json").read_bytes() == (folders / name / "tree.json").read_bytes()
    torch.testing.assert_close(a.transform, b.transform, rtol=1e-3, atol=1e-3)
    assert a.tree.num_pdfs == b.tree.num_pdfs and a.gmms.num_gaussians == b.gmms.num_gaussians
    likes = [np.array([float(line.split()[1]) for line in (folder / "utt2like").read_text().splitlines()])
             for folder in (folders / f"{name}_ali", aligned(distorted, out, tmp_path / "other"))]
    assert np.abs(likes[0] - likes[1]).max() < 0.1 and abs(likes[0].mean() - likes[1].mean()) < 0.01
    again = aligned(distorted, folders / name, tmp_path / "ali", "--nj", nj)
    assert (again / "ali.ark").read_bytes() == (folders / f"{name}_ali" / "ali.ark").read_bytes()


def test_a_speaker_with_one_short_utterance_keeps_its_features(distorted, folders, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(distorted.data, data)
    utt = min(u for u in distorted.truth if u.startswith("s1"))
    text = (data / "utt2spk").read_text().replace(f"{utt} s1\n", f"{utt} s2\n")
    (data / "utt2spk").write_text(text)
    (data / "spk2utt").unlink()
    ali = aligned(distorted, folders / "tri3b", tmp_path / "ali", data=data)
    transforms = read_transforms(ali)
    assert torch.equal(transforms["s2"], torch.eye(5, 6)) and not torch.equal(transforms["s1"], torch.eye(5, 6))
    assert utt in read_alignment(ali)


@pytest.mark.parametrize("options, told", [
    ({"adapt": [2]}, "needs the model that made the alignment"),
    ({"mllt": [2], "lda_dim": 0}, "`mllt` must be empty without LDA"),
    ({"adapt": [2], "lda_dim": 4}, "`adapt` must be empty where `lda_dim` is set"),
    ({"mllt": [99], "lda_dim": 4}, "`mllt` must be passes of the training"),
    ({"lda_dim": 7 * DIM}, "`lda_dim` is 42, but the spliced features have 6 dimensions"),
])
def test_what_cannot_be_trained_is_told(distorted, folders, tmp_path, capsys, options, told):
    with pytest.raises(SystemExit):
        tri(distorted, folders / "mono_ali", tmp_path / "out", conf=distorted.write("tri1", **options))
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and "Traceback" not in err


def test_adaptation_on_other_features_than_the_models_is_told(distorted, folders, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tri(distorted, folders / "tri2b_ali", tmp_path / "out", "--model", str(folders / "tri2b"),
            conf=distorted.write("tri3b", feature__deltas=1))
    assert "tri2b: its features are not those of the configuration" in capsys.readouterr().err
