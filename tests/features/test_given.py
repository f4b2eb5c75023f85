"""Given features are used if they fit the configuration, otherwise a warning says why not."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers import CONF

from lstmp import config
from lstmp.corpus.audio import read_audio, write_wav
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.take_data_dirs import take
from lstmp.corpus.validate import validate
from lstmp.errors import UserError
from lstmp.features.ark import ArkWriter, read_mat, read_scp
from lstmp.features.extract import FbankConfig, MfccConfig, extract
from lstmp.features.load import FeatureConfig, Features

FBANK = dataclasses.replace(config.load(CONF / "fbank.yaml", FbankConfig), dither=0.0)
MFCC = dataclasses.replace(config.load(CONF / "mfcc.yaml", MfccConfig), dither=0.0)
BOTH = (("mfcc", MFCC), ("fbank", FBANK))


@pytest.fixture
def kaldi(data_dir, tmp_path):
    """``train`` and ``train_fbank`` without audio; their features stand for ones made elsewhere."""
    root = tmp_path / "kaldi"
    for wav in (tmp_path / "wav").iterdir():  # loud and soft, as speech is
        samples = read_audio(wav)
        write_wav(wav, samples * np.exp(2 * np.sin(np.arange(len(samples)) / 800)))
    for (_, cfg), name in zip(BOTH, ("train", "train_fbank"), strict=True):
        extract(data_dir, root / name, cfg, 1)
        for other in ("feats.json", "utt2num_frames", ".done.feats.json", "wav.scp"):
            (root / name / other).unlink()
    shutil.rmtree(tmp_path / "wav")
    return root


def rewrite(folder, change):
    mats = {utt: read_mat(rx) for utt, rx in read_scp(folder / "feats.scp").items()}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for utt, mat in mats.items():
            writer.write(utt, np.ascontiguousarray(change(mat)))


def taken(kaldi, out):
    take(kaldi / "train", out / "train", max_bad=0, max_utts=None, nj=1)
    return out / "train"


def test_recipe_without_audio(kaldi, tmp_path, capsys):
    train = taken(kaldi, tmp_path / "data")
    assert "4 utterances, without audio, with features" in capsys.readouterr().out
    assert not (train / "wav.scp").exists()
    assert validate(train, max_bad=0, quick=False, nj=1)["utterances"] == 4
    for (kind, cfg), source, out in zip(BOTH, ("train", "train_fbank"), (train, tmp_path / "fbank"), strict=True):
        extract(train, out, cfg, 2)
        assert "it is not checked" in capsys.readouterr().out
        given, used = (read_scp(d / "feats.scp") for d in (kaldi / source, out))
        assert used == given and read_scp(out / "cmvn.scp") == read_scp(kaldi / source / "cmvn.scp")
        assert not (out / "cmvn.ark").exists()
        about = json.loads((out / "feats.json").read_text())
        assert (about["kind"], about["frames"], about["given"]) == (kind, 232, str(kaldi / source))
        assert (out / "utt2num_frames").read_text() == "s0-u0 28\ns0-u1 48\ns1-u2 68\ns1-u3 88\n"
        features = Features(out, FeatureConfig(kind, "mean", 0))
        both = np.concatenate([features.load(utt).numpy() for utt in ("s1-u2", "s1-u3")])
        assert np.abs(both.mean(0)).max() < 1e-3  # the statistics are theirs
        extract(train, out, cfg, 2)
        assert "is done" in capsys.readouterr().out
    assert read_data_dir(train, need=("text",)).durations["s1-u3"] == pytest.approx(0.9, abs=0.01)
    rewrite(kaldi / "train", lambda mat: mat + 1)
    extract(train, train, MFCC, 1)
    assert "feats runs again" in capsys.readouterr().out


def test_in_place_and_without_statistics(kaldi, capsys):
    folder = kaldi / "train"
    before = (folder / "feats.scp").read_bytes()
    (folder / "cmvn.scp").unlink()
    extract(folder, folder, MFCC, 1)
    assert (folder / "feats.scp").read_bytes() == before and len(read_scp(folder / "cmvn.scp")) == 2
    extract(folder, folder, MFCC, 1)
    assert "is done" in capsys.readouterr().out


MISFITS = {
    "dimension": (lambda d: rewrite(d, lambda m: m[:, :12]),
                  "its features have 12 dimensions, those of the configuration 13"),
    "shift": (lambda d: (d / "frame_shift").write_text("0.0125\n"),
              "its frame shift is 12.5 ms, that of the configuration 10 ms"),
    "frames": (lambda d: (rewrite(d, lambda m: m[::2]),
                          (d / "utt2dur").write_text("s0-u0 0.3\ns0-u1 0.5\ns1-u2 0.7\ns1-u3 0.9\n")),
               "s0-u0 has 14 frames, but 0.3 s are about 30 frames of 10 ms"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_mismatch_is_reported(kaldi, tmp_path, capsys, name):
    damage, why = MISFITS[name]
    damage(kaldi / "train")
    train = taken(kaldi, tmp_path / "data")
    with pytest.raises(UserError, match="no wav.scp, and no mfcc features that match the configuration"):
        extract(train, train, MFCC, 1)
    assert f"kaldi/train/feats.scp: not used, {why}" in capsys.readouterr().err


def test_forty_cepstra_are_not_accepted_as_energies(kaldi, tmp_path, capsys):
    rng = np.random.default_rng(0)
    rewrite(kaldi / "train_fbank", lambda m: rng.standard_normal(m.shape).astype(np.float32))
    train = taken(kaldi, tmp_path / "data")
    with pytest.raises(UserError, match="no fbank features that match"):
        extract(train, tmp_path / "f", FBANK, 1)
    assert "train_fbank/feats.scp: not used, neighbouring values hardly correlate" in capsys.readouterr().err


def test_mismatched_statistics_are_not_used(kaldi, capsys):
    folder = kaldi / "train"
    shutil.copy(kaldi / "train_fbank" / "cmvn.scp", folder / "cmvn.scp")
    extract(folder, folder, MFCC, 1)
    assert "cmvn.scp: not used, its statistics are 2 × 41, not 2 × 14" in capsys.readouterr().err
    assert read_mat(read_scp(folder / "cmvn.scp")["s1"]).shape == (2, 14)


def test_utterance_without_features_is_left_out(kaldi, capsys):
    folder = kaldi / "train"
    (folder / "feats.scp").write_text("".join((folder / "feats.scp").read_text().splitlines(True)[1:]))
    extract(folder, folder, MFCC, 1)
    assert "left out s0-u0: " in capsys.readouterr().err and len(read_scp(folder / "feats.scp")) == 3
    rewrite(folder, lambda m: m * (np.nan if len(m) == 88 else 1))
    with pytest.raises(UserError, match="2 of 4 utterances are bad"):
        extract(folder, folder, MFCC, 1)


def test_features_that_differ_from_the_audio_are_not_used(data_dir, tmp_path, capsys):
    root = tmp_path / "kaldi"
    shutil.copytree(data_dir, root / "train")
    extract(root / "train", root / "train", dataclasses.replace(MFCC, dither=1.0), 1)
    train = taken(root, tmp_path / "data")
    capsys.readouterr()
    extract(train, train, MFCC, 1)
    assert "values, given in" in capsys.readouterr().out
    for change, why in ((lambda m: m[:, ::-1], " (correlation"),
                        (lambda m: m[:, ::-1] + 99, ": means are")):
        rewrite(root / "train", change)
        extract(train, train, MFCC, 1)
        output = capsys.readouterr()
        assert f"not used, s0-u0 has features that differ from those of its audio{why}" in output.err
        assert "values, given in" not in output.out
        assert read_scp(train / "feats.scp")["s0-u0"].startswith(f"{train}/feats.ark:")  # made here


def test_frame_shift_of_given_features_is_recorded(data_dir, tmp_path):
    """feats.json of given features records the frame shift, as that of computed features does."""
    cfg = dataclasses.replace(MFCC, frame_shift_ms=12.5)
    extract(data_dir, tmp_path / "kaldi/train", cfg, 1)
    for name in ("feats.json", ".done.feats.json", "wav.scp", "utt2dur"):
        (tmp_path / "kaldi/train" / name).unlink(missing_ok=True)
    train = taken(tmp_path / "kaldi", tmp_path / "data")
    extract(train, train, cfg, 1)
    assert "given" in json.loads((train / "feats.json").read_text())
    assert Features(train, FeatureConfig("mfcc", "none", 0)).frame_shift == 0.0125
