"""The decoding command with a small GMM, in separate processes where it forks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import ROOT
from helpers.decoding import CONFIG, GRAPH, PDFS, UTTS, arguments, write_data

from lstmp import config
from lstmp.decode import decode as command
from lstmp.decode.acoustic_scorer import load_acoustic_scorer
from lstmp.decode.decode import check_same_model, main
from lstmp.decode.jobs import plan
from lstmp.decode.lattice import read_info, read_lattices
from lstmp.errors import UserError
from lstmp.features.load import Features
from lstmp.graph.graph_file import NAME


def run(work, out="out", nj=1):
    """Run the command in a separate process, because a process that has searched cannot fork workers that search."""
    return subprocess.run([sys.executable, "-m", "lstmp.decode.decode", *arguments(work, out, nj)], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)


def hypotheses(folder):
    return {p.name: p.read_text() for p in (folder / "scoring").iterdir()}


def test_lattices_of_other_settings_or_features_are_not_reused(work):
    """A run that was killed has left finished jobs; the next run has other settings or features."""
    assert run(work).returncode == 0
    old_lattices = {p.name: p.read_bytes() for p in (work / "out").glob("lat.*")}
    for change in (lambda: (work / "decode.yaml").write_text(CONFIG.replace("output_beam: 8.0", "output_beam: 1.0")),
                   lambda: write_data(work / "data", {f"u{i}": 3 * i + 3 for i in range(UTTS)})):
        change()
        for mark in (work / "out").glob(".done.*"):
            mark.unlink()
        for name, content in old_lattices.items():
            (work / "out" / name).write_bytes(content)
        done, fresh = run(work), run(work, "fresh")
        assert done.returncode == fresh.returncode == 0, done.stderr + fresh.stderr
        assert "jobs are done already" not in done.stdout
        for path in sorted((work / "out").glob("lat.*")):
            one, two = read_lattices(path), read_lattices(work / "fresh" / path.name)
            assert list(one) == list(two) and all(np.array_equal(one[u].arcs, two[u].arcs) for u in one)
            assert path.read_bytes() != old_lattices[path.name]


def test_results_do_not_depend_on_the_number_of_processes(work):
    for nj in (1, 2):
        done = run(work, f"out{nj}", nj)
        assert done.returncode == 0, done.stderr
    assert hypotheses(work / "out1") == hypotheses(work / "out2") and len(hypotheses(work / "out1")) == 6
    for path in sorted((work / "out1").glob("lat.*")):
        one, two = read_lattices(path), read_lattices(work / "out2" / path.name)
        assert list(one) == list(two)
        for utt in one:
            assert np.array_equal(one[utt].arcs, two[utt].arcs) and np.array_equal(one[utt].acoustic, two[utt].acoustic)
    report = json.loads((work / "out2" / "decode.json").read_text())
    assert report["processes"] == 2 and report["failed"] == 0 and report["utterances"] == UTTS
    assert report["audio_seconds"] == pytest.approx(0.01 * sum(3 * i + 2 for i in range(UTTS)))
    assert report["rtf"] == pytest.approx(report["core_seconds"] / report["audio_seconds"], abs=0.01)
    assert report["data"] == str(work / "data") and report["mean_lattice_arcs"] > 0


def test_hypotheses_are_those_of_an_exhaustive_search(work):
    assert run(work).returncode == 0
    scorer = load_acoustic_scorer(work / "model")
    features = Features(work / "data", scorer.feature)
    lines = (work / "out" / "scoring" / "2_0.0.txt").read_text().splitlines()
    for utt, line in zip(features.utts, lines, strict=True):
        _, words = GRAPH.viterbi(scorer([features.load(utt)])[0], 0.5)
        assert line.split() == [utt, *(f"w{i}" for i in words)]


def test_the_longest_utterances_come_first_and_finished_jobs_are_kept(work):
    assert run(work).returncode == 0
    jobs = sorted((work / "out").glob("lat.*"))
    assert [list(read_lattices(p)) for p in jobs] == [["u6", "u5"], ["u4", "u3"], ["u2", "u1"], ["u0"]]
    before, texts = {p.name: p.stat().st_mtime_ns for p in jobs}, hypotheses(work / "out")
    assert "done" in run(work).stdout
    (work / "out" / "decode.json").unlink()  # as if killed before the end, with one job missing and one cut off
    jobs[1].unlink()
    jobs[2].write_bytes(jobs[2].read_bytes()[:-5])
    (work / "out" / ".lat.0001.safetensors.99.tmp").write_text("half")
    assert "2 of 4 jobs are done already" in run(work).stdout
    after = {p.name: p.stat().st_mtime_ns for p in (work / "out").glob("*lat.*")}
    assert [name for name in before if before[name] != after[name]] == [jobs[1].name, jobs[2].name]
    assert set(after) == set(before) and hypotheses(work / "out") == texts
    (work / "decode.yaml").write_text(CONFIG.replace("output_beam: 8.0", "output_beam: 2.0"))
    assert "already" not in run(work).stdout
    assert read_info(jobs[0])["arcs"] > 0 and "done" in run(work).stdout


def test_with_history_a_speakers_utterances_come_in_their_order():
    frames, speakers = {"u0": 9, "u1": 3, "u2": 8, "u3": 1}, {"u0": "b", "u1": "a", "u2": "b", "u3": "a"}
    features = SimpleNamespace(num_frames=frames.__getitem__, speaker=speakers.__getitem__)
    paths = [Path("0"), Path("1")]
    assert [job.utts for job in plan(paths, features, frames, 2, "key")] == [["u0", "u2"], ["u1", "u3"]]
    assert [job.utts for job in plan(paths, features, frames, 2, "key", True)] == [["u1", "u3"], ["u0", "u2"]]


def test_the_weights_of_networks_do_not_matter_to_a_gmm(work):
    assert run(work).returncode == 0
    before = [p.stat().st_mtime_ns for p in sorted((work / "out").glob("lat.*"))]
    (work / "decode.yaml").write_text(CONFIG + "network_weights: int8\n")
    assert "done" in run(work).stdout
    assert [p.stat().st_mtime_ns for p in sorted((work / "out").glob("lat.*"))] == before


def test_bad_utterances_are_reported_and_counted_and_their_hypotheses_are_empty(work):
    lines = (work / "data" / "utt2spk").read_text()
    (work / "data" / "utt2spk").write_text(lines + "u9 u9\n")  # has no features
    bad = bytearray((work / "data" / "feats.ark").read_bytes())
    bad[-4:] = np.float32("nan").tobytes()  # the last value of u6
    (work / "data" / "feats.ark").write_bytes(bad)
    done = run(work)
    assert done.returncode == 0, done.stderr
    assert "warning: u9: " in done.stderr and "warning: u6: " in done.stderr and "Traceback" not in done.stderr
    assert json.loads((work / "out" / "decode.json").read_text())["failed"] == 2
    lines = (work / "out" / "scoring" / "1_0.0.txt").read_text().splitlines()
    assert [line for line in lines if len(line.split()) == 1 and line[:2] in ("u6", "u9")] == ["u6", "u9"]
    (work / "decode.yaml").write_text(CONFIG.replace("max_failed: 0.3", "max_failed: 0.1"))
    done = run(work, "strict")
    assert done.returncode == 1 and "error: 2 of 8 utterances failed, more than max_failed 0.1" in done.stderr
    assert len(list((work / "strict").glob("lat.*"))) == 4 and not (work / "strict" / "decode.json").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def remove(name):
    return lambda work: (work / name).unlink()


def rewrite(name, text):
    return lambda work: (work / name).write_text(text)


@pytest.mark.parametrize("damage, message", [
    (remove("model/final.safetensors"), "final.safetensors: no such file; give the folder of a trained"),
    (rewrite("model/final.safetensors", "x"), "final.safetensors: not a safetensors file"),
    (lambda work: shutil.rmtree(work / "graph"), "graph.json: no such file; give a graph dir"),
    (rewrite("graph/graph.json", "{}"), "graph.json: not written by make_graph"),
    (rewrite("graph/graph.json", '{"num_pdfs": 9, "tree": ""}'), "the graph is for a model with 9 pdfs"),
    (rewrite("graph/graph.json", '{"num_pdfs": 6, "tree": "00"}'), "was not made from the decision tree of"),
    (remove(f"graph/{NAME}"), "HCLG.k2.safetensors: no such file"),
    (lambda work: cut(work / "graph" / NAME), "HCLG.k2.safetensors: not a graph for the search, or cut off"),
    (remove("data/feats.scp"), "feats.scp: no such file"),
    (remove("data/utt2spk"), "utt2spk: no such file"),
    (rewrite("decode.yaml", CONFIG + "beam: 3\n"), "unknown key `beam`"),
    (remove("graph/words.txt"), "words.txt: no such file"),
])
def test_bad_input_gives_one_line(work, capsys, damage, message):
    damage(work)
    with pytest.raises(SystemExit) as e:
        main(arguments(work))
    err = capsys.readouterr().err
    assert e.value.code == 1 and message in err and "Traceback" not in err
    assert err.count("\n") == 1


def test_features_of_another_dimension_are_an_error(work):
    write_data(work / "data", {"u1": 4})
    values = config.read_yaml(work / "model" / "config.yaml")[0]
    values["feature"]["deltas"] = 1
    (work / "model" / "config.yaml").write_text(json.dumps(values))
    with pytest.raises(UserError, match="features of 6 dimensions, the model expects 3"):
        command.decode(work / "model", work / "graph", work / "data", work / "out",
                       config.load(work / "decode.yaml", command.DecodeConfig), 1, "cpu")


def test_the_graph_of_the_model_is_accepted(work):
    check_same_model(work / "graph", work / "model", PDFS)
