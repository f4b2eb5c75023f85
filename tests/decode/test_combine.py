"""Combination of decodings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import decode_config
from helpers.lattices import WORDS, some_lattice

from lstmp.decode.combine import Systems, combine, hypotheses, main
from lstmp.decode.lattice import Lattice, read_lattices, write_lattices
from lstmp.errors import UserError

CFG = replace(decode_config(), lm_weights=[1, 2], word_penalties=[0.0, 0.5])


@pytest.fixture
def dirs(tmp_path):
    """Two decode dirs of the same utterances, in different lattice files; nothing was found for d."""
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph/words.txt").write_text("<eps> 0\n" + "".join(f"w{i} {i}\n" for i in range(1, WORDS + 1)))
    made = []
    for jobs in ("ab", "cd"), ("cad", "b"):
        folder = tmp_path / f"system{len(made)}"
        folder.mkdir()
        for job, utts in enumerate(jobs):
            write_lattices(folder / f"lat.{job:04d}.safetensors", {
                utt: Lattice.empty() if utt == "d" else some_lattice(10 * len(made) + ord(utt))[0] for utt in utts})
        (folder / "decode.json").write_text(json.dumps(
            {"graph": str(tmp_path / "graph"), "data": "data/dev", "audio_seconds": 10.0, "core_seconds": 2.0}))
        made.append(folder)
    return made


def lattices(folder):
    return {utt: x for path in folder.glob("lat.*") for utt, x in read_lattices(path).items()}


def systems(dirs, weights=(1.0, 1.0), offsets=(0.0, 0.0)):
    return Systems(list(dirs), list(weights), list(offsets))


def written(out):
    return {path.name: path.read_text() for path in (out / "scoring").iterdir()}


@pytest.mark.parametrize("nj", [1, 2])
def test_hypotheses_of_all_utterances(dirs, tmp_path, nj):
    both = systems(dirs, (0.4, 0.6), (0.0, 1.0))
    combine(both, tmp_path / "out", CFG, nj)
    points = [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    first, second = map(lattices, dirs)
    files = written(tmp_path / "out")
    assert sorted(files) == ["1_0.0.txt", "1_0.5.txt", "2_0.0.txt", "2_0.5.txt"]
    for index, (w, p) in enumerate(points):
        lines = [" ".join([utt, *(f"w{i}" for i in hypotheses([first[utt], second[utt]], both, points)[index])])
                 for utt in "abcd"]
        assert files[f"{w}_{p}.txt"].splitlines() == lines
    assert lines[3] == "d"
    record = json.loads((tmp_path / "out/decode.json").read_text())
    assert (record["utterances"], record["failed"], record["data"]) == (4, 1, "data/dev")
    assert record["core_seconds"] >= 4 and record["rtf"] >= 0.4
    assert record["combined"] == [str(d) for d in dirs]


def test_a_sentence_does_not_count_for_more_because_it_can_be_aligned_in_several_ways():
    probable = np.log([0.4, 0.2, 0.2, 0.2])  # of the word 1, and of the word 2 in three ways
    arcs = [(0, i, i) for i in range(1, 5)] + [(i, 5, -1) for i in range(1, 5)]
    lattice = Lattice.assembled(np.array(arcs), np.zeros(8), np.append(probable, np.zeros(4)), np.repeat([1, 0], 4),
                                np.array([1, 2, 2, 2]))
    alone = Systems([Path()], [1.0], [0.0])
    assert hypotheses([lattice], alone, [(1, 0.0)]) == [[1]]
    undecided = replace(lattice, graph=np.zeros(8, np.float32))
    both = Systems([Path()] * 2, [1.0, 1.0], [0.0, 0.0])
    assert hypotheses([undecided, lattice], both, [(1, 0.0)]) == [[1]]


def test_a_lattice_without_a_complete_path_does_not_count():
    arcs = np.array([(0, 1, 1), (1, 2, -1)])
    whole = Lattice.assembled(arcs, np.zeros(2), np.zeros(2), np.array([1, 0]), np.array([3]))
    broken = Lattice.assembled(arcs + [[0, 0, 0], [1, 1, 0]], np.zeros(2), np.zeros(2), np.array([1, 0]), np.array([4]))
    both = Systems([Path()] * 2, [9.0, 1.0], [0.0, 0.0])
    assert hypotheses([broken, whole], both, [(1, 0.0)]) == [[3]]
    assert hypotheses([broken, broken], both, [(1, 0.0)]) == [[]]


def test_a_very_small_weight_is_that_of_one_system_alone(dirs, tmp_path):
    combine(systems(dirs, (1.0, 1e-12)), tmp_path / "out", CFG, 1)
    combine(systems(dirs[:1], (3.0,), (0.0,)), tmp_path / "alone", CFG, 1)
    assert written(tmp_path / "out") == written(tmp_path / "alone")
    combine(systems(dirs, (1e-12, 1.0)), tmp_path / "other", CFG, 1)
    assert written(tmp_path / "other") != written(tmp_path / "alone")


def test_an_offset_is_another_lm_weight(dirs, tmp_path):
    combine(systems(dirs[:1], (1.0,), (1.0,)), tmp_path / "out", CFG, 1)
    combine(systems(dirs[:1], (1.0,), (0.0,)), tmp_path / "alone", CFG, 1)
    assert written(tmp_path / "out")["1_0.5.txt"] == written(tmp_path / "alone")["2_0.5.txt"]


def test_a_missing_utterance_is_decided_by_the_other_system(dirs, tmp_path, capsys):
    kept = lattices(dirs[1])
    for path in dirs[1].glob("lat.*"):
        path.unlink()
    write_lattices(dirs[1] / "lat.0000.safetensors", {"b": kept["b"], "z": kept["b"]})
    combine(systems(dirs), tmp_path / "out", CFG, 1)
    assert f"{dirs[1]}: 3 utterances of {dirs[0]} are missing, for which the other systems decide; 1 others" \
        in capsys.readouterr().err
    combine(systems(dirs[:1], (1.0,), (0.0,)), tmp_path / "alone", CFG, 1)
    mine, alone = (written(tmp_path / name)["2_0.5.txt"].splitlines() for name in ("out", "alone"))
    assert [mine[0], *mine[2:]] == [alone[0], *alone[2:]]
    write_lattices(dirs[1] / "lat.0000.safetensors", {"z": kept["b"]})
    with pytest.raises(UserError, match="no utterance in common"):
        combine(systems(dirs), tmp_path / "out", CFG, 1)


def test_done_once(dirs, tmp_path, capsys):
    combine(systems(dirs), tmp_path / "out", CFG, 1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.txt")}
    combine(systems(dirs), tmp_path / "out", CFG, 1)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.txt")}
    combine(systems(dirs), tmp_path / "out", replace(CFG, lm_weights=[3]), 1)
    assert sorted(written(tmp_path / "out")) == ["3_0.0.txt", "3_0.5.txt"]  # those of the earlier grid are removed


def test_errors_are_one_line(dirs, tmp_path, capsys):
    def error(*options):
        with pytest.raises(SystemExit) as e:
            main(["--in", *map(str, dirs), "--out", str(tmp_path / "out"), "--config", "conf/decode.yaml", *options])
        assert e.value.code == 1
        return capsys.readouterr().err.strip()

    assert "1 weights for 2 systems" in error("--weights", "1")
    assert "3 LM offsets for 2 systems" in error("--lm-offsets", "1", "2", "3")
    assert "a weight is not greater than zero" in error("--weights", "1", "0")
    assert "a weight is not greater than zero" in error("--weights", "1", "nan")
    assert "LM weight 7 with the offset -7 is not above zero" in error("--lm-offsets", "0", "-7")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/words.txt").write_text("<eps> 0\nother 1\n")
    record = json.loads((dirs[1] / "decode.json").read_text())
    (dirs[1] / "decode.json").write_text(json.dumps(record | {"graph": str(tmp_path / "more")}))
    assert "not the same words" in error() and "more/words.txt" in error()
    (dirs[1] / "decode.json").write_text("{}")
    assert "does not name its graph" in error()
    for path in dirs[1].glob("lat.*"):
        path.unlink()
    assert "no lattices in it" in error()
    (dirs[1] / "decode.json").unlink()
    assert "decode.json" in error()
    assert not (tmp_path / "out/decode.json").exists()
