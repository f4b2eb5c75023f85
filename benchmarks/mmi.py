"""Processor time of the criterion of lattice-free MMI, by each implementation, for random scores.

    python -m benchmarks.mmi --denominator DIR --ali DIR [--implementations native,torch,k2] [--chunks 64] [--size 50]

Scores are drawn from a normal distribution; *peaked* ones are raised by 10 times the posteriors of the numerators. The
time is that of 636,000 outputs on one core: for the denominator alone, and for the whole criterion with its gradient.
k2 is measured without pruning, or with --output-beam. It has no leaks.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from lstmp.errors import command
from lstmp.graph.denominator import Denominator
from lstmp.graph.numerator import Numerator, Numerators
from lstmp.log import say
from lstmp.nnet.mmi.criterion import LfMmi
from lstmp.nnet.mmi.numerators import forward_backward

OUTPUTS, LEAKY, L2 = 636_000, 1e-5, 5e-5
TOLERANCE = 5


def some_chunks(numerators: Numerators, utts: list[str], number: int, size: int) -> list[Numerator]:
    """Random chunks of ``size`` outputs."""
    rng, chunks = np.random.default_rng(0), []
    long = [u for u in utts if numerators.frames(u) >= size]
    for utt in rng.choice(long, number):
        cut = numerators.cut(utt, int(rng.integers(0, numerators.frames(utt) - size + 1)), size)
        assert cut is not None
        chunks.append(cut[1])
    return chunks


def peaked(scores: torch.Tensor, chunks: list[Numerator]) -> torch.Tensor:
    """Scores that favour the paths of the numerators."""
    _, posteriors = forward_backward(scores, torch.zeros(len(chunks), dtype=torch.int64), chunks)
    out = scores.clone()
    posteriors.add_to(out, 10.0)
    return out


def seconds(function, repeat: int, outputs: int) -> float:
    """Median processor time of ``function``, scaled to ``OUTPUTS``."""
    function()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times) * OUTPUTS / outputs


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.mmi", description=__doc__.split("\n")[0])
    p.add_argument("--denominator", required=True, help="folder of steps/make_denominator.sh")
    p.add_argument("--ali", required=True, help="the alignment that it was made of")
    p.add_argument("--implementations", default="native", help="separated by commas (default: %(default)s)")
    p.add_argument("--chunks", type=int, default=64, help="in a batch (default: %(default)s)")
    p.add_argument("--size", type=int, default=50, help="outputs of a chunk (default: %(default)s)")
    p.add_argument("--repeat", type=int, default=15, help="batches (default: %(default)s)")
    p.add_argument("--output-beam", type=float, help="of k2 (default: no pruning)")
    a = p.parse_args(argv)
    torch.set_num_threads(1)
    graph = Denominator.read(a.denominator)
    if a.output_beam is not None:
        from lstmp.nnet.mmi import k2_graphs
        k2_graphs.OUTPUT_BEAM = a.output_beam
    numerators = Numerators.read(a.ali, graph, TOLERANCE)
    chunks = some_chunks(numerators, numerators.utts, a.chunks, a.size)
    say(f"{len(graph.pdf):,} states, {len(graph.arcs()[0]):,} arcs, {graph.num_pdfs:,} pdfs")
    flat = torch.randn(a.size, a.chunks, graph.num_pdfs, generator=torch.Generator().manual_seed(0))
    begins, lengths = torch.zeros(a.chunks, dtype=torch.int64), torch.full((a.chunks,), a.size)
    for name, scores in (("random", flat), ("peaked", peaked(flat, chunks))):
        for kind in a.implementations.split(","):
            criterion = LfMmi(graph, 0.0 if kind == "k2" else LEAKY, L2, kind)
            over = criterion.denominator_for(scores)
            alone = seconds(lambda f=over, x=scores: f(x, begins, lengths), a.repeat, a.chunks * a.size)
            whole = seconds(lambda f=criterion, x=scores: f(x, chunks), a.repeat, a.chunks * a.size)
            say(f"{name} scores, {kind}: denominator {alone:.1f} s, criterion {whole:.1f} s")


if __name__ == "__main__":
    main()
