"""Compares training speed, in frames per second, of our LSTMP layers and torch.nn.LSTM(proj_size) without peepholes.

Our layers run in float32, in float32 with reduced precision as the trainer uses it, and in bfloat16
(:mod:`lstmp.nnet.kernels.fused` explains the precisions); with all compiled kernels, with those for AVX-512 only, and
with PyTorch only.

Both networks have 2 layers of 512 cells projected to 256, 40 inputs, 2,000 states, our output layer with its fused
cross entropy, truncated BPTT of 20 frames and no optimizer; both divide the streams among the same threads. The
variants take turns in one run. The same matrix products alone, over all frames of a chunk at once, give an upper bound.

    python -m benchmarks.lstmp --threads 2 --streams 32 128 256
    python -m benchmarks.lstmp --device cuda
    python -m benchmarks.lstmp --kind dnn
    python -m benchmarks.lstmp --kind cldnn

The last two compare the precisions of another network instead: of the feed-forward baseline, 4 layers of 725 rectified
units that see 16 frames, 3.5 million weights; and of our network with convolutions of 32 and 64 maps below it.

On a GPU nn.LSTM uses cuDNN, both use TF32 for float32 factors, and both are also run as CUDA graphs.
"""

import argparse
import os
import statistics
import time
from contextlib import ExitStack, suppress
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
from lstmp.nnet.kernels.graphed import loss_and_gradients, loss_and_gradients_for
from lstmp.nnet.loss import FrameCrossEntropy
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.train import keep_freed_memory

INPUTS, STATES, CHUNK, LAYERS, CELLS, PROJECTION = 40, 2000, 20, 2, 512, 256


class TorchLstm(nn.Module):
    """torch.nn.LSTM with projection below our output layer, with the interface of StateNetwork.loss."""

    def __init__(self, bf16: bool = False):
        super().__init__()
        self.bf16 = bf16
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.lstm = nn.LSTM(INPUTS, CELLS, LAYERS, proj_size=PROJECTION, dtype=dtype)
        self.w_out = nn.Parameter(torch.randn(STATES, PROJECTION) / PROJECTION**0.5)
        self.b_out = nn.Parameter(torch.zeros(STATES))

    def zero_state(self, streams):
        weight = self.lstm.weight_ih_l0
        return [(weight.new_zeros(LAYERS, streams, PROJECTION), weight.new_zeros(LAYERS, streams, CELLS))]

    def loss(self, x, state, targets, frames, generator=None, lengths=None):
        y, new = self.lstm(x.to(self.lstm.weight_ih_l0.dtype), state[0])
        loss, correct = FrameCrossEntropy.apply(y.view(-1, PROJECTION).to(self.w_out.dtype), self.w_out, self.b_out,
                                                targets.reshape(-1), frames, self.bf16)
        return loss, correct, [new]


def training_step(model, streams: int, workers: Workers, function=None):
    """Return a function that computes the gradients of one batch; ``function`` does so for a part of the streams."""
    device, function = model.w_out.device, function or loss_and_gradients_for(model)
    parts = [(torch.randn(CHUNK, n, INPUTS, device=device), model.zero_state(n),
              torch.randint(0, STATES, (CHUNK, n), device=device), CHUNK * streams, None, torch.full((n,), CHUNK))
             for n in (s.stop - s.start for s in workers.split(streams))]
    return lambda: workers.map(lambda part: function(*part), parts)


def under(step, *contexts):
    """The same step inside all ``contexts``, which are functions that return context managers."""
    def run():
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context())
            step()
    return run


PYTORCH_ALONE = [partial(mock.patch, f"lstmp.nnet.kernels.{module}.kernels", lambda *precision: None)
                 for module in ("gates", "fused", "gpu")]
AVX512_ALONE = partial(mock.patch.dict, os.environ, LSTMP_FUSED="fp32")


def products(streams: int, workers: Workers, dtype: torch.dtype, device: str):
    """Return a function that computes only the matrix products of a training step."""
    shapes, width = [], INPUTS
    for layer in range(LAYERS):
        shapes += [(width, 4 * CELLS, 3 if layer else 2), (PROJECTION, 4 * CELLS, 3), (CELLS, PROJECTION, 3)]
        width = PROJECTION
    shapes.append((PROJECTION, STATES, 3))

    def run(part):
        for a, w, times in part:
            for _ in range(times):
                torch.mm(a, w)

    parts = [[(torch.randn(CHUNK * (s.stop - s.start), i).to(device, dtype), torch.randn(i, o).to(device, dtype), n)
              for i, o, n in shapes] for s in workers.split(streams)]
    return lambda: workers.map(run, parts)


def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 128, 256],
                        help="numbers of streams to measure (default: 32 128 256)")
    parser.add_argument("--threads", type=int, default=default_threads(),
                        help="threads that share the streams (default: all processors)")
    parser.add_argument("--kind", default="lstmp", choices=["lstmp", "dnn", "cldnn"],
                        help="kind of network (default: lstmp)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="(default: cpu)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each variant (default: 9)")
    parser.add_argument("--processor-time", action="store_true",
                        help="measure processor time, summed over the threads, instead of time: for a busy machine")
    args = parser.parse_args(argv)
    if args.kind != "lstmp" and args.device != "cpu":
        parser.error(f"--kind {args.kind} is measured on a CPU")
    on_gpu, clock = args.device == "cuda", time.process_time if args.processor_time else time.perf_counter
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    cfg = replace(config.load(Path(__file__).parents[1] / "conf" / "lstmp.yaml", LstmpConfig), layers=LAYERS,
                  cells=CELLS, recurrent_projection=PROJECTION, projection=0, peepholes=True)
    if args.kind == "dnn":
        cfg = replace(cfg, kind="dnn", activation="relu", layers=4, cells=725, recurrent_projection=0, stack=16)
    elif args.kind == "cldnn":
        cfg = replace(cfg, conv_maps=[32, 64])
    workers = Workers(1 if on_gpu else args.threads)
    ours = {}
    for precision in ("fp32", "bf16"):
        ours[precision] = StateNetwork(replace(cfg, precision=precision), INPUTS, STATES)
        ours[precision].initialize(1)
        ours[precision].to(args.device)
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        hardware = torch.cuda.get_device_name()
    else:
        keep_freed_memory()
        torch.set_num_threads(1)
        precisions = [name for name in ("fp32", "bf16x6", "bf16x3", "bf16") if fused.kernels(name)]
        hardware = f"{args.threads} threads, {machine()}, fused kernels: {' '.join(precisions) or 'none'}"
    print(f"torch {torch.__version__}, {hardware}")
    print(f"frames per second of {'processor time' if args.processor_time else 'time'}: median (best) of {args.rounds}")
    for streams in args.streams:
        if args.kind == "lstmp":
            steps = (on_gpu_steps if on_gpu else on_cpu_steps)(ours, streams, workers)
        else:
            steps = {f"{args.kind}, {p}": training_step(model, streams, workers) for p, model in ours.items()}
        times = take_turns(steps, args.rounds, clock, on_gpu)
        base = None
        print(f"{streams} streams")
        for name, taken in times.items():
            median, best = (CHUNK * streams / f(taken) for f in (statistics.median, min))
            base = base or median
            print(f"  {name:40}{f'{median:,.0f} ({best:,.0f})':>24}{median / base:>8.2f} times", flush=True)


def on_cpu_steps(ours, streams: int, workers: Workers) -> dict:
    """The variants to measure, by name; the others are compared with the first."""
    mine = {p: training_step(model, streams, workers) for p, model in ours.items()}
    steps = {"nn.LSTM(proj_size), fp32": training_step(TorchLstm(), streams, workers),
             "lstmp, fp32": mine["fp32"], "lstmp, fp32 as in training": under(mine["fp32"], fused.reduced_precision),
             "lstmp, fp32, without AMX": under(mine["fp32"], AVX512_ALONE),
             "lstmp, fp32, PyTorch alone": under(mine["fp32"], *PYTORCH_ALONE),
             "lstmp, bf16": mine["bf16"], "lstmp, bf16, PyTorch alone": under(mine["bf16"], *PYTORCH_ALONE),
             "PyTorch's matrix products, fp32": products(streams, workers, torch.float32, "cpu")}
    with suppress(RuntimeError):  # of oneDNN, without AVX-512
        torch.mm(torch.zeros(32, 32, dtype=torch.bfloat16), torch.zeros(32, 32, dtype=torch.bfloat16))
        steps["PyTorch's matrix products, bf16"] = products(streams, workers, torch.bfloat16, "cpu")
    return steps


def on_gpu_steps(ours, streams: int, workers: Workers) -> dict:
    """The variants to measure on a GPU, by name."""
    steps = {}
    for precision, named in (("fp32", "TF32"), ("bf16", "bf16")):
        theirs, model = TorchLstm(precision == "bf16").cuda(), ours[precision]
        theirs.lstm.flatten_parameters()
        one_by_one, theirs_one_by_one = partial(loss_and_gradients, model), partial(loss_and_gradients, theirs)
        steps |= {f"nn.LSTM(proj_size), {named}": training_step(theirs, streams, workers, theirs_one_by_one),
                  f"nn.LSTM(proj_size), {named}, CUDA graph": training_step(theirs, streams, workers),
                  f"lstmp, {named}, CUDA graph": training_step(model, streams, workers),
                  f"lstmp, {named}, kernel by kernel": training_step(model, streams, workers, one_by_one),
                  f"lstmp, {named}, PyTorch alone": under(training_step(model, streams, workers, one_by_one),
                                                          *PYTORCH_ALONE),
                  f"PyTorch's matrix products, {named}":
                      products(streams, workers, torch.bfloat16 if precision == "bf16" else torch.float32, "cuda")}
    return steps


def take_turns(steps: dict, rounds: int, clock, on_gpu: bool) -> dict[str, list[float]]:
    """Seconds of each step in each round; on a GPU, the mean over 20 steps in a row."""
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
