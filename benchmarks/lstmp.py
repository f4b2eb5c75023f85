"""Frames per second of training: our LSTMP layers beside torch.nn.LSTM(proj_size), which has no peepholes.

Ours with factors of float32, of float32 as the trainer has it, and of bfloat16 (:mod:`lstmp.nnet.kernels.fused` says
what these are on which processor); with the compiled kernels, with those for AVX-512 alone, and without.

Both have 2 layers of 512 cells projected to 256, 40 inputs, 2,000 states, our output layer with its fused cross
entropy, truncated BPTT of 20 steps and no optimizer; both share the streams among the same threads. They take turns in
one run, and so do the same matrix products alone, all frames of a chunk at once: the ceiling.

    python -m benchmarks.lstmp --threads 2 --streams 32 128 256
    python -m benchmarks.lstmp --device cuda

On a GPU nn.LSTM is cuDNN's, float32 factors are TF32 for both, and both are also run as CUDA graphs.
"""

import argparse
import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from lstmp import config
from lstmp.machine import machine
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.distributed.workers import Workers, default_threads
from lstmp.nnet.kernels import fused
from lstmp.nnet.kernels.graphed import derive, function_for
from lstmp.nnet.loss import FrameCrossEntropy
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.train import keep_freed_memory

INPUTS, STATES, CHUNK, LAYERS, CELLS, PROJECTION = 40, 2000, 20, 2, 512, 256


class TorchLstm(nn.Module):
    """torch.nn.LSTM with projection under our output layer, with the interface of StateNetwork.loss."""

    def __init__(self, bf16: bool = False):
        super().__init__()
        self.bf16 = bf16
        kind = torch.bfloat16 if bf16 else torch.float32
        self.lstm = nn.LSTM(INPUTS, CELLS, LAYERS, proj_size=PROJECTION, dtype=kind)
        self.w_out = nn.Parameter(torch.randn(STATES, PROJECTION) / PROJECTION**0.5)
        self.b_out = nn.Parameter(torch.zeros(STATES))

    def zero_state(self, streams):
        like = self.lstm.weight_ih_l0
        return [(like.new_zeros(LAYERS, streams, PROJECTION), like.new_zeros(LAYERS, streams, CELLS))]

    def loss(self, x, state, targets, frames, generator=None, lengths=None):
        y, new = self.lstm(x.to(self.lstm.weight_ih_l0.dtype), state[0])
        loss, correct = FrameCrossEntropy.apply(y.view(-1, PROJECTION).to(self.w_out.dtype), self.w_out, self.b_out,
                                                targets.reshape(-1), frames, self.bf16)
        return loss, correct, [new]


def training_step(model, streams: int, workers: Workers, function=None):
    """A function that computes the gradients of one batch; ``function`` does it for a part of the streams."""
    device, function = model.w_out.device, function or function_for(model)
    parts = [(torch.randn(CHUNK, n, INPUTS, device=device), model.zero_state(n),
              torch.randint(0, STATES, (CHUNK, n), device=device), CHUNK * streams, None, torch.full((n,), CHUNK))
             for n in (s.stop - s.start for s in workers.shares(streams))]
    return lambda: workers.map(lambda part: function(*part), parts)


def under(step, *contexts):
    """The same step while all ``contexts`` hold: functions that make context managers."""
    def run():
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context())
            step()
    return run


PYTORCH_ALONE = [partial(mock.patch, f"lstmp.nnet.{place}.kernels", lambda *kind: None)
                 for place in ("gates", "fused", "gpu")]
AVX512_ALONE = partial(mock.patch.dict, os.environ, LSTMP_FUSED="fp32")


def products(streams: int, workers: Workers, kind: torch.dtype, device: str):
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

    parts = [[(torch.randn(CHUNK * (s.stop - s.start), i).to(device, kind), torch.randn(i, o).to(device, kind), n)
              for i, o, n in shapes] for s in workers.shares(streams)]
    return lambda: workers.map(run, parts)


def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 128, 256], help="(default: 32 128 256)")
    parser.add_argument("--threads", type=int, default=default_threads(), help="(default: all processors)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="(default: cpu)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: 9)")
    parser.add_argument("--processor-time", action="store_true",
                        help="frames per second of processor time, all threads together: for a busy machine")
    args = parser.parse_args(argv)
    on_gpu, clock = args.device == "cuda", time.process_time if args.processor_time else time.perf_counter
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    cfg = replace(config.load(Path(__file__).parents[1] / "conf" / "lstmp.yaml", LstmpConfig), layers=LAYERS,
                  cells=CELLS, recurrent_projection=PROJECTION, projection=0, peepholes=True)
    workers = Workers(1 if on_gpu else args.threads)
    ours = {}
    for precision in ("fp32", "bf16"):
        ours[precision] = StateNetwork(replace(cfg, precision=precision), INPUTS, STATES)
        ours[precision].initialize(1)
        ours[precision].to(args.device)
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        where = torch.cuda.get_device_name()
    else:
        keep_freed_memory()
        torch.set_num_threads(1)
        kinds = [kind for kind in ("fp32", "bf16x6", "bf16x3", "bf16") if fused.kernels(kind)]
        where = f"{args.threads} threads, {machine()}, fused kernels: {' '.join(kinds) or 'none'}"
    print(f"torch {torch.__version__}, {where}")
    print(f"frames per second of {'processor time' if args.processor_time else 'time'}: median (best) of {args.rounds}")
    for streams in args.streams:
        steps = (on_gpu_steps if on_gpu else on_cpu_steps)(ours, streams, workers)
        times = take_turns(steps, args.rounds, clock, on_gpu)
        base = None
        print(f"{streams} streams")
        for name, taken in times.items():
            median, best = (CHUNK * streams / f(taken) for f in (statistics.median, min))
            base = base or median
            print(f"  {name:40}{f'{median:,.0f} ({best:,.0f})':>24}{median / base:>8.2f} times", flush=True)


def on_cpu_steps(ours, streams: int, workers: Workers) -> dict:
    """What takes turns, by name; the first is what the others are compared with."""
    mine = {p: training_step(model, streams, workers) for p, model in ours.items()}
    return {"nn.LSTM(proj_size), fp32": training_step(TorchLstm(), streams, workers),
            "lstmp, fp32": mine["fp32"], "lstmp, fp32 as in training": under(mine["fp32"], fused.quick_products),
            "lstmp, fp32, without AMX": under(mine["fp32"], AVX512_ALONE),
            "lstmp, fp32, PyTorch alone": under(mine["fp32"], *PYTORCH_ALONE),
            "lstmp, bf16": mine["bf16"], "lstmp, bf16, PyTorch alone": under(mine["bf16"], *PYTORCH_ALONE),
            "PyTorch's matrix products, fp32": products(streams, workers, torch.float32, "cpu"),
            "PyTorch's matrix products, bf16": products(streams, workers, torch.bfloat16, "cpu")}


def on_gpu_steps(ours, streams: int, workers: Workers) -> dict:
    """The same on a GPU."""
    steps = {}
    for kind, named in (("fp32", "TF32"), ("bf16", "bf16")):
        theirs, model = TorchLstm(kind == "bf16").cuda(), ours[kind]
        theirs.lstm.flatten_parameters()
        one_by_one = partial(derive, model)
        steps |= {f"nn.LSTM(proj_size), {named}": training_step(theirs, streams, workers, partial(derive, theirs)),
                  f"nn.LSTM(proj_size), {named}, CUDA graph": training_step(theirs, streams, workers),
                  f"lstmp, {named}, CUDA graph": training_step(model, streams, workers),
                  f"lstmp, {named}, kernel by kernel": training_step(model, streams, workers, one_by_one),
                  f"lstmp, {named}, PyTorch alone": under(training_step(model, streams, workers, one_by_one),
                                                          *PYTORCH_ALONE),
                  f"PyTorch's matrix products, {named}":
                      products(streams, workers, torch.bfloat16 if kind == "bf16" else torch.float32, "cuda")}
    return steps


def take_turns(steps: dict, rounds: int, clock, on_gpu: bool) -> dict[str, list[float]]:
    """Seconds of each step in each round; of a GPU's, the mean of 20 that follow each other."""
    repeat, times = 20 if on_gpu else 1, {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            if on_gpu:
                torch.cuda.synchronize()
            begin = clock()
            for _ in range(repeat):
                step()
            if on_gpu:
                torch.cuda.synchronize()
            if turn:  # the first warms up
                times[name].append((clock() - begin) / repeat)
    return times


if __name__ == "__main__":
    main()
