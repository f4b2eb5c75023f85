"""Frames per second of training: our LSTMP layers, in float32 and with bfloat16 factors, with the compiled kernels and
without, beside torch.nn.LSTM(proj_size), which has no peepholes.

Both have 2 layers of 512 cells projected to 256, 40 inputs, 2,000 states, our output layer with its fused cross
entropy, truncated BPTT of 20 steps and no optimizer; both share the streams among the same threads. They take turns in
one run, and so do the same matrix products alone, all frames of a chunk at once: the ceiling.

    python -m benchmarks.lstmp --threads 2 --streams 32 128 256
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
from lstmp.experiment.records import machine
from lstmp.nnet import fused
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
    """The same step with PyTorch alone."""
    def run():
        with (mock.patch("lstmp.nnet.gates.kernels", lambda: None),
              mock.patch("lstmp.nnet.fused.kernels", lambda kind: None)):
            step()
    return run


def products(streams: int, workers: Workers, kind: torch.dtype):
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

    parts = [[(torch.randn(CHUNK * (s.stop - s.start), i).to(kind), torch.randn(i, o).to(kind), n)
              for i, o, n in shapes] for s in workers.shares(streams)]
    return lambda: workers.map(run, parts)


def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 128, 256], help="(default: 32 128 256)")
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
    workers = Workers(args.threads)
    ours = {}
    for precision in ("fp32", "bf16"):
        ours[precision] = LstmpNetwork(replace(cfg, precision=precision), INPUTS, STATES)
        ours[precision].initialize(1)
    kinds = [kind for kind in ours if fused.kernels(kind)]
    print(f"torch {torch.__version__}, {args.threads} threads, {machine()}, fused kernels: {' '.join(kinds) or 'none'}")
    print(f"frames per second of {'processor time' if args.processor_time else 'time'}: median (best) of {args.rounds}")
    for streams in args.streams:
        mine = {p: training_step(model, streams, workers) for p, model in ours.items()}
        steps = {"nn.LSTM(proj_size), fp32": training_step(TorchLstm(), streams, workers),
                 "lstmp, fp32": mine["fp32"], "lstmp, fp32, PyTorch alone": without_kernels(mine["fp32"]),
                 "lstmp, bf16": mine["bf16"], "lstmp, bf16, PyTorch alone": without_kernels(mine["bf16"]),
                 "its matrix products alone, fp32": products(streams, workers, torch.float32),
                 "its matrix products alone, bf16": products(streams, workers, torch.bfloat16)}
        times = {name: [] for name in steps}
        for turn in range(args.rounds + 1):
            for name, step in steps.items():
                begin = clock()
                step()
                if turn:  # the first warms up
                    times[name].append(clock() - begin)
        base = None
        print(f"{streams} streams")
        for name, taken in times.items():
            median, best = (CHUNK * streams / f(taken) for f in (statistics.median, min))
            base = base or median
            print(f"  {name:32}{f'{median:,.0f} ({best:,.0f})':>20}{median / base:>8.2f} times", flush=True)


if __name__ == "__main__":
    main()
