"""Model folders with damaged files or files that do not fit together are errors when they are read."""

import json

import numpy as np
import pytest
import torch
from helpers.random_hmms import random_lang, random_transitions, random_tree
from safetensors.torch import load_file, save_file

from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.tree import Tree


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    lang = random_lang(rng)
    tree = random_tree(lang, rng)
    size = tree.num_pdfs
    gmms = DiagGmms(torch.arange(size + 1), torch.ones(size), torch.randn(size, 4), torch.ones(size, 4))
    AcousticModel(random_transitions(lang, tree, rng), tree, gmms, FeatureConfig("mfcc", "none", 0),
                  torch.eye(4)).save(tmp_path)
    return tmp_path


def of(name, change):
    def damage(tensors):
        tensors[name] = change(tensors[name].clone())
    return damage


def put(index, value):
    def change(t):
        t.view(-1)[index] = value
        return t
    return change


@pytest.mark.parametrize("damage, message", [
    (of("offsets", put(1, -5)), "the shapes of its mixtures do not fit together"),
    (of("offsets", put(-1, 10**9)), "do not fit"),
    (of("offsets", lambda t: t[:1].clone()), "do not fit"), (of("offsets", lambda t: t.float()), "do not fit"),
    (of("means", lambda t: t[:, :2].clone()), "do not fit"), (of("weights", lambda t: t[1:].clone()), "do not fit"),
    (of("means", put(3, float("nan"))), "values that are not finite or variances that are not positive"),
    (of("variances", put(3, 0.0)), "values that are not finite or variances that are not positive"),
    (of("variances", put(3, float("inf"))), "values that are not finite or variances that are not positive"),
    (of("transform", lambda t: t[:3].clone()), "do not fit"), (of("transform", lambda t: t.view(-1)), "do not fit"),
    (lambda t: t.pop("weights"), "no weights in it"), (lambda t: t.pop("log_prob"), "do not fit `topo`"),
    (of("tuples", put(0, -1)), "do not fit `topo`"), (of("tuples", put(2, 10**9)), "do not fit `topo`"),
    (of("tuples", put(1, 77)), "do not fit `topo`"), (of("tuples", lambda t: t[:, :2].clone()), "do not fit `topo`"),
    (of("log_prob", put(1, float("nan"))), "do not fit `topo`"), (of("log_prob", lambda t: t[1:].clone()), "`topo`")])
def test_damaged_tensors_are_errors(folder, damage, message):
    path = folder / "final.safetensors"
    AcousticModel.load(folder)
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    with pytest.raises(UserError, match=rf"final\.safetensors: .*{message}"):
        AcousticModel.load(folder)


LEAF = {"context_width": 1, "central_position": 0, "roots": [{"for": [[1, 0]], "node": 0}]}


@pytest.mark.parametrize("changes", [
    {"context_width": 10**9}, {"context_width": "1"}, {"central_position": 1}, {"central_position": -1}, {"roots": []},
    {"roots": [{"for": [[1, 0]], "node": -1}]}, {"roots": [{"for": [[1, 0]], "node": 10**9}]},
    {"roots": [{"for": [[1]], "node": 0}]}, {"roots": [{"for": [["x", 0]], "node": 0}]}, {"roots": {"a": 1}},
    {"roots": [{"for": [[1, float("inf")]], "node": 0}]},
    {"roots": [{"for": [[1, 0]], "node": {"key": 1, "yes": [], "then": 0, "otherwise": 0}}]},
    {"roots": [{"for": [[1, 0]], "node": {"key": 0, "yes": ["a"], "then": 0, "otherwise": 0}}]},
    {"roots": [{"for": [[1, 0]], "node": {"key": 0.5, "yes": [1], "then": 0, "otherwise": 0}}]}])
def test_damaged_trees_are_errors(tmp_path, changes):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(LEAF))
    assert Tree.load(path).num_pdfs == 1
    path.write_text(json.dumps(LEAF | changes))
    with pytest.raises(UserError, match=r"tree\.json: not a decision tree, or cut off"):
        Tree.load(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_extremely_deep_trees_are_errors(tmp_path, text):
    (tmp_path / "tree.json").write_text(text)
    with pytest.raises(UserError, match="not a decision tree"):
        Tree.load(tmp_path / "tree.json")
