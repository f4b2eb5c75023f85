"""Frames per second of training: our LSTMP layers, with the compiled kernels and without, beside
torch.nn.LSTM(proj_size), which has no peepholes.

Both have 2 layers of 512 cells projected to 256, 40 inputs, 2,000 states, our output layer with its fused cross
entropy, truncated BPTT of 20 steps and no optimizer; both share the streams among the same threads. They take turns in
one run, and the GEMM ceiling is the time of the same matrix products alone, all frames of a chunk at once.

    python -m benchmarks.lstmp --threads 2 --streams 32 64 128
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from lstmp import config
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.loss import FrameCrossEntropy
from lstmp.nnet.model import LstmpNetwork
from lstmp.nnet.train import keep_freed_memory
from lstmp.nnet.workers import Workers, default_threads

INPUTS, STATES, CHUNK, LAYERS, CELLS, PROJECTION = 40, 2000, 20, 2, 512, 256


class TorchLstm(nn.Module):
    """torch.nn.LSTM with projection under our output layer, with the interface of LstmpNetwork.loss."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(INPUTS, CELLS, LAYERS, proj_size=PROJECTION)
        self.w_out = nn.Parameter(torch.randn(STATES, PROJECTION) / PROJECTION**0.5)
        self.b_out = nn.Parameter(torch.zeros(STATES))

    def zero_state(self, streams):
        return torch.zeros(LAYERS, streams, PROJECTION), torch.zeros(LAYERS, streams, CELLS)

    def loss(self, x, state, targets, frames):
        y, state = self.lstm(x, state)
        loss, correct = FrameCrossEntropy.apply(y.view(-1, PROJECTION), self.w_out, self.b_out, targets.reshape(-1),
                                                frames)
        return loss, correct, state


def training_step(model, streams: int, workers: Workers):
    """A function that computes the gradients of one batch."""
    params = list(model.parameters())
    parts = [(torch.randn(CHUNK, s.stop - s.start, INPUTS), model.zero_state(s.stop - s.start),
              torch.randint(0, STATES, (CHUNK, s.stop - s.start))) for s in workers.shares(streams)]

    def run(part):
        x, state, targets = part
        return torch.autograd.grad(model.loss(x, state, targets, CHUNK * streams)[0], params)

    return lambda: workers.map(run, parts)


def without_kernels(step):
    """The same step with the element-wise part in PyTorch."""
    def run():
        with mock.patch("lstmp.nnet.gates.kernels", lambda: None):
            step()
    return run


def products(streams: int, workers: Workers):
    """A function that multiplies what a step multiplies, and nothing else."""
    shapes, width = [], INPUTS
    for layer in range(LAYERS):
        shapes += [(width, 4 * CELLS, 3 if layer else 2), (PROJECTION, 4 * CELLS, 3), (CELLS, PROJECTION, 3)]
        width = PROJECTION
    shapes.append((PROJECTION, STATES, 3))

    def run(share):
        for a, w, times in share:
            for _ in range(times):
                torch.mm(a, w)

    parts = [[(torch.randn(CHUNK * (s.stop - s.start), i), torch.randn(i, o), n) for i, o, n in shapes]
             for s in workers.shares(streams)]
    return lambda: workers.map(run, parts)


def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 64, 128], help="(default: 32 64 128)")
    parser.add_argument("--threads", type=int, default=default_threads(), help="(default: all processors)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: 9)")
    parser.add_argument("--processor-time", action="store_true",
                        help="frames per second of processor time, all threads together: for a busy machine")
    args = parser.parse_args(argv)
    clock = time.process_time if args.processor_time else time.perf_counter
    torch.set_flush_denormal(True)
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    cfg = replace(config.load(Path(__file__).parents[1] / "conf" / "lstmp.yaml", LstmpConfig), layers=LAYERS,
                  cells=CELLS, recurrent_projection=PROJECTION, projection=0, peepholes=True)
    ours = LstmpNetwork(cfg, INPUTS, STATES)
    ours.initialize(1)
    workers = Workers(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, float32; median frames per second of "
          f"{'processor time' if args.processor_time else 'time'}, of {args.rounds} turns (best)")
    print(f"{'streams':>8}{'lstmp':>20}{'in PyTorch':>20}{'nn.LSTM(proj_size)':>22}{'GEMM ceiling':>20}"
          f"{'lstmp : in PyTorch':>20}{': nn.LSTM':>10}")
    for streams in args.streams:
        mine = training_step(ours, streams, workers)
        steps = [mine, without_kernels(mine), training_step(TorchLstm(), streams, workers), products(streams, workers)]
        times = [[] for _ in steps]
        for turn in range(args.rounds + 1):
            for step, taken in zip(steps, times, strict=True):
                begin = clock()
                step()
                if turn:  # the first warms up
                    taken.append(clock() - begin)
        median, best = ([CHUNK * streams / f(t) for t in times] for f in (statistics.median, min))
        cells = [f"{m:,.0f} ({b:,.0f})" for m, b in zip(median, best, strict=True)]
        print(f"{streams:>8}{cells[0]:>20}{cells[1]:>20}{cells[2]:>22}{cells[3]:>20}{median[0] / median[1]:>20.2f}"
              f"{median[0] / median[2]:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
