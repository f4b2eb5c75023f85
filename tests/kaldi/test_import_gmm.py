"""Import of Kaldi GMMs: from hand-written bytes, and of our own models after export to Kaldi's files."""

import shutil

import numpy as np
import pytest
import torch
from helpers import kaldi_bytes as kb
from helpers.known_gaussians import aligned, make, mono, tri

from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.gmm import align
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.kaldi.import_gmm import import_model
from lstmp.kaldi.model import read_gmm, write_model
from lstmp.kaldi.tree import write_tree


@pytest.fixture
def kaldi(tmp_path):
    folder = tmp_path / "kaldi"
    folder.mkdir()
    (folder / "tree").write_bytes(kb.MONO_TREE)
    (folder / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(2, kb.FIVE_PDFS))
    (folder / "phones.txt").write_text("<eps> 0\nSIL 1\nAA 2\nB 3\n#0 4\n")
    (folder / "delta_opts").write_text("--delta-order=0\n")
    return folder


@pytest.mark.parametrize("number_type", ["f", "d"])
def test_hand_written_mixtures_are_read(kaldi, number_type):
    (kaldi / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(2, kb.FIVE_PDFS, number_type))
    transitions, gmms = read_gmm(kaldi / "final.mdl")
    assert transitions.num_pdfs == gmms.num_pdfs == 5 and gmms.offsets.tolist() == [0, 2, 3, 5, 6, 8]
    for pdf, (weights, means, variances) in enumerate(kb.FIVE_PDFS):
        rows = slice(gmms.offsets[pdf], gmms.offsets[pdf + 1])
        for actual, expected in ((gmms.weights, weights), (gmms.means, means), (gmms.variances, variances)):
            np.testing.assert_allclose(actual[rows], expected, rtol=1e-6)
    density = torch.distributions.MultivariateNormal(torch.tensor([1.0, -1.0]), torch.diag(torch.tensor([0.5, 2.0])))
    x = torch.tensor([[0.3, 0.7]])
    assert gmms.loglikes(x)[0, 1] == pytest.approx(float(density.log_prob(x[0])), abs=1e-5)


def test_a_kaldi_model_folder_is_imported_once(kaldi, tmp_path, capsys):
    new_tid = import_model(kaldi, tmp_path / "out")
    assert new_tid.tolist() == list(range(11))
    model = AcousticModel.load(tmp_path / "out")
    assert model.feature == FeatureConfig("mfcc", "mean", 0) and model.transform is None and model.si_gmms is None
    assert model.gmms.num_gaussians == 8 and model.transitions.tuples.tolist() == [list(t) for t in kb.TRIPLES]
    capsys.readouterr()
    import_model(kaldi, tmp_path / "out")
    assert "import is done" in capsys.readouterr().out


@pytest.mark.parametrize("name,text,expected", [
    ("cmvn_opts", "--norm-means=true --norm-vars=true\n", FeatureConfig("fbank", "mean_var", 0)),
    ("cmvn_opts", "--norm-means=false --norm-vars=false", FeatureConfig("fbank", "none", 0)),
    ("cmvn_opts", "\n", FeatureConfig("fbank", "mean", 0)),
    ("delta_opts", "--delta-order=1 --delta-window=2", FeatureConfig("fbank", "mean", 1))])
def test_features_follow_the_option_files(kaldi, tmp_path, name, text, expected):
    (kaldi / name).write_text(text)
    import_model(kaldi, tmp_path / "out", feature_type="fbank")
    assert AcousticModel.load(tmp_path / "out").feature == expected


def test_final_mat_and_final_alimdl_are_imported(kaldi, tmp_path):
    rows = np.arange(12.0).reshape(2, 6)
    for extra in ([], [[0.0], [0.0]]):  # the matrix may have one more column of zero offsets
        mat = np.concatenate([rows, extra], 1) if extra else rows
        (kaldi / "final.mat").write_bytes(b"\0B" + kb.matrix(mat.tolist()))
        (kaldi / "splice_opts").write_text("--left-context=1 --right-context=1\n")
        (kaldi / "final.alimdl").write_bytes(kb.MONO_MODEL + kb.mixtures(
            2, [(w, [[x + 1 for x in row] for row in m], v) for w, m, v in kb.FIVE_PDFS]))
        import_model(kaldi, tmp_path / "out")
        model = AcousticModel.load(tmp_path / "out")
        assert model.feature.deltas == 0 and np.array_equal(model.transform, rows)
        torch.testing.assert_close(model.si_gmms.means, model.gmms.means + 1)
        (tmp_path / "out" / ".done.import.json").unlink()


BAD = {
    "no mixtures": (lambda f: (f / "final.mdl").write_bytes(kb.MONO_MODEL), "final.mdl: no Gaussian mixtures in it"),
    "cut off": (lambda f: (f / "final.mdl").write_bytes((f / "final.mdl").read_bytes()[:-30]), "final.mdl: "),
    "variance": (lambda f: (f / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(
        2, [([1.0], [[0, 0]], [[-1, 1]])] * 5)), "final.mdl: the mixture of pdf 0 is invalid"),
    "weights": (lambda f: (f / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(
        2, [([0.5], [[0, 0]], [[1, 1]])] * 5)), "the mixture of pdf 0 is invalid: weights must be above 0"),
    "dimension": (lambda f: (f / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(3, kb.FIVE_PDFS)),
                  "final.mdl: pdf 0 has 2 weights, means .2, 2. and variances .2, 2., in 3 dimensions"),
    "full": (lambda f: (f / "final.mdl").write_bytes(kb.MONO_MODEL + kb.mixtures(2, kb.FIVE_PDFS).replace(
        b"<DiagGMM>", b"<FullGMM>", 1)), "full covariances"),
    "deltas": (lambda f: (f / "delta_opts").write_text("--delta-order=2"), "delta_opts: derivatives of order 2"),
    "splice": (lambda f: ((f / "final.mat").write_bytes(b"\0B" + kb.matrix([[1.0] * 6] * 2)),
                          (f / "splice_opts").write_text("--left-context=2 --right-context=0")), "2 frames before and"),
    "order": (lambda f: (f / "delta_opts").write_text("--delta-order=two"), "delta_opts: `--delta-order=two` is not a"),
    "quotes": (lambda f: (f / "cmvn_opts").write_text("--norm-vars='true"), "cmvn_opts:1: not `--name=value …`: No cl"),
    "contexts": (lambda f: ((f / "final.mat").write_bytes(b"\0B" + kb.matrix([[1.0] * 6] * 2)),
                            (f / "splice_opts").write_text("--left-context=-1")), "splice_opts: `--left-context=-1`"),
    "offsets": (lambda f: ((f / "final.mat").write_bytes(b"\0B" + kb.matrix([[1.0] * 7] * 2)),
                           (f / "splice_opts").write_text("--left-context=1 --right-context=1")), "of 7 to 2 dim"),
    "other alimdl": (lambda f: (f / "final.alimdl").write_bytes(kb.MONO_MODEL + kb.mixtures(
        2, [kb.FIVE_PDFS[1]] * 5)), "final.alimdl: its mixtures do not have as many Gaussians as those of final.mdl"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unsupported_or_damaged_model_is_an_error(kaldi, tmp_path, name):
    spoil, message = BAD[name]
    spoil(kaldi)
    with pytest.raises(UserError, match=message):
        import_model(kaldi, tmp_path / "out")
    assert not (tmp_path / "out" / "final.safetensors").exists()


def to_kaldi(model: AcousticModel, folder, context: int):
    """Write a model as a Kaldi model folder."""
    folder.mkdir()
    write_model(folder / "final.mdl", model.transitions, model.gmms)
    write_tree(folder / "tree", model.tree)
    (folder / "cmvn_opts").write_text("--norm-means=false --norm-vars=false\n")
    (folder / "delta_opts").write_text("--delta-order=0\n")
    if model.transform is not None:
        (folder / "final.mat").write_bytes(b"\0B" + kb.matrix(model.transform.tolist()))
        (folder / "splice_opts").write_text(f"--left-context={context} --right-context={context}\n")
    if model.si_gmms is not None:
        write_model(folder / "final.alimdl", model.transitions, model.si_gmms)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """mono and the speaker-adapted tri3b of the toy corpus."""
    toy, exp = make(tmp_path_factory.mktemp("toy")), tmp_path_factory.mktemp("exp")
    mono(toy, exp / "mono")
    last = "mono"
    for name in ("tri2b", "tri3b"):
        aligned(toy, exp / last, exp / f"{last}_ali")
        tri(toy, exp / f"{last}_ali", exp / name, "--model", str(exp / last), conf=toy.conf / f"{name}.yaml")
        last = name
    return toy, exp


@pytest.mark.parametrize("name", ["mono", "tri3b"])
def test_a_model_exported_to_kaldi_and_imported_again_gives_the_same_alignment(trained, tmp_path, name):
    toy, exp = trained
    to_kaldi(AcousticModel.load(exp / name), tmp_path / "kaldi", 1)
    shutil.copy(toy.lang / "phones.txt", tmp_path / "kaldi" / "phones.txt")
    import_model(tmp_path / "kaldi", tmp_path / "model", lang=toy.lang)
    lang = kb.lang_folder(toy.lang, tmp_path / "lang")
    a = read_alignment(aligned(toy, exp / name, tmp_path / "ours"))
    b = read_alignment(aligned(toy, tmp_path / "model", tmp_path / "theirs", lang=lang))
    assert a.keys() == b.keys() and len(a) >= 40
    assert np.mean([np.mean(a[utt] == b[utt]) for utt in a]) > 0.999  # not 1: export rounds the variances


def test_aligning_with_a_kaldi_folder_says_how_to_import_it(kaldi, toy, tmp_path, capsys):
    with pytest.raises(SystemExit):
        align.main(["--data", str(toy.data), "--lang", str(toy.lang), "--model", str(kaldi), "--out",
                    str(tmp_path / "ali"), "--config", str(toy.conf / "align.yaml")])
    assert "this is a Kaldi model; import it with steps/import_kaldi_model.sh" in capsys.readouterr().err
