"""Speaker-adapted decoding: posteriors of small lattices, and all passes end to end."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.decoding import ROOT, run
from helpers.small_graphs import WIDE, SmallGraph, all_paths, path_score, scores

from lstmp import config
from lstmp.decode.adapted import arc_posteriors, pdf_posteriors, rescored, state_frames
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.search import decode_utterance
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.adapt import read_transforms
from lstmp.gmm.model import AcousticModel

FRAMES = 5


def lattice(seed):
    return decode_utterance(SmallGraph.random(seed).engine(4), scores(seed, FRAMES), WIDE)


def pruned(full, paths):
    """The lattice with only the arcs of some paths. States keep their numbers, so that some of them are unused."""
    kept = sorted({arc for path in paths for arc in path})
    return Lattice(full.arcs[kept], full.acoustic[kept], full.graph[kept], full.num_words[kept],
                   np.array(full.words_on(kept), np.int32))


@pytest.mark.parametrize("seed", range(8))
def test_posteriors_equal_the_sum_over_all_paths(seed):
    full = lattice(seed)
    for lat in (full, pruned(full, all_paths(full)[::3])):
        paths = all_paths(lat)
        weights = np.array([math.exp(path_score(lat, path, lm_weight=2.0, penalty=0)) for path in paths])
        weights /= weights.sum()
        by_arc, by_pdf = np.zeros(lat.num_arcs), {}
        for weight, path in zip(weights, paths, strict=True):
            by_arc[path] += weight
            assert state_frames(lat)[lat.arcs[path, 0]].tolist() == list(range(FRAMES + 1))
            for t, arc in enumerate(path[:-1]):
                key = t, int(lat.arcs[arc, 2]) - 1
                by_pdf[key] = by_pdf.get(key, 0.0) + weight
        np.testing.assert_allclose(arc_posteriors(lat, 0.5), by_arc, atol=1e-5)
        posteriors = {(int(t), int(p)): w for t, p, w in zip(*pdf_posteriors(lat, 0.5, minimum=0.01), strict=True)}
        assert posteriors == pytest.approx({k: w for k, w in by_pdf.items() if w >= 0.01}, abs=1e-5)


def test_rescored_lattices_have_the_scores_of_other_features():
    first, other = lattice(3), scores(99, FRAMES)
    new = rescored(first, other)
    assert np.array_equal(new.graph, first.graph) and np.array_equal(new.arcs, first.arcs)
    for path in all_paths(new):
        labels = new.arcs[path[:-1], 2]
        assert new.acoustic[path].sum() == pytest.approx(float(sum(other[t, k - 1] for t, k in enumerate(labels))))


def test_adaptation_removes_the_difference_between_the_speakers(adapted_work):
    done = run(adapted_work)
    assert done.returncode == 0, done.stderr
    out = adapted_work / "out"
    transforms = read_transforms(out)
    assert sorted(transforms) == ["a", "b"]

    def distance(transform):  # from the transform to the inverse of the distortion of speaker b
        return (transform[:, :3] @ (torch.eye(3) * 0.8) - torch.eye(3)).abs().max()

    assert distance(transforms["b"]) < 0.3 * distance(torch.eye(3, 4)) + 0.1
    text = dict(line.split(maxsplit=1) if " " in line else (line, "")
                for line in (out / "scoring" / "2_0.0.txt").read_text().splitlines())
    assert sum(text[f"a-{n}"] == text[f"b-{n}"] for n in range(6)) >= 5
    model = AcousticModel.load(adapted_work / "model")
    adapted = Features(adapted_work / "data", FeatureConfig("mfcc", "none", 0), None, transforms)
    for path in out.glob("lat.*"):
        for utt, lat in read_lattices(path).items():
            expected = rescored(lat, model.gmms.loglikes(adapted.load(utt)))
            np.testing.assert_allclose(lat.acoustic, expected.acoustic, atol=1e-3)
    report = json.loads((out / "decode.json").read_text())
    parts = [json.loads((out / name / "decode.json").read_text())["core_seconds"]
             for name in ("si", "adapted2", "adapted3")]
    assert report["core_seconds"] == pytest.approx(sum(parts), abs=0.05)
    assert not (out / "adapted4").exists() and not any(torch.equal(read_transforms(out / name)["b"], transforms["b"])
                                                       for name in ("si", "adapted2"))
    assert "adapted is done" in run(adapted_work).stdout


def test_the_number_of_processes_does_not_matter_and_a_killed_run_is_resumed(adapted_work):
    assert run(adapted_work, 2).returncode == 0
    hypotheses = {p.name: p.read_text() for p in (adapted_work / "out" / "scoring").iterdir()}
    (adapted_work / "out" / ".done.adapted.json").unlink()
    (adapted_work / "out" / "adapted3" / ".done.decode.json").unlink()
    next((adapted_work / "out" / "adapted3").glob("lat.*")).unlink()
    done = run(adapted_work)
    assert done.returncode == 0 and "si: decode is done" in done.stdout and "jobs are done already" in done.stdout
    assert hypotheses == {p.name: p.read_text() for p in (adapted_work / "out" / "scoring").iterdir()}


def test_a_graph_without_silence_phones_is_an_error(adapted_work):
    info = json.loads((adapted_work / "graph" / "graph.json").read_text())
    del info["silence"]
    (adapted_work / "graph" / "graph.json").write_text(json.dumps(info))
    done = run(adapted_work)
    assert done.returncode == 1 and "graph.json: the silence phones are missing in it" in done.stderr


def test_the_first_pass_is_narrower():
    cfg = config.load(ROOT / "conf" / "decode.yaml", DecodeConfig)
    first, second = cfg.first_pass(), cfg.second_pass()
    assert first.search_beam < second.search_beam and first.max_active < second.max_active
    assert (second.search_beam, second.max_active) == (cfg.fmllr.second_beam, cfg.fmllr.second_max_active)
    assert first.output_beam == second.output_beam == cfg.output_beam
