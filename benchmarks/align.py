"""Our batched Viterbi beside k2, on the same utterance graphs and the same acoustic scores.

    python -m benchmarks.align --model DIR --data DIR --lang DIR [--utts 60] [--batches 1,10,30]

Both searches are exact. Ours is ``lstmp.gmm.viterbi.align_batch``; k2's is ``intersect_dense`` (no pruning on its way
forward) and ``shortest_path``. For each size of batch: frames a second of one core (wall and CPU time of the search
alone: acoustic scores and, for k2, the conversion of the graphs are made before), and on how many utterances the two
agree, in score and in path.
"""

import argparse
import time

import k2
import numpy as np
import torch

from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.errors import command
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.gmm.training_graph import TrainingGraph
from lstmp.gmm.viterbi import align_batch
from lstmp.log import progress, say


def to_fsa(graph: TrainingGraph, log_prob: np.ndarray) -> k2.Fsa:
    """The graph as an acceptor: an arc consumes the frame of the state that it enters; label = column + 1."""
    states = np.arange(len(graph.pdf))
    loops = states[graph.self_tid > 0]
    end = len(states) + 1
    rows = [(np.zeros(len(graph.starts)), graph.starts + 1, graph.column[graph.starts] + 1, graph.start_extra),
            (loops + 1, loops + 1, graph.column[loops] + 1, log_prob[graph.self_tid[loops]]),
            (graph.arcs[:, 0] + 1, graph.arcs[:, 1] + 1, graph.column[graph.arcs[:, 1]] + 1,
             log_prob[graph.arcs[:, 2]] + graph.arc_extra),
            (graph.finals[:, 0] + 1, np.full(len(graph.finals), end), np.full(len(graph.finals), -1),
             log_prob[graph.finals[:, 1]] + graph.final_extra)]
    source, target, label, score = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(source, kind="stable")
    arcs = np.stack([source, target, label], 1)[order].astype(np.int32)
    bits = score.astype(np.float32)[order].view(np.int32)
    return k2.Fsa(torch.from_numpy(np.concatenate([arcs, bits[:, None]], 1)))


def by_k2(fsas: list[k2.Fsa], loglikes: list[torch.Tensor]):
    """(columns of the best path [T], score) of each utterance."""
    width = 1 + max(x.shape[1] for x in loglikes)  # column 0 stands for label 0, which the graphs do not have
    dense = torch.full((len(loglikes), len(loglikes[0]), width), -torch.inf)
    for row, x in zip(dense, loglikes, strict=True):
        row[:len(x), 1:1 + x.shape[1]] = x
    segments = torch.tensor([[i, 0, len(x)] for i, x in enumerate(loglikes)], dtype=torch.int32)
    found = k2.intersect_dense(k2.create_fsa_vec(fsas), k2.DenseFsaVec(dense, segments), output_beam=1.0)
    best = k2.shortest_path(found, use_double_scores=True)
    scores = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
    return [(best[i].labels[:-1].numpy() - 1, scores[i]) for i in range(len(fsas))]


def timed(search, batches):
    """(one result per utterance, wall seconds, CPU seconds)."""
    wall, cpu, out = time.perf_counter(), time.process_time(), []
    for batch in batches:
        out += search(*batch)
    return out, time.perf_counter() - wall, time.process_time() - cpu


@command
def main(argv=None):
    """Print frames a second and agreement of both searches for each size of batch."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True, help="folder of a GMM")
    parser.add_argument("--data", required=True, help="data dir with features and text")
    parser.add_argument("--lang", required=True, help="lang folder")
    parser.add_argument("--config", default="conf/align.yaml", help="configuration (%(default)s)")
    parser.add_argument("--utts", type=int, default=60, help="utterances, spread over the data dir (%(default)s)")
    parser.add_argument("--batches", default="1,10,30", help="utterances in a batch (%(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cfg = config.load(args.config, AlignConfig)
    model = AcousticModel.load(args.model)
    shard = Shard(args.data, Lang.load(args.lang), model.feature)
    shard.utts = shard.utts[::max(1, len(shard.utts) // args.utts)][:args.utts]
    shard.compile_graphs(model)
    graphs = [shard.graphs[u] for u in shard.utts]
    log_prob = model.transitions.graph_log_probs(cfg.transition_scale, cfg.self_loop_scale).numpy()
    loglikes = [model.gmms.loglikes(shard.feats[u], torch.from_numpy(g.distinct_pdfs)) * cfg.acoustic_scale
                for u, g in progress(list(zip(shard.utts, graphs, strict=True)), "scores")]
    start = time.process_time()
    fsas = [to_fsa(g, log_prob) for g in graphs]
    frames = sum(map(len, loglikes))
    say(f"{len(graphs)} utterances, {frames} frames, {np.mean([len(g.pdf) for g in graphs]):.0f} states and "
        f"{np.mean([f.num_arcs for f in fsas]):.0f} arcs on average; conversion to k2 took "
        f"{time.process_time() - start:.2f} s")
    print("batch  search  frames/s wall  frames/s CPU  scores agree  paths agree")
    for size in map(int, args.batches.split(",")):
        parts = [slice(i, i + size) for i in range(0, len(graphs), size)]
        mine, *times = timed(lambda g, x: align_batch(g, x, log_prob), [(graphs[p], loglikes[p]) for p in parts])
        other, *k2_times = timed(by_k2, [(fsas[p], loglikes[p]) for p in parts])
        scores = sum(abs(a[1] - b[1]) <= 1e-5 * abs(b[1]) for a, b in zip(mine, other, strict=True))
        pdfs = [model.transitions.tid_pdf.numpy()[tids] for tids, _ in mine]
        paths = sum(np.array_equal(p, g.distinct_pdfs[columns])
                    for p, g, (columns, _) in zip(pdfs, graphs, other, strict=True))
        for name, (wall, cpu) in (("ours", times), ("k2", k2_times)):
            print(f"{size:5d}  {name:<6}  {frames / wall:13.0f}  {frames / cpu:12.0f}  {scores:7d}/{len(graphs)}  "
                  f"{paths:7d}/{len(graphs)}", flush=True)


if __name__ == "__main__":
    main()
