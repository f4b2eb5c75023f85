"""The frame shift of a data dir: recorded in feats.json, or read from Kaldi's file."""

import json

import numpy as np
import pytest
from helpers import ROOT

from lstmp import config
from lstmp.corpus.audio import write_wav
from lstmp.corpus.datadir import read_table, write_table
from lstmp.corpus.subset import main as subset
from lstmp.errors import UserError
from lstmp.features.extract import MfccConfig, extract
from lstmp.features.frame_shift import frame_shift, write_frame_shift
from lstmp.features.load import FeatureConfig, Features


@pytest.fixture
def data(tmp_path):
    """A data dir with MFCCs every 12.5 ms."""
    path, rng = tmp_path / "data", np.random.default_rng(1)
    for utt in ("a-1", "a-2"):
        write_wav(tmp_path / f"{utt}.wav", 1000 * rng.standard_normal(16000))
    write_table(path / "wav.scp", {u: str(tmp_path / f"{u}.wav") for u in ("a-1", "a-2")})
    write_table(path / "utt2spk", {"a-1": "a", "a-2": "a"})
    write_table(path / "text", {"a-1": "A", "a-2": "B"})
    values = {**config.read_yaml(ROOT / "conf/mfcc.yaml")[0], "frame_shift_ms": 12.5}
    extract(path, path, config.build(values, MfccConfig), 1)
    return path


def test_feats_json_records_it_and_a_subset_keeps_it(data, tmp_path):
    assert frame_shift(data) == 0.0125
    assert Features(data, FeatureConfig("mfcc", "none", 0)).frame_shift == 0.0125
    assert read_table(data / "utt2num_frames")["a-1"] == "79"  # (16000 - 400) / 200 + 1
    subset([str(data), str(tmp_path / "part"), "--first", "1"])
    assert frame_shift(tmp_path / "part") == 0.0125
    (data / "feats.json").unlink()
    subset([str(data), str(tmp_path / "part"), "--first", "1"])
    assert not (tmp_path / "part/feats.json").exists()


def test_kaldis_file_and_default(tmp_path):
    assert frame_shift(tmp_path) == 0.01
    write_frame_shift(tmp_path, 0.0125)
    assert frame_shift(tmp_path) == 0.0125 and (tmp_path / "frame_shift").read_text() == "0.0125\n"
    (tmp_path / "feats.json").write_text(json.dumps({"kind": "mfcc", "frame_shift": 0.008}))
    assert frame_shift(tmp_path) == 0.008
    (tmp_path / "feats.json").write_text(json.dumps({"kind": "mfcc"}))  # from before it was noted
    assert frame_shift(tmp_path) == 0.01


@pytest.mark.parametrize(("name", "text"), [("frame_shift", "ten"), ("frame_shift", "-1"), ("frame_shift", "10"),
                                            ("feats.json", "[]"), ("feats.json", '{"frame_shift": null}')])
def test_damaged_files_are_rejected(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}: it does not contain a valid frame shift"):
        frame_shift(tmp_path)
