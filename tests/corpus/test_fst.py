"""Tests that damaged OpenFst files, and wrong sizes in their headers, are reported before memory is allocated."""

import struct

import kaldifst
import numpy as np
import pytest

from lstmp.corpus.fst import FstArrays, determinize, read_fst, sole_exits
from lstmp.errors import UserError

HEADER = 4 + 4 + 6 + 4 + 8  # bytes before version, flags, properties, start, states and arcs


def written(path):
    """Write the FST 0 → 1 → 2 with one arc each, and return the bytes of the file."""
    arrays = FstArrays(0, np.float32([np.inf, np.inf, 0.5]), np.int32([0, 1]), np.int32([1, 2]), np.int32([3, 0]),
                       np.float32([0.1, 0.2]), np.int32([1, 2]))
    arrays.write(path)
    return path.read_bytes()


def at(place, form, value):
    def change(data):
        return data[:place] + struct.pack(form, value) + data[place + struct.calcsize(form):]
    return change


BODY = HEADER + struct.calcsize("<iiQqqq")  # the first state: final weight, number of arcs, arcs
DAMAGES = {
    "cut off": lambda data: data[:-1], "longer": lambda data: data + b"\0" * 4, "empty": lambda data: b"",
    "another magic": at(0, "<i", 5), "a name of 2^31 letters": at(4, "<I", 2**32 - 1),
    "2^40 states": at(HEADER + 24, "<q", 2**40), "-5 states": at(HEADER + 24, "<q", -5),
    "start beyond": at(HEADER + 16, "<q", 3), "start below": at(HEADER + 16, "<q", -2),
    "-1 arcs": at(BODY + 4, "<q", -1), "2^31 - 1 arcs": at(BODY + 4, "<q", 2**31 - 1),
    "2^32 + 1 arcs": at(BODY + 4, "<q", 2**32 + 1), "arc to nowhere": at(BODY + 24, "<i", 3),
    "arc to -1": at(BODY + 24, "<i", -1), "input label -1": at(BODY + 12, "<i", -1),
    "output label -7": at(BODY + 16, "<i", -7), "weight nan": at(BODY + 20, "<f", np.nan),
    "weight -inf": at(BODY + 20, "<f", -np.inf), "final nan": at(BODY, "<f", np.nan),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("read", [read_fst, FstArrays.read])
def test_damaged_file_is_an_error(tmp_path, name, read):
    path = tmp_path / "x.fst"
    path.write_bytes(DAMAGES[name](written(path)))
    with pytest.raises(UserError, match=r"x\.fst: not a valid OpenFst file"):
        read(path)


def test_intact_file_is_read_by_both_functions(tmp_path):
    whole = written(tmp_path / "x.fst")
    assert read_fst(tmp_path / "x.fst").num_states == 3
    FstArrays.read(tmp_path / "x.fst").write(tmp_path / "y.fst")
    assert (tmp_path / "y.fst").read_bytes() == whole
    with pytest.raises(UserError, match="no such file"):
        FstArrays.read(tmp_path / "none")


def test_sole_exits_excludes_start_and_final_states():
    def exits(start, final):
        return sole_exits(FstArrays(start, np.float32(final), np.int32([0, 1, 1, 2]), *[np.int32([1, 1, 2, 1])] * 2,
                                    np.zeros(4, np.float32), np.int32([1, 2, 3, 3]))).tolist()

    never = np.inf
    assert exits(3, [never, never, never, 0]) == [True, False, False, True]
    assert exits(0, [never, never, never, 0]) == [False, False, False, True]
    assert exits(0, [never, never, 1.0, 0]) == [False, False, False, False]


def test_determinize_gives_up_on_an_acceptor_that_is_not_determinizable():
    fst = kaldifst.StdVectorFst()  # a* c and a (a a)* b, with weights that diverge
    for _ in range(5):
        fst.add_state()
    fst.start = 0
    for source, label, cost, to in ((0, 1, 0.7, 1), (1, 1, 0.7, 1), (1, 3, 0.7, 4), (0, 1, 0.7, 2), (2, 1, 0.2, 3),
                                    (3, 1, 0.9, 2), (2, 2, 0.1, 4)):
        fst.add_arc(source, kaldifst.StdArc(label, label, cost, to))
    fst.set_final(4, 0.0)
    assert determinize(fst, 1, 900) is None
    fst.set_final(3, 0.0)
    plain = kaldifst.StdVectorFst()
    for _ in range(3):
        plain.add_state()
    plain.start = 0
    for to in (1, 2):
        plain.add_arc(0, kaldifst.StdArc(1, 1, 1.0, to))
        plain.set_final(to, 0.0)
    result = FstArrays.of(determinize(plain, 10, 900))
    assert len(result.src) == 1 and result.weight[0] + result.final[1] == pytest.approx(1 - np.log(2), abs=1e-3)
