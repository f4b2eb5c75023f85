"""Triphones with LDA+MLLT and speaker-adaptive training end to end, on known features distorted for two speakers."""

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
    """The toy corpus with each speaker's features distorted by an affine transform."""
    toy = make(tmp_path_factory.mktemp("distorted"), utts=60, seed=3)
    feats = {}
    for utt, rx in read_scp(toy.data / "feats.scp").items():
        a, b = DISTORTION[utt[:2]]
        feats[utt] = (read_mat(rx) @ a.T + b).astype(np.float32)
    write_feats(toy.data, feats)
    return toy


@pytest.fixture(scope="module")
def folders(distorted, tmp_path_factory):
    """mono, tri1, tri2b and tri3b with their alignments, as run.sh makes them."""
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


def test_every_system_finds_the_alignment_and_adaptation_does_no_harm(distorted, folders):
    agreements = {name: agreement(distorted, folders / f"{name}_ali") for name in ("tri1", "tri2b", "tri3b")}
    assert agreements["tri2b"] > 0.9 and agreements["tri3b"] > 0.93, agreements
    assert agreements["tri3b"] >= agreements["tri2b"] - 0.01, agreements


def test_model_and_alignment_folders_have_the_expected_contents(folders):
    tri2b, tri3b = AcousticModel.load(folders / "tri2b"), AcousticModel.load(folders / "tri3b")
    assert tri2b.transform.shape == (5, 3 * DIM) and tri2b.gmms.dim == 5 and tri2b.si_gmms is None
    assert torch.equal(tri3b.transform, tri2b.transform)  # reused, not estimated again
    assert torch.equal(tri3b.si_gmms.offsets, tri3b.gmms.offsets)
    assert not torch.equal(tri3b.si_gmms.means, tri3b.gmms.means)
    assert json.loads((folders / "tri3b" / "train.json").read_text())["system"] == "tri3b"
    assert not (folders / "tri2b_ali" / "trans.ark").exists()
    shapes = {s: tuple(w.shape) for s, w in read_transforms(folders / "tri3b_ali").items()}
    assert shapes == {"s0": (5, 6), "s1": (5, 6)}


def test_the_transforms_bring_the_speakers_together(distorted, folders):
    """The transforms undo the distortions: in the adapted features the speakers' means of a pdf are closer."""
    model = AcousticModel.load(folders / "tri3b")
    shard = Shard(distorted.data, Lang.load(distorted.lang), model.feature, linear=model.transform)
    shard.alignment = read_alignment(folders / "tri3b_ali")
    adapter = Adapter(shard, FmllrConfig(100, 0.0, 20))
    adapter.apply(read_transforms(folders / "tri3b_ali"))

    def distance(feats_of):  # mean distance of the two speakers' means of the same pdf
        pdfs, frames = model.transitions.tid_pdf, {}
        for utt in shard.alignment:
            for p, x in zip(pdfs[torch.from_numpy(shard.alignment[utt]).long()].tolist(), feats_of(utt), strict=True):
                frames.setdefault((p, utt[:2]), []).append(x)
        both = [p for p, s in frames if s == "s0" and (p, "s1") in frames]
        return np.mean([float((torch.stack(frames[p, "s0"]).mean(0) - torch.stack(frames[p, "s1"]).mean(0)).norm())
                        for p in both])

    assert distance(shard.feats.__getitem__) < 0.6 * distance(shard.feats.unadapted)


def test_transforms_raise_the_likelihood_of_the_alignment(distorted, folders, capsys):
    """On a fixed alignment, each re-estimation raises the likelihood, and reports a gain that is not negative."""
    model = AcousticModel.load(folders / "tri3b")
    shard = Shard(distorted.data, Lang.load(distorted.lang), model.feature, linear=model.transform)
    shard.alignment = read_alignment(folders / "tri3b_ali")
    adapter = Adapter(shard, FmllrConfig(100, 1.0, 20))

    def likelihood():  # of the unadapted features, so the Jacobians of the transforms are included
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
    gains = [float(g) for g in re.findall(r"gains (-?[0-9.]+) log-likelihood", capsys.readouterr().out)]
    assert len(gains) == 4 and all(g >= 0 for g in gains)


def test_statistics_of_some_speakers_at_a_time_give_the_same_transforms(distorted, folders, monkeypatch, capsys):
    model, found, printed = AcousticModel.load(folders / "tri3b"), [], []
    for count in (2, 1):
        monkeypatch.setattr("lstmp.gmm.adapt._SPEAKERS", count)
        shard = Shard(distorted.data, Lang.load(distorted.lang), model.feature, linear=model.transform)
        shard.alignment = read_alignment(folders / "tri3b_ali")
        adapter = Adapter(shard, FmllrConfig(100, 0.5, 20))
        for _ in range(2):
            adapter.update(model, "x")
        found.append(adapter.transforms)
        printed.append([line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()])
    assert sorted(found[0]) == sorted(found[1]) == ["s0", "s1"] and printed[0] == printed[1]
    for speaker, transform in found[0].items():
        torch.testing.assert_close(transform, found[1][speaker], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name, previous, nj",
                         [("tri2b", "tri1", "2"), ("tri3b", "tri2b", "2"), ("tri3b", "tri2b", "4")])
def test_several_processes_give_the_same_model(distorted, folders, tmp_path, name, previous, nj):
    """Tree, transform, sizes and the likelihood of the data are the same."""
    out = tri(distorted, folders / f"{previous}_ali", tmp_path / name, "--model", str(folders / previous), "--nj", nj,
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


@pytest.mark.parametrize("options, message", [
    ({"adapt": [2]}, "needs the model that made the alignment"),
    ({"mllt": [2], "lda_dim": 0}, "`mllt` must be empty without LDA"),
    ({"adapt": [2], "lda_dim": 4}, "`adapt` must be empty where `lda_dim` is set"),
    ({"mllt": [99], "lda_dim": 4}, "`mllt` must be passes of the training"),
    ({"lda_dim": 7 * DIM}, "`lda_dim` is 42, but the spliced features have 6 dimensions"),
])
def test_an_impossible_configuration_is_an_error(distorted, folders, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        tri(distorted, folders / "mono_ali", tmp_path / "out", conf=distorted.write("tri1", **options))
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and "Traceback" not in err


def test_adaptation_on_other_features_than_those_of_the_model_is_an_error(distorted, folders, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tri(distorted, folders / "tri2b_ali", tmp_path / "out", "--model", str(folders / "tri2b"),
            conf=distorted.write("tri3b", feature__deltas=1))
    assert "tri2b: its features are not those of the configuration" in capsys.readouterr().err
