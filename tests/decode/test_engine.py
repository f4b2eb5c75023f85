"""Lattices of the native search, compared with exactly pruned lattices of k2."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers.small_graphs import SmallGraph, scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, CompiledSearch, search_library
from lstmp.decode.lattice_paths import path_scores
from lstmp.decode.numpy_search import NumpySearch

k2 = pytest.importorskip("k2")


def links_of(graph, loglikes, cfg):
    """(frame, label, graph score, extra cost) of every link, sorted; None if there is no path."""
    rows = (loglikes * cfg.acoustic_scale).numpy()
    search = (CompiledSearch if search_library() else NumpySearch)(graph, cfg, cfg.output_beam)
    near_end = max(len(rows) - NEAR_END, 0)
    search.advance(rows[:near_end], 0)
    search.advance(rows[near_end:], len(rows) - near_end)
    links = search.links()
    if links is None:
        return None
    source, to, arc, frame, extra = links
    assert (np.diff(source) >= 0).all() and (source < to).all() and source[0] == 0
    assert set(source[1:]) <= set(to) | {0} and set(to) - set(source) == {to.max()}, "all states are on paths"
    arcs = graph.chosen(arc)
    return sorted(zip(frame.tolist(), arcs.labels.tolist(), arcs.scores.tolist(), extra.tolist(), strict=True))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.sampled_from([1, 2, 29, 30, 31, 60, 95, 130]),
       beams=st.sampled_from([(4.0, 1.5, 0, 1000), (8.0, 3.0, 0, 6), (1e4, 2.0, 0, 10_000), (3.0, 0.1, 2, 50)]),
       states=st.integers(3, 25))
def test_a_lattice_has_exactly_the_arcs_on_paths_within_the_output_beam(seed, frames, beams, states):
    search_beam, output_beam, min_active, max_active = beams
    graph, loglikes = SmallGraph.random(seed, num_states=states), scores(seed, frames)
    cfg = SearchConfig(0.7, search_beam, output_beam, 10, min_active, max_active, 0)
    links = links_of(graph.engine(4), loglikes, cfg)
    dense = torch.full((1, frames, 5), float("-inf"))
    dense[0, :, 1:] = loglikes * cfg.acoustic_scale
    dense = k2.DenseFsaVec(dense, torch.tensor([[0, 0, frames]], dtype=torch.int32))
    # a wide output beam, so that k2, which prunes parts of the utterance separately, keeps more than needed
    lattice = k2.intersect_dense_pruned(graph.k2(), dense, search_beam, 60.0, min_active, max_active,
                                        frame_idx_name="frame")
    total = lattice.get_tot_scores(use_double_scores=True, log_semiring=False).item()
    assert (links is None) == (total == -np.inf)
    assume(links is not None)
    through = path_scores(lattice.arcs.values()[:, :3].numpy(), lattice.scores.numpy().astype(np.float64))[2]
    label = lattice.arcs.values()[:, 2].numpy()
    frame = np.where(label < 0, frames, lattice.frame.numpy())
    every = sorted(zip(frame.tolist(), label.tolist(), lattice.graph_scores.tolist(), (total - through).tolist(),
                       strict=True))
    inside = [x for x in every if x[3] < output_beam - 1e-3]
    possible = [x for x in every if x[3] < output_beam + 1e-3]
    if search_beam > 1000:
        assert len(inside) <= len(links) <= len(possible)
        if len(inside) == len(links):
            assert [x[:2] for x in links] == [x[:2] for x in inside]
            assert np.allclose([x[2:] for x in links], [x[2:] for x in inside], atol=2e-3)
    else:  # arcs into an active state that are themselves below the beam may be missing
        count = Counter(x[:2] for x in possible)
        assert not Counter(x[:2] for x in links) - count
        assert {x[0] for x in links if abs(x[3]) < 1e-4} == set(range(frames + 1)), "the best path"
