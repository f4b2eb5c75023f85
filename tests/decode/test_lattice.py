"""Reading and writing of lattices."""

import numpy as np
import pytest
import torch
from helpers.small_graphs import WIDE, SmallGraph, scores
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lstmp.decode.lattice import Lattice, read_info, read_lattices, write_lattices
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError


def some():
    return {f"utt{i}": decode_utterance(SmallGraph.random(i).engine(4), scores(i, 9), WIDE) for i in (3, 1)} | {
        "utt0": Lattice.empty()}


def test_lattices_are_read_as_they_were_written(tmp_path):
    written = some()
    write_lattices(tmp_path / "lat", written, {"key": "x", "failed": {"utt0": "é"}})
    read = read_lattices(tmp_path / "lat")
    assert list(read) == ["utt3", "utt1", "utt0"] and read["utt0"].num_arcs == 0
    for utt, lattice in written.items():
        for name in ("arcs", "acoustic", "graph", "num_words", "words"):
            assert np.array_equal(getattr(lattice, name), getattr(read[utt], name))
            assert getattr(lattice, name).dtype == getattr(read[utt], name).dtype
    assert read_info(tmp_path / "lat") == {"key": "x", "failed": {"utt0": "é"}}
    assert [p.name for p in tmp_path.iterdir()] == ["lat"]


def test_a_file_without_lattices(tmp_path):
    write_lattices(tmp_path / "lat", {})
    assert read_lattices(tmp_path / "lat") == {}


def test_damaged_files_are_errors(tmp_path):
    path = tmp_path / "lat"
    with pytest.raises(UserError, match=f"{path}: no such file"):
        read_lattices(path)
    write_lattices(path, some())
    whole = path.read_bytes()
    for part in (b"", whole[:5], whole[:200], whole[:-1], b"x" * 300):
        path.write_bytes(part)
        with pytest.raises(UserError, match=f"{path}: not a lattice file"):
            read_lattices(path)
        with pytest.raises(UserError, match=f"{path}: not a lattice file"):
            read_info(path)


def test_unsorted_arcs_are_an_error(tmp_path):
    lattice = some()["utt3"]
    backwards = lattice.arcs.copy()
    backwards[0, :2] = backwards[0, 1::-1]
    write_lattices(tmp_path / "lat", {"a": Lattice(backwards, lattice.acoustic, lattice.graph, lattice.num_words,
                                                   lattice.words)})
    with pytest.raises(UserError, match="its arrays are not consistent"):
        read_lattices(tmp_path / "lat")


DAMAGES = {
    "another dtype": lambda t: t.update(acoustic=t["acoustic"].double()),
    "states are bytes": lambda t: t.update(arcs=t["arcs"].to(torch.uint8)),
    "arcs of two columns": lambda t: t.update(arcs=t["arcs"][:, :2].contiguous()),
    "a split too few": lambda t: t.update(arc_splits=t["arc_splits"][:-1].clone()),
    "splits not sorted": lambda t: t["arc_splits"][1:2].fill_(10**9),
    "a split below 0": lambda t: t["arc_splits"][:1].sub_(1),
    "a word too few": lambda t: t.update(words=t["words"][:-1].clone()),
    "a word of 0": lambda t: t["words"][:1].zero_(),
    "a label of 0": lambda t: t["arcs"][0, 2:].zero_(),
    "a label of -2": lambda t: t["arcs"][0, 2:].fill_(-2),
    "a state of -1": lambda t: t["arcs"][0, :1].fill_(-1),
    "a state of 2^31 - 1": lambda t: t["arcs"][0, 1:2].fill_(2**31 - 1),
    "a score that is NaN": lambda t: t["graph"][:1].fill_(float("nan")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_inconsistent_arrays_are_errors(tmp_path, name):
    write_lattices(tmp_path / "lat", some())
    tensors = load_file(tmp_path / "lat")
    with safe_open(tmp_path / "lat", "pt") as f:
        metadata = f.metadata()
    DAMAGES[name](tensors)
    save_file(tensors, tmp_path / "lat", metadata)
    with pytest.raises(UserError, match="its arrays are not consistent"):
        read_lattices(tmp_path / "lat")


@pytest.mark.parametrize("changes", [
    {"utts": "[1, 2, 3]"}, {"utts": '{"a": 1}'}, {"utts": "["}, {"utts": '["a", "a", "b"]'}, {"info": "[]"},
    {"info": "[" * 100_000}, {"format": "x"}])
def test_invalid_metadata_is_an_error(tmp_path, changes):
    write_lattices(tmp_path / "lat", some())
    with safe_open(tmp_path / "lat", "pt") as f:
        metadata = f.metadata()
    save_file(load_file(tmp_path / "lat"), tmp_path / "lat", metadata | changes)
    for read in (read_lattices, read_info):
        with pytest.raises(UserError, match="not a lattice file, or a damaged one"):
            read(tmp_path / "lat")
