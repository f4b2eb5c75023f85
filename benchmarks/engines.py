"""Compare the results and computing times of the native search and k2 on the same model, graph and data.

    python -m benchmarks.engines --model DIR --graph DIR --data DIR --out DIR [--config conf/decode.yaml] [--nj 2]

Decodes the data dir with ``engine: native`` and with ``engine: k2`` (``OUT/native``, ``OUT/k2``) and compares the
hypotheses at every LM weight and word insertion penalty. Then it processes the lattices of the native search with the
native functions and with those of k2: best paths for the grid of weights and penalties, scores of best paths, and
posteriors. The last line says whether all results agree; if not, the exit status is 1.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import k2
import numpy as np
import torch

from lstmp import config
from lstmp.decode.best_path import file_name, grid, job_hypotheses, words_on_paths
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import decode
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.lattice_paths import arc_posteriors, path_scores
from lstmp.errors import UserError, command
from lstmp.log import progress, say

_ARCS = 2_000_000  # arcs in one call of k2: enough to hide the cost of a call, few enough to save memory


def to_fsa(lattice: Lattice) -> k2.Fsa:
    """The lattice as a k2.Fsa with all scores 0."""
    arcs = torch.zeros(lattice.num_arcs, 4, dtype=torch.int32)
    arcs[:, :3] = torch.from_numpy(lattice.arcs)
    return k2.Fsa(arcs)


def k2_best_paths(lattices: list[Lattice], points) -> list[np.ndarray]:
    """The result of :func:`lstmp.decode.lattice_paths.best_paths` for each lattice; one call of k2 for each point."""
    fsas = k2.create_fsa_vec([to_fsa(lattice) for lattice in lattices])
    first_arc = np.cumsum([0] + [lattice.num_arcs for lattice in lattices])
    acoustic, graph, num_words = (torch.from_numpy(np.concatenate([getattr(x, name) for x in lattices])).float()
                                  for name in ("acoustic", "graph", "num_words"))
    fsas.arc = torch.arange(first_arc[-1], dtype=torch.int32)
    rows = []
    for lm_weight, word_penalty in points:
        fsas.scores = acoustic / lm_weight + graph - word_penalty * num_words
        arcs = k2.shortest_path(fsas, use_double_scores=True).arc.numpy()
        parts = np.split(arcs, np.searchsorted(arcs, first_arc[1:-1]))
        rows.append([part - first for part, first in zip(parts, first_arc[:-1], strict=True)])
    return [np.stack(paths) for paths in zip(*rows, strict=True)]


def k2_hypotheses(path, points) -> dict[str, list[list[int]]]:
    """The result of :func:`lstmp.decode.best_path.job_hypotheses`, computed with k2."""
    lattices = read_lattices(path)
    hypotheses = {utt: [[] for _ in points] for utt in lattices}
    batch: list[str] = []
    utts = [utt for utt, lattice in lattices.items() if lattice.num_arcs]
    for i, utt in enumerate(utts):
        batch.append(utt)
        if i + 1 == len(utts) or sum(lattices[u].num_arcs for u in [*batch, utts[i + 1]]) > _ARCS:
            for u, paths in zip(batch, k2_best_paths([lattices[u] for u in batch], points), strict=True):
                hypotheses[u] = words_on_paths(lattices[u], paths)
            batch = []
    return hypotheses


def scores_differ(lattice: Lattice, scale: float) -> tuple[float, float]:
    """The largest differences to k2 in scores of best paths (relative to the best one) and in posteriors."""
    fsa = k2.create_fsa_vec([to_fsa(lattice)])
    values = lattice.acoustic * np.float32(scale) + lattice.graph
    fsa.scores = torch.from_numpy(values)
    forward = fsa.get_forward_scores(use_double_scores=True, log_semiring=False).numpy()
    backward = fsa.get_backward_scores(use_double_scores=True, log_semiring=False).numpy()
    theirs = forward[lattice.arcs[:, 0]] + values.astype(np.float64) + backward[lattice.arcs[:, 1]]
    ours = path_scores(lattice.arcs, values.astype(np.float64))[2]
    posteriors = fsa.get_arc_post(use_double_scores=True, log_semiring=True).exp().numpy()
    return (float(np.abs((ours - theirs) / ours.max()).max()),
            float(np.abs(arc_posteriors(lattice, scale) - posteriors).max()))


@command
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a GMM or a network")
    parser.add_argument("--graph", required=True, help="graph dir, made from the same decision tree")
    parser.add_argument("--data", required=True, help="data dir with the features that the model was trained on")
    parser.add_argument("--config", default="conf/decode.yaml", help="configuration (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two decodings")
    parser.add_argument("--nj", type=int, default=1, help="number of processes of the decodings (%(default)s)")
    args = parser.parse_args(argv)
    cfg = config.load(args.config, DecodeConfig)
    seconds = {}
    for engine in ("native", "k2"):
        decode(args.model, args.graph, args.data, args.out / engine, dataclasses.replace(cfg, engine=engine), args.nj,
               "cpu")
        seconds[engine] = json.loads((args.out / engine / "decode.json").read_text())["core_seconds"]
    points = grid(cfg)
    names = [file_name(*point) for point in points]
    texts = [[(args.out / engine / "scoring" / name).read_text() for name in names] for engine in ("native", "k2")]
    different = [name for name, one, two in zip(names, *texts, strict=True) if one != two]

    jobs = sorted((args.out / "native").glob("lat.*.safetensors"))
    cost = {"native": 0.0, "k2": 0.0}
    differing, score_error, posterior_error, count = 0, 0.0, 0.0, 0
    for job in progress(jobs, "lattices", unit="job"):
        hypotheses = {}
        for engine, function in (("native", job_hypotheses), ("k2", k2_hypotheses)):
            start = time.process_time()
            hypotheses[engine] = function(job, points)
            cost[engine] += time.process_time() - start
        differing += sum(hypotheses["native"][utt] != hypotheses["k2"][utt] for utt in hypotheses["k2"])
        for lattice in read_lattices(job).values():
            if lattice.num_arcs:
                count += 1
                a, b = scores_differ(lattice, cfg.acoustic_scale)
                score_error, posterior_error = max(score_error, a), max(posterior_error, b)
    print("| engine | scores and search, CPU seconds | grid of best paths, CPU seconds | % of search "
          "|\n|---|---:|---:|---:|")
    for engine in ("native", "k2"):
        print(f"| {engine} | {seconds[engine]:.1f} | {cost[engine]:.2f} | {100 * cost[engine] / seconds[engine]:.1f} |")
    say(f"{len(points)} pairs of LM weight and penalty: the hypotheses of the engines differ for {len(different)} of "
        f"them. {count} lattices: the best paths of k2's functions differ for {differing} of them, scores differ by at "
        f"most {score_error:.1e} (relative), posteriors by at most {posterior_error:.1e}")
    if different or differing or score_error > 1e-9 or posterior_error > 1e-6:
        raise UserError("the engines do not agree")
    say("the engines agree")


if __name__ == "__main__":
    main()
