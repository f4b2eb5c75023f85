"""Tests of reading Kaldi's lang folders: the lexicon from L.fst, ConstFst files and symbol tables."""

import struct

import kaldifst
import numpy as np
import pytest

from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.kaldi_lang import read_l_fst
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.errors import UserError

# output of Kaldi's make_lexicon_fst.py for `CAT 1.0 K AE T`, `A 0.6 AH`, `A 0.4 EY`, `!SIL 1.0 SIL`, silence at 0.3
KALDI_L = """0 1 0 0 0.35667494
0 2 0 0 1.2039728
2 1 1 0
1 3 2 1
3 4 3 0
4 1 4 0 0.35667494
4 2 4 0 1.2039728
1 1 5 2 0.86750057
1 2 5 2 1.7147984
1 1 6 2 1.2729657
1 2 6 2 2.1202636
1 1 1 3 0.35667494
1 2 1 3 1.2039728
1 0
"""


def compile_fst(text: str, path):
    fst = kaldifst.compile(text)
    kaldifst.arcsort(fst, sort_type="olabel")
    fst.write(str(path))
    return path


def test_lexicon_is_read_from_l_fst(tmp_path):
    lexicon, sil_prob = read_l_fst(compile_fst(KALDI_L, tmp_path / "L.fst"), optional_silence=1)
    assert sil_prob == pytest.approx(0.3, abs=1e-6)
    assert {w: sorted(prons, key=lambda x: x[1]) for w, prons in lexicon.items()} == {
        1: [(1.0, (2, 3, 4))], 2: [(0.6, (5,)), (0.4, (6,))], 3: [(1.0, (1,))]}


def test_missing_optional_silence_is_warned_of(tmp_path, capsys):
    text = "0 1 2 1\n1 0 3 0\n0 0 5 2 0.6931472\n0 0\n"
    assert read_l_fst(compile_fst(text, tmp_path / "L.fst"), 1) == ({1: [(1.0, (2, 3))], 2: [(0.5, (5,))]}, 0.5)
    assert "the lexicon has no optional silence" in capsys.readouterr().err


@pytest.mark.parametrize("text,message", [
    ("0 1 2 1\n1 0 3 2\n0 0\n", "2 states have arcs with words"),
    ("0 1 2 1\n1 1 3 0\n1 0 3 0\n0 0\n", "does not lead back"),
    ("0 1 2 1\n1 1 0 0\n1 0 3 0\n0 0\n", "does not lead back"),  # a cycle without a phone
    ("0 1 2 1\n" + "".join(f"{s} {s + 1} {p} 0\n" for s in range(1, 60) for p in (3, 4)) + "60 0 3 0\n0 0\n",
     "does not lead back"),
    ("0 1 2 0\n1 0\n", "0 states have arcs with words")])
def test_other_structure_of_l_fst_is_an_error(tmp_path, text, message):
    with pytest.raises(UserError, match=f"L.fst: .*{message}.*; put a lexiconp.txt"):
        read_l_fst(compile_fst(text, tmp_path / "L.fst"), 1)


def test_very_long_path_is_an_error(tmp_path):
    """The time of reading grows with the square of the length."""
    chain = "0 1 2 1\n" + "".join(f"{s} {s + 1} 3 0\n" for s in range(1, 1100)) + "1100 0 3 0\n0 0\n"
    with pytest.raises(UserError, match="L.fst: the path of word 1 does not lead back"):
        read_l_fst(compile_fst(chain, tmp_path / "L.fst"), 1)


def test_lang_folder_without_lexiconp_is_read(tmp_path):
    (tmp_path / "lexicon").write_text("A AH0\nA EY1\nBAT B AE1 T\nBAT B AH0 T\nTAB T AE1 B\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.4)
    ours = Lang.load(tmp_path / "lang")
    for name in ("lexiconp.txt", "silprob.txt"):
        (tmp_path / "lang" / name).unlink()
    theirs = Lang.load(tmp_path / "lang")
    assert theirs.sil_prob == ours.sil_prob == 0.4
    assert {w: sorted(p) for w, p in theirs.lexicon.items()} == {w: sorted(p) for w, p in ours.lexicon.items()}
    assert theirs.word_ids(("BAT", "NEVER")) == ours.word_ids(("BAT", "NEVER"))


@pytest.mark.parametrize("table,what", [("words.txt", "word"), ("phones.txt", "phone")])
def test_label_missing_from_symbol_table_is_an_error(tmp_path, table, what):
    (tmp_path / "lexicon").write_text("A AH0\nBAT B AE1 T\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.4)
    for name in ("lexiconp.txt", "silprob.txt"):
        (tmp_path / "lang" / name).unlink()
    arrays = FstArrays.read(tmp_path / "lang" / "L.fst")
    labels = arrays.olabel if what == "word" else arrays.ilabel
    labels[labels > 0] = np.where(labels == labels.max(), 4711, labels)[labels > 0]
    arrays.write(tmp_path / "lang" / "L.fst")
    with pytest.raises(UserError, match=rf"L\.fst: {what} 4711 is not in {table}; use"):
        Lang.load(tmp_path / "lang")


@pytest.fixture
def fst(tmp_path):
    return kaldifst.StdVectorFst.read(str(compile_fst(KALDI_L, tmp_path / "v.fst")))


def same(a: FstArrays, b: FstArrays):
    assert a.start == b.start
    for name in ("final", "src", "ilabel", "olabel", "weight", "dst"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_const_fst_written_by_openfst_is_read(fst, tmp_path):
    kaldifst.StdConstFst(fst).write(str(tmp_path / "c.fst"))
    same(FstArrays.read(tmp_path / "c.fst"), FstArrays.read(tmp_path / "v.fst"))
    assert read_fst(tmp_path / "c.fst").to_str() == fst.to_str()
    whole = (tmp_path / "c.fst").read_bytes()
    for damaged in (whole[:-1], whole + b"\0" * 16, whole[:200], whole[:70]):
        (tmp_path / "d.fst").write_bytes(damaged)
        with pytest.raises(UserError, match="d.fst: not a valid OpenFst file"):
            FstArrays.read(tmp_path / "d.fst")


@pytest.mark.parametrize("field,value", [(0, struct.pack("<i", -2)), (1, struct.pack("<i", -1)),
                                         (2, struct.pack("<f", float("nan"))), (2, struct.pack("<f", -float("inf"))),
                                         (3, struct.pack("<i", 5)), (3, struct.pack("<i", -1))])
def test_const_fst_with_invalid_numbers_is_an_error(fst, tmp_path, field, value):
    """Negative labels, weights of NaN or −inf, and destinations that do not exist, in the last arc."""
    kaldifst.StdConstFst(fst).write(str(tmp_path / "c.fst"))
    whole = bytearray((tmp_path / "c.fst").read_bytes())
    at = len(whole) - 16 + 4 * field
    whole[at:at + 4] = value
    (tmp_path / "c.fst").write_bytes(whole)
    for read in (read_fst, FstArrays.read):
        with pytest.raises(UserError, match="c.fst: not a valid OpenFst file"):
            read(tmp_path / "c.fst")


def test_aligned_const_fst_is_read(fst, tmp_path):
    """States and arcs begin at multiples of 16 bytes; the file is constructed from the unaligned one."""
    kaldifst.StdConstFst(fst).write(str(tmp_path / "c.fst"))
    whole = (tmp_path / "c.fst").read_bytes()
    header = len(whole) - 20 * 5 - 16 * 13
    out = bytearray(whole[:header])
    at = out.index(b"standard") + 8
    struct.pack_into("<ii", out, at, 1, 0)  # version 1 is aligned
    out += bytes(-len(out) % 16) + whole[header:header + 100]
    out += bytes(-len(out) % 16) + whole[header + 100:]
    (tmp_path / "a.fst").write_bytes(out)
    same(FstArrays.read(tmp_path / "a.fst"), FstArrays.read(tmp_path / "v.fst"))


def test_symbol_tables_are_skipped(fst, tmp_path):
    plain = (tmp_path / "v.fst").read_bytes()
    at = plain.index(b"standard") + 8
    header = at + struct.calcsize("<iiQqqq")
    table = struct.pack("<i", 2125658996) + struct.pack("<i", 5) + b"words" + struct.pack("<qq", 2, 2)
    for n, symbol in enumerate((b"<eps>", "Ä".encode())):
        table += struct.pack("<i", len(symbol)) + symbol + struct.pack("<q", n)
    for flags, count in ((1, 1), (2, 1), (3, 2)):
        out = bytearray(plain[:header] + count * table + plain[header:])
        struct.pack_into("<i", out, at + 4, flags)
        (tmp_path / "s.fst").write_bytes(out)
        same(FstArrays.read(tmp_path / "s.fst"), FstArrays.read(tmp_path / "v.fst"))
        assert read_fst(tmp_path / "s.fst").to_str() == fst.to_str()
        for cut in range(header + 1, header + len(table), 7):
            (tmp_path / "s.fst").write_bytes(out[:cut])
            with pytest.raises(UserError, match="s.fst: not a valid OpenFst file"):
                FstArrays.read(tmp_path / "s.fst")


def test_other_fst_type_is_named_in_the_error(fst, tmp_path):
    data = (tmp_path / "v.fst").read_bytes().replace(b"\x08\0\0\0standard", b"\x03\0\0\0log")
    (tmp_path / "l.fst").write_bytes(data)
    with pytest.raises(UserError, match="l.fst: an FST of the type `vector log` cannot be read, only vector or const"):
        FstArrays.read(tmp_path / "l.fst")
