"""The parts of the training speakers, and the priors that are learnt without each."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lstmp.corpus.datadir import Utterance
from lstmp.corpus.perturb import divide_speakers, original_speaker, renamed_copy
from lstmp.errors import UserError
from lstmp.gmm.train_online_fmllr import PRIORS, _parts, _write_priors, read_priors


@pytest.mark.parametrize("minutes", [0, 1])
@pytest.mark.parametrize("speeds", [(0.9, 1.0, 1.1), (0.95, 1.05)])
def test_copies_of_a_speaker_and_neighbours_are_in_one_part(speeds, minutes):
    """Also if none of the speakers still has his own id."""
    originals = [f"{reader}-{chapter}" for reader in range(10, 20) for chapter in (1, 2)]
    utts = [Utterance(f"{s}-{n}", s, f"{s}-{n}.wav", ("a",)) for s in originals for n in range(6)]
    copies = [(renamed_copy(utt, speed), 30.0) for utt in utts for speed in speeds]
    speakers = {utt.speaker for utt, _ in (divide_speakers(copies, minutes, 1) if minutes else copies)}
    assert len(speakers) == len(originals) * len(speeds) * (3 if minutes else 1)
    part = _parts(speakers)
    assert set(part.values()) == set(range(5)) and part.keys() == speakers
    for speaker in speakers:
        assert original_speaker(speaker) in originals
        assert {n for other, n in part.items() if original_speaker(other)[:2] == original_speaker(speaker)[:2]} == \
            {part[speaker]}


@pytest.mark.parametrize("speakers, parts", [(["a"], 1), (["a", "sp1.1-a"], 1), (["a", "b"], 2), (["1-2", "3-2"], 2)])
def test_few_speakers(speakers, parts):
    assert len(set(_parts(speakers).values())) == parts


def test_a_prior_is_learnt_without_its_part(tmp_path):
    """Each speaker has a direction of his own, which the prior of his part does not know."""
    coordinates = {f"s{n}": np.eye(6)[n] * (n + 1) for n in range(5)}
    _write_priors(coordinates, 6, _parts([*coordinates, "s9"]), 4, tmp_path / PRIORS)
    priors, part = read_priors(tmp_path / PRIORS, 6)
    assert len(priors) == 5 and part.keys() == {*coordinates, "s9"}
    for n in range(5):
        axes, variances = priors[part[f"s{n}"]]
        others = [m for m in range(4, -1, -1) if part[f"s{m}"] != part[f"s{n}"]][:4]
        assert np.allclose(np.abs(axes), np.eye(6)[others], atol=1e-6)
        known = sum(part[f"s{m}"] != part[f"s{n}"] for m in range(5))
        assert np.allclose(variances, [(m + 1) ** 2 / known for m in others])


def test_one_speaker_has_a_prior_without_axes(tmp_path):
    coordinates = {"a": np.ones(6), "sp0.9-a": np.ones(6)}
    _write_priors(coordinates, 6, _parts(coordinates), 4, tmp_path / PRIORS)
    (prior,), part = read_priors(tmp_path / PRIORS, 6)
    assert prior[0].shape == (0, 6) and len(prior[1]) == 0 and part == {"a": 0, "sp0.9-a": 0}


@pytest.mark.parametrize("change", [
    lambda t: t.pop("axes_1"), lambda t: t.update(axes_1=t["axes_1"] * float("nan")),
    lambda t: t.update(axes_1=2 * t["axes_1"]), lambda t: t.update(variances_0=t["variances_0"].long()),
    lambda t: t.update(variances_0=-t["variances_0"]), lambda t: t.update(axes_0=t["axes_0"][:, :-1].clone()),
    lambda t: t.update(variances_1=torch.ones(1))])
def test_a_damaged_file_is_an_error(tmp_path, change):
    coordinates = {f"s{n}": np.eye(6)[n] for n in range(4)}
    _write_priors(coordinates, 6, _parts(coordinates), 4, tmp_path / PRIORS)
    tensors = load_file(tmp_path / PRIORS)
    change(tensors)
    save_file(tensors, tmp_path / PRIORS, {"speakers": json.dumps(_parts(coordinates))})
    with pytest.raises(UserError, match="no priors of transforms"):
        read_priors(tmp_path / PRIORS, 6)


@pytest.mark.parametrize("speakers", ["{", '{"a": -3}', '{"a": -1, "b": 1}', '{"a": "x"}', "[]", '{"a": 7}'])
def test_damaged_parts_are_an_error(tmp_path, speakers):
    coordinates = {f"s{n}": np.eye(6)[n] for n in range(4)}
    _write_priors(coordinates, 6, _parts(coordinates), 4, tmp_path / PRIORS)
    save_file(load_file(tmp_path / PRIORS), tmp_path / PRIORS, {"speakers": speakers})
    with pytest.raises(UserError, match="no priors of transforms"):
        read_priors(tmp_path / PRIORS, 6)
    with pytest.raises(UserError, match="no such file"):
        read_priors(tmp_path / "nowhere", 6)
