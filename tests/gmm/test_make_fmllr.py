"""Data dirs with speaker-adapted features."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.known_gaussians import mono

from lstmp.features.ark import read_mat, read_scp
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm import make_fmllr
from lstmp.gmm.adapt import read_transforms
from lstmp.gmm.model import AcousticModel


def run(toy, exp, out, *, data=None, model="tri3b", transforms="tri3b_ali"):
    make_fmllr.main(["--data", str(data or toy.data), "--model", str(exp / model), "--transforms",
                     str(exp / transforms), "--out", str(out)])
    return out


def test_the_features_are_the_transformed_input_features(adapted, tmp_path, capsys):
    toy, exp = adapted
    out = run(toy, exp, tmp_path / "fmllr")
    model, transforms = AcousticModel.load(exp / "tri3b"), read_transforms(exp / "tri3b_ali")
    found = Features(out, FeatureConfig("fmllr", "none", 0))
    assert found.dim == 5 and len(found.utts) == 31
    for utt in found.utts:
        x = torch.from_numpy(read_mat(read_scp(toy.data / "feats.scp")[utt]))
        wide = torch.stack([x[np.clip(np.arange(len(x)) + k, 0, len(x) - 1)] for k in (-1, 0, 1)], 1).flatten(1)
        w = transforms[found.speaker(utt)]
        expected = (wide @ model.transform.t()) @ w[:, :-1].t() + w[:, -1]
        torch.testing.assert_close(found.load(utt), expected, rtol=1e-4, atol=1e-4)
        assert found.num_frames(utt) == len(x)
    assert json.loads((out / "feats.json").read_text())["kind"] == "fmllr"
    assert (out / "text").read_bytes() == (toy.data / "text").read_bytes()
    capsys.readouterr()
    run(toy, exp, out)
    assert "fmllr is done" in capsys.readouterr().out


@pytest.mark.parametrize("change, message", [
    ({"model": "tri2b"}, "tri2b: this model was not trained with speaker adaptation"),
    ({"transforms": "tri2b_ali"}, "trans.scp: no such file"),
    ({"model": "nowhere"}, "nowhere: no such model folder"),
])
def test_a_wrong_model_or_transforms_folder_is_an_error(adapted, tmp_path, capsys, change, message):
    with pytest.raises(SystemExit):
        run(*adapted, tmp_path / "fmllr", **change)
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_speaker_without_transform_and_writing_into_the_input_are_errors(adapted, tmp_path, capsys):
    toy, exp = adapted
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    (data / "utt2spk").write_text((data / "utt2spk").read_text().replace(" s1\n", " s7\n"))
    with pytest.raises(SystemExit):
        run(toy, exp, tmp_path / "fmllr", data=data)
    assert "trans.scp: speaker s7 has no transform" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(toy, exp, data, data=data)
    assert "this folder is also the input" in capsys.readouterr().err


def test_a_model_of_mfcc_does_not_accept_them(adapted, tmp_path, capsys):
    toy, exp = adapted
    out = run(toy, exp, tmp_path / "fmllr")
    with pytest.raises(SystemExit):
        mono(toy, tmp_path / "mono", data=out)
    assert "the features are fmllr, the model needs mfcc" in capsys.readouterr().err
