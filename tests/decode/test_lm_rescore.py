"""LM rescoring, compared with the scores of all paths by the definition of a back-off LM."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.decoding import decode_config
from helpers.lattices import WORDS, lattice_of, lm_score, random_lm
from helpers.small_graphs import all_paths
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import read_symbols
from lstmp.decode import lm_rescore
from lstmp.decode.backoff_lm import BackoffLm
from lstmp.decode.best_path import best_paths
from lstmp.decode.lattice import Lattice, read_lattices, write_lattices
from lstmp.decode.lm_rescore import Rescorer, rescore
from lstmp.errors import UserError


def path_scores(lattice):
    """(labels, words) → (acoustic, graph) scores of the best path with them, by enumeration of all paths."""
    best = {}
    for path in all_paths(lattice):
        key = tuple(lattice.arcs[path, 2].tolist()), tuple(lattice.words_on(path))
        graph = float(lattice.graph[path].astype(float).sum())
        if key not in best or graph > best[key][1]:
            best[key] = float(lattice.acoustic[path].astype(float).sum()), graph
    return best


@pytest.fixture(scope="module")
def lms(tmp_path_factory):
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("lms")
    return folder, *(random_lm(folder / name, rng) for name in ("old", "new"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 6))
def test_every_path_gets_its_new_score(lms, seed, frames):
    folder, old, new = lms
    lattice = lattice_of(seed, frames)
    assume(lattice is not None)
    rescorer = Rescorer(BackoffLm(folder / "old"), BackoffLm(folder / "new"), 1.0, 10**6)
    composed, num_frames = rescorer.compose(lattice)
    assert num_frames == frames
    by_numpy, num_frames = rescorer.compose(lattice, native=False)
    assert num_frames == frames
    for name in ("arcs", "acoustic", "graph", "num_words", "words"):
        assert np.array_equal(getattr(composed, name), getattr(by_numpy, name)), name
    before, after = path_scores(lattice), path_scores(composed)
    assert set(before) == set(after)
    for key, (acoustic, graph) in before.items():
        assert after[key][0] == pytest.approx(acoustic, abs=1e-4)
        assert after[key][1] == pytest.approx(graph - lm_score(old, key[1]) + lm_score(new, key[1]), abs=1e-3)
    whole, best = rescorer(lattice), max(a + g for a, g in after.values())
    assert max(a + g for a, g in path_scores(whole).values()) == pytest.approx(best, abs=1e-3)
    words = {key[1] for key in path_scores(whole)}
    assert {w for ws in words for w in ws} == {w for key in after for w in key[1]}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_limit_of_word_arcs_keeps_the_best_path(lms, seed):
    folder, *_ = lms
    lattice = lattice_of(seed, 6)
    assume(lattice is not None)
    models = BackoffLm(folder / "old"), BackoffLm(folder / "new")
    whole, few = Rescorer(*models, 0.5, 10**6)(lattice), Rescorer(*models, 0.5, 2)(lattice)
    states = np.unique(few.arcs[:, :2])  # of the pruned lattice, numbered anew: a file with gaps counts as damaged
    assert np.array_equal(states, np.arange(len(states)))
    assert few.num_arcs <= whole.num_arcs
    (one,), (two,) = (best_paths(x, [(2, 0.0)]) for x in (whole, few))
    assert whole.words_on(one) == few.words_on(two)


def test_the_automaton_gives_the_scores_of_the_lm(lms):
    folder, old, _ = lms
    lm = BackoffLm(folder / "old")
    rng = np.random.default_rng(0)
    for _ in range(50):
        words, state, total = rng.integers(1, WORDS + 1, rng.integers(0, 6)).tolist(), np.array([lm.start]), 0.0
        for word in words:
            state, score = lm.step(state, np.array([word]))
            total += float(score[0])
        assert total + float(lm.final(state)[0]) == pytest.approx(lm_score(old, words), abs=1e-5)
    assert lm.step(np.array([lm.start]), np.array([99]))[1].tolist() == [-math.inf]


def test_back_offs_around_are_one_line(tmp_path):
    """Whoever follows them would never come to an end."""
    random_lm(tmp_path / "lm", np.random.default_rng(1))
    g = FstArrays.read(tmp_path / "lm" / "G.fst")
    g.ilabel[:] = read_symbols(tmp_path / "lm" / "words.txt")["#0"]
    g.dst[:] = g.src
    g.write(tmp_path / "lm" / "G.fst")
    with pytest.raises(UserError, match="G.fst: state 0 is on a cycle of arcs without a word"):
        BackoffLm(tmp_path / "lm")


def test_words_that_are_not_in_an_lm(tmp_path):
    rng = np.random.default_rng(1)
    random_lm(tmp_path / "all", rng)
    random_lm(tmp_path / "few", rng, known=range(1, WORDS))
    every, few = BackoffLm(tmp_path / "all"), BackoffLm(tmp_path / "few")
    lattice = Lattice(np.array([[0, 1, 1], [0, 2, 2], [1, 3, -1], [2, 3, -1]], np.int32), np.zeros(4, np.float32),
                      np.zeros(4, np.float32), np.array([1, 1, 0, 0], np.uint8), np.array([WORDS, 1], np.int32))
    kept = Rescorer(every, few, 1.0, 100)(lattice)
    assert [kept.words_on(p) for p in all_paths(kept)] == [[1]]
    only = replace(lattice, words=np.array([WORDS, WORDS], np.int32))
    assert Rescorer(every, few, 1.0, 100)(only).num_arcs == 0
    with pytest.raises(UserError, match="words that are not in the LM given as --lang"):
        Rescorer(few, every, 1.0, 100)(lattice)


@pytest.fixture
def decoded(tmp_path, lms):
    folder = tmp_path / "decode"
    folder.mkdir()
    lattices = {f"u{i}": x for i in range(8) if (x := lattice_of(i, 5)) is not None}
    info = {"failed": {}, "arcs": 0, "seconds": 1.0, "core_seconds": 1.0, "frames": 40, "utterances": len(lattices)}
    write_lattices(folder / "lat.0000.safetensors", lattices, info)
    (folder / "decode.json").write_text(json.dumps({"seconds": 9.0, "core_seconds": 5.0, "audio_seconds": 10.0,
                                                    "utterances": len(lattices), "failed": 0, "rtf": 0.5}))
    return folder


def test_a_decode_dir_is_rescored(lms, decoded, tmp_path, capsys):
    out = tmp_path / "new"
    args = ["--lang", str(lms[0] / "old"), "--new-lang", str(lms[0] / "new"), "--in", str(decoded), "--out", str(out)]
    rescore(lms[0] / "old", lms[0] / "new", decoded, out, decode_config(), 1)
    report = json.loads((out / "decode.json").read_text())
    assert report["core_seconds"] >= 5.0 and report["rtf"] >= 0.5 and report["lm"].endswith("new")
    before, after = (read_lattices(d / "lat.0000.safetensors") for d in (decoded, out))
    assert list(before) == list(after) and all(x.num_arcs for x in after.values())
    assert len(list((out / "scoring").glob("*.txt"))) == 4
    capsys.readouterr()
    rescore(lms[0] / "old", lms[0] / "new", decoded, out, decode_config(), 1)
    assert capsys.readouterr().out.count("is done") == 2
    (lms[0] / "old" / "words.txt").rename(lms[0] / "old" / "kept.txt")
    (lms[0] / "old" / "words.txt").write_text("<eps> 0\n#0 1\n")
    try:
        with pytest.raises(SystemExit):
            lm_rescore.main([*args, "--config", "conf/decode.yaml"])
        assert "not the same words as in" in capsys.readouterr().err
    finally:
        (lms[0] / "old" / "kept.txt").rename(lms[0] / "old" / "words.txt")


def test_missing_input_is_an_error(lms, tmp_path):
    with pytest.raises(UserError, match="no lattices in it"):
        rescore(lms[0] / "old", lms[0] / "new", tmp_path, tmp_path / "out", decode_config(), 1)
    with pytest.raises(UserError, match="G.fst: no such file"):
        BackoffLm(tmp_path)
