"""Reading a grid.yaml (which networks to train, with which seeds), and errors in it."""

import pytest

from lstmp.errors import UserError
from lstmp.experiment.grid_file import load
from lstmp.paths import ROOT


def test_keys_of_a_network_override_common_keys_which_override_the_defaults(toy_grid):
    networks = {name: network.config for name, network in load(toy_grid.write()).networks.items()}
    assert networks["small"].cells == 8 and networks["large"].cells == 16
    assert networks["large"].epochs == 2 and networks["once"].layers == 1
    assert networks["small"].peepholes is True  # the default in conf/lstmp.yaml
    assert networks["small"].feature.kind == "fbank" and networks["small"].feature.cmvn == "none"


def test_the_first_seeds_of_all_networks_are_run_first(toy_grid):
    grid = load(toy_grid.write())
    assert [(r.network, r.seed) for r in grid.runs()] == [("small", 1), ("large", 1), ("once", 3), ("small", 2),
                                                          ("large", 2)]
    assert [r.config.seed for r in grid.runs()] == [1, 1, 3, 2, 2]
    assert [r.seed for r in grid.runs(["large"])] == [1, 2]
    assert str(grid.runs()[0].folder).endswith("exp/small/seed1")


@pytest.mark.parametrize("changed, message", [
    ({"setz": []}, "unknown key `setz`"),
    ({"common": {"cels": 8}}, "common.cels"),
    ({"common": {"cells": "many"}}, "cells"),
    ({"common": {"cells": 0}}, "at least 1"),
    ({"networks": {}}, "must be a group"),
    ({"networks": {"a b": {}}}, "must be named with letters"),
    ({"networks": {"a": {"source": "other"}}}, "unknown source `other`"),
    ({"networks": {"a": {"seeds": []}}, "claims": []}, "list of different numbers"),
    ({"networks": {"a": {"seeds": [1, 1]}}, "claims": []}, "list of different numbers"),
    ({"networks": {"a": {}}}, "unknown network `large` in a claim"),
    ({"baseline": "smaller"}, "unknown network `smaller`"),
    ({"claims": [{"text": "It is so."}]}, "either comparisons or the reason"),
    ({"claims": [{"text": "So.", "comparisons": [{"first": "small", "second": "large", "measure": "beauty"}]}]},
     "measure` must be one of"),
    ({"claims": [{"text": "So.", "comparisons": [
        {"first": "small", "second": "large", "measure": "wer", "relation": "equal"}]}]}, "margin` must be above 0"),
    ({"sets": [], "claims_on": "dev"}, "unknown set `dev`"),
    ({"curves": {"all": ["small", "smell"]}}, "unknown network `smell` in `curves`"),
    ({"curves": {"size": ["small"]}}, "a picture in `curves` cannot be named `size`"),
    ({"levels": ["high"]}, "`levels` must be a number"),
    ({"rates": -1}, "`rates` must be above 0"),
    ({"shares": "elsewhere"}, "`shares`: no grid.yaml in elsewhere"),
    ({"looks": 0}, "`looks` must be 1 or more"),
    ({"rates": 0.5, "networks": {"small": {}, "large": {"init": "small"}}}, "network `large` needs `lr_initial`"),
    ({"claims": [{"text": "So.", "comparisons": [{"first": "small", "second": "large", "measure": "gap"}]}]},
     "relation` must be more or equal for the gap"),
    ({"networks": {"small": {}, "large": {"init": "small"}}, "claims": [{"text": "So.", "comparisons": [
        {"first": "small", "second": "large", "measure": "epochs"}]}]}, "starts from another one, so its epochs"),
    ({"networks": {"small": {"paper": {"name": "A", "wor": 1.0}}, "large": {}}}, "small.paper.wor"),
    ({"sets": ["dev", "test"]}, "`sources.tied.decode` has no folder for the set dev"),
    ({"sources": {"tied": {"train": "x"}}}, "sources.tied.ali` is missing")])
def test_errors_name_what_is_wrong(toy_grid, changed, message):
    with pytest.raises(UserError) as e:
        load(toy_grid.write(**changed)).runs()
    assert message in str(e.value)


def test_an_unknown_network_is_named(toy_grid):
    with pytest.raises(UserError, match="unknown network `lerge`"):
        load(toy_grid.write()).runs(["lerge"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/**/grid.yaml")), ids=lambda p: p.parent.name)
def test_the_committed_grids_can_be_read(path):
    grid = load(path)
    assert len(grid.runs()) >= len(grid.networks) > 3
