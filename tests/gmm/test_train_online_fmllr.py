"""The parts of the training speakers, and the priors that are learnt without each."""

import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.gmm.train_online_fmllr import PRIORS, _parts, _write_priors, read_priors


def test_copies_of_a_speaker_and_neighbours_are_in_one_part():
    originals = [f"{reader}-{chapter}" for reader in range(10, 20) for chapter in (1, 2)]
    copies = [f"{prefix}-{s}" for s in originals for prefix in ("sp0.9", "p3-sp1.1", "p2")]
    part = _parts(originals + copies)
    assert set(part.values()) == set(range(5)) and part.keys() == {*originals, *copies}
    for speaker in originals:
        assert part[f"sp0.9-{speaker}"] == part[f"p3-sp1.1-{speaker}"] == part[f"p2-{speaker}"] == part[speaker]
        assert part[speaker] == part[f"{speaker[:2]}-1"]


@pytest.mark.parametrize("speakers, parts", [(["a"], 1), (["a", "b-a"], 1), (["a", "b"], 2), (["1-2", "3-2"], 2)])
def test_few_speakers(speakers, parts):
    assert len(set(_parts(speakers).values())) == parts


def test_a_prior_is_learnt_without_its_part(tmp_path):
    """Each speaker has a direction of his own, which the prior of his part does not know."""
    coordinates = {f"s{n}": np.eye(6)[n] * (n + 1) for n in range(5)}
    _write_priors(coordinates, 4, tmp_path / PRIORS)
    priors, part = read_priors(tmp_path / PRIORS)
    assert len(priors) == 5
    for n in range(5):
        axes, variances = priors[part[f"s{n}"]]
        others = [m for m in range(4, -1, -1) if m != n]
        assert np.allclose(np.abs(axes), np.eye(6)[others], atol=1e-6)
        assert np.allclose(variances, [(m + 1) ** 2 / 4 for m in others])


def test_one_speaker_has_a_prior_without_axes(tmp_path):
    _write_priors({"a": np.ones(6), "sp0.9-a": np.ones(6)}, 4, tmp_path / PRIORS)
    (prior,), part = read_priors(tmp_path / PRIORS)
    assert prior[0].shape == (0, 6) and len(prior[1]) == 0 and part == {"a": 0, "sp0.9-a": 0}


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / PRIORS).write_bytes(b"no tensors")
    with pytest.raises(UserError, match="no priors of transforms"):
        read_priors(tmp_path / PRIORS)
    with pytest.raises(UserError, match="no such file"):
        read_priors(tmp_path / "nowhere")
