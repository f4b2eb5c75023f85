"""Lattices on disk."""

import numpy as np
import pytest
from small_graphs import WIDE, SmallGraph, scores

from lstmp.decode.lattice import Lattice, read_info, read_lattices, write_lattices
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError


def some():
    return {f"utt{i}": decode_utterance(SmallGraph.random(i).engine(4), scores(i, 9), WIDE) for i in (3, 1)} | {
        "utt0": Lattice.empty()}


def test_come_back_as_they_were(tmp_path):
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


def test_none_at_all(tmp_path):
    write_lattices(tmp_path / "lat", {})
    assert read_lattices(tmp_path / "lat") == {}


def test_damaged_files_are_named(tmp_path):
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


def test_parts_that_do_not_fit_are_told(tmp_path):
    lattice = some()["utt3"]
    backwards = lattice.arcs.copy()
    backwards[0, :2] = backwards[0, 1::-1]
    write_lattices(tmp_path / "lat", {"a": Lattice(backwards, lattice.acoustic, lattice.graph, lattice.num_words,
                                                   lattice.words)})
    with pytest.raises(UserError, match="do not fit together"):
        read_lattices(tmp_path / "lat")
