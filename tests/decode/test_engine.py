"""Lattices of the native search against k2's, pruned exactly."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers.small_graphs import SmallGraph, scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, Compiled, Plain, compiled
from lstmp.decode.lattice_paths import path_scores

k2 = pytest.importorskip("k2")


def links_of(graph, loglikes, cfg):
    """(frame, label, graph score, extra cost) of every link, sorted; None without a path."""
    rows = (loglikes * cfg.acoustic_scale).numpy()
    search = (Compiled if compiled() else Plain)(graph, cfg, cfg.output_beam)
    sure = max(len(rows) - NEAR_END, 0)
    search.advance(rows[:sure], 0)
    search.advance(rows[sure:], len(rows) - sure)
    found = search.links()
    if found is None:
        return None
    source, to, arc, frame, extra = found
    assert (np.diff(source) >= 0).all() and (source < to).all() and source[0] == 0
    assert set(source[1:]) <= set(to) | {0} and set(to) - set(source) == {to.max()}, "all states lie on paths"
    return sorted(zip(frame.tolist(), graph.arcs[arc, 2].tolist(), graph.scores[arc].tolist(), extra.tolist(),
                      strict=True))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.sampled_from([1, 2, 29, 30, 31, 60, 95, 130]),
       beams=st.sampled_from([(4.0, 1.5, 0, 1000), (8.0, 3.0, 0, 6), (1e4, 2.0, 0, 10_000), (3.0, 0.1, 2, 50)]),
       states=st.integers(3, 25))
def test_the_arcs_on_paths_within_the_output_beam_and_no_others(seed, frames, beams, states):
    search_beam, output_beam, least, most = beams
    graph, loglikes = SmallGraph.random(seed, num_states=states), scores(seed, frames)
    cfg = SearchConfig(0.7, search_beam, output_beam, 10, least, most, 0)
    found = links_of(graph.engine(4), loglikes, cfg)
    dense = torch.full((1, frames, 5), float("-inf"))
    dense[0, :, 1:] = loglikes * cfg.acoustic_scale
    dense = k2.DenseFsaVec(dense, torch.tensor([[0, 0, frames]], dtype=torch.int32))
    # so wide an output beam that k2, which prunes by parts of the utterance, keeps more than is asked for
    lattice = k2.intersect_dense_pruned(graph.k2(), dense, search_beam, 60.0, least, most, frame_idx_name="frame")
    total = lattice.get_tot_scores(use_double_scores=True, log_semiring=False).item()
    assert (found is None) == (total == -np.inf)
    assume(found is not None)
    worth = path_scores(lattice.arcs.values()[:, :3].numpy(), lattice.scores.numpy().astype(np.float64))[2]
    label = lattice.arcs.values()[:, 2].numpy()
    frame = np.where(label < 0, frames, lattice.frame.numpy())
    every = sorted(zip(frame.tolist(), label.tolist(), lattice.graph_scores.tolist(), (total - worth).tolist(),
                       strict=True))
    sure = [x for x in every if x[3] < output_beam - 1e-3]
    possible = [x for x in every if x[3] < output_beam + 1e-3]
    if search_beam > 1000:
        assert len(sure) <= len(found) <= len(possible)
        if len(sure) == len(found):
            assert [x[:2] for x in found] == [x[:2] for x in sure]
            assert np.allclose([x[2:] for x in found], [x[2:] for x in sure], atol=2e-3)
    else:  # arcs that enter a living state, but are themselves below the beam, are left out
        count = Counter(x[:2] for x in possible)
        assert not Counter(x[:2] for x in found) - count
        assert {x[0] for x in found if abs(x[3]) < 1e-4} == set(range(frames + 1)), "the best path"
