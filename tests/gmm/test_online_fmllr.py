"""Online fMLLR equals its definition, frame by frame, however the frames arrive."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.small_adapter import CFG, PDFS, C, D, make

from lstmp.errors import UserError
from lstmp.features.load import splice
from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.online_fmllr import NAME, Adapter


def utterance(frames=57, seed=2):
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.full(PDFS, 0.3), frames).astype(np.float32)
    return rng.normal(size=(frames, C)).astype(np.float32), torch.from_numpy(posteriors)


def adapt(adapter, cepstra, posteriors, heard=None, pieces=None, lag=0):
    """The adapted frames, with the posteriors told ``lag`` frames late, and what was heard."""
    online = adapter.start(heard)
    out, told = [], 0
    bounds = np.cumsum([0, *(pieces or [len(cepstra)])])
    for begin, end in zip(bounds, bounds[1:], strict=False):
        for part in online.parts(cepstra[begin:end]):
            out.append(part)
            known = max(told, sum(map(len, out)) - lag)
            online.hear(posteriors[told:known])
            told = known
    for part in online.rest():
        out.append(part)
        online.hear(posteriors[told:sum(map(len, out)) - lag])
        told = max(told, sum(map(len, out)) - lag)
    online.hear(posteriors[told:])
    return torch.cat(out), online.heard()


def scaled(stats, factor):
    return SpeakerStats(*(x * factor for x in stats.tensors()))


def most_probable(adapter, stats, rounds=200):
    """The transform for statistics; after 200 rounds further ones change nothing."""
    return adapter.prior.transform(adapter.prior.estimate(stats, adapter.prior.origin, rounds))


def by_definition(adapter, cepstra, posteriors, heard=None):
    cfg = adapter.cfg
    cepstra = torch.from_numpy(adapter.normalization.start(heard).accept(cepstra))
    frames = splice(cepstra, adapter.context) @ adapter.transform.t()
    weight = adapter.weight.double().numpy()
    with np.errstate(divide="raise"):
        variance = weight[:, None] / adapter.precision.double().numpy()
    mean = adapter.target.double().numpy() * variance / weight[:, None]
    own = SpeakerStats.zeros(D)
    if heard:
        own = SpeakerStats(*map(torch.from_numpy, heard.fmllr))
        own = scaled(own, min(1.0, cfg.max_frames / float(own.beta)))
    w = most_probable(adapter, own, 20).numpy()
    out, counted = [], 0
    for t, x in enumerate(frames.double().numpy()):
        if t and t % cfg.period == 0 and t - cfg.delay > counted:
            for s in range(counted, t - cfg.delay):
                xi = np.append(frames[s].double().numpy(), 1.0)
                for p in range(PDFS):
                    gamma = float(posteriors[s, p]) * weight[p]
                    outer = np.outer(xi, xi)[np.triu_indices(D + 1)]
                    own.second += torch.from_numpy(gamma / variance[p][:, None] * outer)
                    own.linear += torch.from_numpy(gamma * (mean[p] / variance[p])[:, None] * xi)
                    own.beta += gamma
            counted = t - cfg.delay
            own = scaled(own, min(1.0, cfg.max_frames / float(own.beta)))
            w = most_probable(adapter, own).numpy()
        out.append(w @ np.append(x, 1.0))
    return np.stack(out)


@pytest.mark.parametrize("changes", [{}, {"delay": 0}, {"delay": 13}, {"max_frames": 1e6}])
def test_frames_are_adapted_as_defined(changes):
    adapter = make(replace(CFG, rounds=200, **changes))
    cepstra, posteriors = utterance(91)
    got, heard = adapt(adapter, cepstra, posteriors)
    assert np.allclose(got, by_definition(adapter, cepstra, posteriors), atol=1e-4)
    again, more = utterance(43, 3)
    assert np.allclose(adapt(adapter, again, more, heard)[0], by_definition(adapter, again, more, heard), atol=1e-4)


@pytest.mark.parametrize("pieces", [[1] * 57, [10, 10, 10, 10, 10, 7], [2, 0, 55], [56, 1]])
def test_it_does_not_matter_how_frames_arrive(pieces):
    adapter = make()
    cepstra, posteriors = utterance()
    whole, heard = adapt(adapter, cepstra, posteriors)
    for lag in (0, 3, 4):  # up to the delay
        parts, also = adapt(adapter, cepstra, posteriors, pieces=pieces, lag=lag)
        assert torch.equal(whole, parts)
        assert all(np.allclose(a, b) for a, b in zip(heard.fmllr, also.fmllr, strict=True))
        assert np.array_equal(heard.cmvn, also.cmvn)


@pytest.mark.parametrize("frames", [1, 2, 3, 12])
@pytest.mark.parametrize("context", [0, 1, 3])
def test_short_utterances_and_other_contexts(context, frames):
    adapter = make(replace(CFG, rounds=200), context=context)
    cepstra, posteriors = utterance(frames)
    expected = by_definition(adapter, cepstra, posteriors)
    for pieces in (None, [1] * frames):
        got, _ = adapt(adapter, cepstra, posteriors, pieces=pieces)
        assert np.allclose(got, expected, atol=1e-4)


def test_nothing_comes_of_no_frames():
    online = make().start()
    assert not [*online.parts(np.zeros((0, C), np.float32)), *online.rest()] and online.heard().fmllr[2].item() == 0


def test_known_states_are_posteriors_of_1():
    adapter = make()
    cepstra, _ = utterance()
    states = torch.arange(57) % PDFS
    expected, _ = adapt(adapter, cepstra, torch.nn.functional.one_hot(states, PDFS).float())
    online = adapter.start()
    online.hear_states(states)
    got = torch.cat([*online.parts(cepstra), *online.rest()])
    assert torch.allclose(got, expected, atol=1e-6)


def test_a_speaker_who_is_shifted_and_scaled_is_brought_back():
    """After enough speech the transform undoes what changes a speaker's frames; with little, it stays near that of the
    average speaker."""
    adapter, rng = make(), np.random.default_rng(5)
    variance = (adapter.weight[:, None] / adapter.precision).numpy()
    mean = adapter.target.numpy() / adapter.precision.numpy()
    states = rng.integers(1, PDFS, 3000)
    true = mean[states] + rng.normal(size=(3000, D)) * np.sqrt(variance[states])
    changed = torch.from_numpy((2.0 * true + 3.0).astype(np.float32))
    stats = SpeakerStats.zeros(D)
    p = torch.from_numpy(states)
    stats.add(changed, adapter.precision[p], adapter.target[p], adapter.weight[p])
    w = most_probable(adapter, stats).numpy()
    back = changed.double().numpy() @ w[:, :-1].T + w[:, -1]
    assert np.abs(back - true).mean() < 0.1 * np.abs(changed.numpy() - true).mean()
    near, average = most_probable(adapter, scaled(stats, 1 / 3000)).numpy(), adapter.prior.average.numpy()
    assert np.abs(near - average).max() < 0.5 * np.abs(w - average).max()


def test_frames_whose_older_ones_were_not_heard_are_refused():
    adapter = make()
    with pytest.raises(AssertionError, match="posteriors of older frames"):
        list(adapter.start().parts(utterance()[0]))


def test_the_file_holds_everything(tmp_path):
    adapter = make()
    adapter.write(tmp_path / NAME)
    again = Adapter.read(tmp_path / NAME)
    assert asdict(again.cfg) == asdict(CFG) and torch.equal(again.prior.average, adapter.prior.average)
    assert all(torch.equal(getattr(again, name), getattr(adapter, name)) for name in Adapter.TENSORS)


@pytest.mark.parametrize("name, change", [
    ("transform", lambda x: x[:, :-1]), ("precision", lambda x: x[:-1]), ("target", lambda x: x * float("nan")),
    ("weight", lambda x: -x), ("second", lambda x: x[:, :-1]), ("linear", lambda x: x.float()),
    ("cmvn_mean", lambda x: x[:-1]), ("second", lambda x: 0 * x), ("weight", lambda x: x.sum()),
    ("second", lambda x: -x), ("axes", lambda x: x[:, :-1]), ("variances", lambda x: x[:-1]),
    ("variances", lambda x: -x)])
def test_a_damaged_file_is_an_error(tmp_path, name, change):
    adapter = make()
    setattr(adapter, name, change(getattr(adapter, name)))
    adapter.write(tmp_path / NAME)
    with pytest.raises(UserError, match="not for online fMLLR"):
        Adapter.read(tmp_path / NAME)


def test_a_cut_off_file_is_an_error(tmp_path):
    make().write(tmp_path / NAME)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:200])
    with pytest.raises(UserError, match="cut off"):
        Adapter.read(tmp_path / NAME)
