"""The native search and k2 on the same model, graph and speech: do they find the same words, and what does each cost?

    python -m benchmarks.engines --model DIR --graph DIR --data DIR --out DIR [--config conf/decode.yaml] [--nj 2]

Decodes the data dir with ``engine: native`` and with ``engine: k2`` (``OUT/native``, ``OUT/k2``) and compares the
hypotheses at every LM weight and word insertion penalty. Then the lattices of the native search are gone through by the
native functions and by k2's: best paths at every weight and penalty (the grid), scores of best paths, and posteriors.
The last line says whether all agree; where they do not, the exit status is 1.
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

_ARCS = 2_000_000  # searched by k2 in one call: enough to hide the cost of a call, few enough for the memory


def to_fsa(lattice: Lattice) -> k2.Fsa:
    """The lattice's arcs, their scores left zero."""
    arcs = torch.zeros(lattice.num_arcs, 4, dtype=torch.int32)
    arcs[:, :3] = torch.from_numpy(lattice.arcs)
    return k2.Fsa(arcs)


def k2_best_paths(lattices: list[Lattice], points) -> list[np.ndarray]:
    """Of each lattice int [points, T + 1], as :func:`lstmp.decode.lattice_paths.best_paths`; all in one call of k2."""
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
    """As :func:`lstmp.decode.best_path.job_hypotheses`, by k2."""
    lattices = read_lattices(path)
    found = {utt: [[] for _ in points] for utt in lattices}
    batch: list[str] = []
    spoken = [utt for utt, lattice in lattices.items() if lattice.num_arcs]
    for i, utt in enumerate(spoken):
        batch.append(utt)
        if i + 1 == len(spoken) or sum(lattices[u].num_arcs for u in [*batch, spoken[i + 1]]) > _ARCS:
            for u, paths in zip(batch, k2_best_paths([lattices[u] for u in batch], points), strict=True):
                found[u] = words_on_paths(lattices[u], paths)
            batch = []
    return found


def scores_differ(lattice: Lattice, scale: float) -> tuple[float, float]:
    """By how much at most k2 and we differ in best paths' scores (relative to the best of all) and in posteriors."""
    fsa = k2.create_fsa_vec([to_fsa(lattice)])
    values = lattice.acoustic * np.float32(scale) + lattice.graph
    fsa.scores = torch.from_numpy(values)
    ahead, back = (getattr(fsa, f"get_{way}_scores")(use_double_scores=True, log_semiring=False).numpy()
                   for way in ("forward", "backward"))
    theirs = ahead[lattice.arcs[:, 0]] + values.astype(np.float64) + back[lattice.arcs[:, 1]]
    ours = path_scores(lattice.arcs, values.astype(np.float64))[2]
    posteriors = fsa.get_arc_post(use_double_scores=True, log_semiring=True).exp().numpy()
    return (float(np.abs((ours - theirs) / ours.max()).max()),
            float(np.abs(arc_posteriors(lattice, scale) - posteriors).max()))


@command
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model dir, of a GMM or a network")
    parser.add_argument("--graph", required=True, help="graph dir, made from the same decision tree")
    parser.add_argument("--data", required=True, help="data dir with the features that the model takes")
    parser.add_argument("--config", default="conf/decode.yaml", help="(%(default)s)")
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
    unlike, off, off_posterior, count = 0, 0.0, 0.0, 0
    for job in progress(jobs, "lattices", unit="job"):
        found = {}
        for engine, function in (("native", job_hypotheses), ("k2", k2_hypotheses)):
            began = time.process_time()
            found[engine] = function(job, points)
            cost[engine] += time.process_time() - began
        unlike += sum(found["native"][utt] != found["k2"][utt] for utt in found["k2"])
        for lattice in read_lattices(job).values():
            if lattice.num_arcs:
                count += 1
                a, b = scores_differ(lattice, cfg.acoustic_scale)
                off, off_posterior = max(off, a), max(off_posterior, b)
    print("| engine | scores and search, processor seconds | grid of best paths, processor seconds | % of search "
          "|\n|---|---:|---:|---:|")
    for engine in ("native", "k2"):
        print(f"| {engine} | {seconds[engine]:.1f} | {cost[engine]:.2f} | {100 * cost[engine] / seconds[engine]:.1f} |")
    say(f"{len(points)} pairs of LM weight and penalty: {len(different)} have other words by the other engine; of "
        f"{count} lattices {unlike} have other best paths by k2's functions, scores differ by {off:.1e} of the best, "
        f"posteriors by {off_posterior:.1e}")
    if different or unlike or off > 1e-9 or off_posterior > 1e-6:
        raise UserError("the engines do not agree")
    say("the engines agree")


if __name__ == "__main__":
    main()
