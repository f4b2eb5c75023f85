"""Files of what was heard of a speaker, with online fMLLR."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.small_adapter import PDFS, C, make
from safetensors.torch import load_file, save_file

from lstmp import config
from lstmp.errors import UserError
from lstmp.features.extract import MfccConfig
from lstmp.gmm.online_fmllr import NAME
from lstmp.nnet.front import Front
from lstmp.transcribe.speakers import load_speaker, save_speaker

MFCC = config.load(ROOT / "conf/mfcc.yaml", MfccConfig)


@pytest.fixture
def front(tmp_path):
    make().write(tmp_path / NAME)
    return Front(None, online_fmllr=str(tmp_path / NAME))


@pytest.fixture
def file(tmp_path, front):
    online = front.start()
    rng = np.random.default_rng(1)
    for part in online.parts(torch.from_numpy(rng.normal(size=(60, C)).astype(np.float32))):
        online.hear(torch.from_numpy(rng.dirichlet(np.ones(PDFS), len(part)).astype(np.float32)))
    save_speaker(tmp_path / "anna.safetensors", online.heard(), MFCC, front)
    return tmp_path / "anna.safetensors", online.heard()


def test_what_was_heard_is_kept(file, front):
    path, heard = file
    again = load_speaker(path, MFCC, front, C)
    assert heard.fmllr[2].item() > 20 and np.array_equal(again.cmvn, heard.cmvn)
    assert all(np.array_equal(a, b) for a, b in zip(again.fmllr, heard.fmllr, strict=True))
    assert load_speaker(Path("nobody.safetensors"), MFCC, front, C) is None


def change_metadata(path, tensors):
    """Write the file with other tensors and the same description."""
    from safetensors import safe_open
    with safe_open(path, "pt") as f:
        about = f.metadata()
    save_file(tensors, path, about)


@pytest.mark.parametrize("change, message", [
    (lambda t: t.pop("fmllr_linear"), "it is of another network"),
    (lambda t: t.update(fmllr_second=t["fmllr_second"][:, 1:].clone()), "it is of another network"),
    (lambda t: t.update(fmllr_weight=t["fmllr_weight"] * float("nan")), "not what was heard of a speaker"),
    (lambda t: t.update(fmllr_second=-1e9 * t["fmllr_second"]), "not what was heard of a speaker")])
def test_damaged_files_are_errors(file, front, change, message):
    path, _ = file
    tensors = load_file(path)
    change(tensors)
    change_metadata(path, tensors)
    with pytest.raises(UserError, match=message):
        load_speaker(path, MFCC, front, C)


def test_a_file_of_another_adapter_is_an_error(file, tmp_path):
    make(seed=2).write(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="it is of another network"):
        load_speaker(file[0], MFCC, Front(None, online_fmllr=str(tmp_path / "other.safetensors")), C)
