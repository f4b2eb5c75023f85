"""Tests of reading a lang folder, in particular a damaged one."""

import pytest

from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang, read_names
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.errors import UserError


@pytest.fixture
def lang_dir(tmp_path):
    (tmp_path / "lexicon").write_text("A AH0\nBAT B AE1 T\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    return tmp_path / "lang"


@pytest.mark.parametrize("name, old, new, message", [
    ("words.txt", "<eps> 0\n", "", "words.txt: the symbol <eps> with the id 0 is missing"),
    ("words.txt", "BAT 4", "BAT", "words.txt:5: expected `symbol id`"),
    ("words.txt", "BAT 4", "BAT 3", "words.txt: an id is given twice"),
    ("words.txt", "BAT 4", "A 4", "words.txt:5: symbol A is given twice"),
    ("words.txt", "BAT 4\n", "", "lexiconp.txt:4: BAT is not in the symbol table"),
    ("phones.txt", "SIL 1", "SIL one", "phones.txt:2: expected `symbol id`"),
    ("lexiconp.txt", "AE1_I", "OY_I", "lexiconp.txt:4: OY_I is not in the symbol table"),
    ("lexiconp.txt", "BAT 1.0", "BAT x", "lexiconp.txt:4: expected a probability, found x"),
    ("lexiconp.txt", "A 1.0 AH0_S", "A 1.0", "lexiconp.txt:3: expected `word probability phones`"),
    ("phones/silence.int", "1\n", "999\n", "silence.int:1: id 999 is not in the symbol table"),
    ("phones/sets.int", "1 2", "1 x", "sets.int:1: expected ids"),
    ("phones/roots.int", "not-shared", "unshared", "roots.int:1: expected `shared|not-shared"),
    ("phones/optional_silence.int", "1\n", "1\n2\n", "optional_silence.int: expected one entry, found 2"),
    ("oov.int", "2", "77", "oov.int:1: id 77 is not in the symbol table"),
    ("silprob.txt", "0.5", "5", "silprob.txt:1: expected a probability"),
    ("topo", "</TopologyEntry>", "", "topo:"),
])
def test_damaged_file_is_an_error(lang_dir, name, old, new, message):
    text = (lang_dir / name).read_text()
    assert old in text
    (lang_dir / name).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as e:
        Lang.load(lang_dir)
    assert message in str(e.value)


@pytest.mark.parametrize("name", ["words.txt", "phones/sets.int", "topo", "silprob.txt"])
def test_missing_file_is_an_error(lang_dir, name):
    (lang_dir / name).unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        Lang.load(lang_dir)
    with pytest.raises(UserError, match="no such lang folder"):
        Lang.load(lang_dir / "nowhere")


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b[:-7], lambda b: b"x" + b[1:], lambda b: b + b"1234",
                                    lambda b: b""])
def test_damaged_fst_is_an_error(lang_dir, damage):
    path = lang_dir / "L.fst"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="L.fst: not a valid OpenFst file"):
        FstArrays.read(path)


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b[:-7], lambda b: b"x" + b[1:], lambda b: b""])
def test_damaged_fst_is_an_error_of_read_fst(lang_dir, damage):
    path = lang_dir / "L.fst"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="L.fst: not a valid OpenFst file"):
        read_fst(path)


def test_fst_arrays_round_trip(lang_dir):
    """Arrays, file and kaldifst agree on states, arcs and weights."""
    fst = read_fst(lang_dir / "L.fst")
    arrays = FstArrays.read(lang_dir / "L.fst")
    assert arrays.to_fst().to_str() == fst.to_str()
    assert len(arrays.final) == fst.num_states
    assert len(arrays.src) == sum(fst.num_arcs(s) for s in range(fst.num_states))


def test_names_are_read_again_after_the_file_changed(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("<eps> 0\nA 1\n")
    names = read_names(path)
    assert names == {0: "<eps>", 1: "A"} and read_names(str(path)) is names
    path.write_text("<eps> 0\nB 1\nC 2\n")
    assert read_names(path) == {0: "<eps>", 1: "B", 2: "C"}
    path.unlink()
    with pytest.raises(UserError, match="words.txt: no such file"):
        read_names(path)
