"""Measures training speed, in frames per second, with several processes, synchronous and asynchronous, and with one.

    python -m benchmarks.scaling --processes 1 2 --streams 64 32 --rounds 5

Every process has one thread. Each row trains the network of conf/lstmp.yaml, without dropout, on random features and
states with the recipe's Trainer: forward, backward, exchange, update. Configurations take turns, and the numbers are
medians over the rounds. ``streams`` counts the streams of all processes together: a row with 64 streams and 2 processes
is the same training as one with 64 streams and 1 process; with 128 streams and 2 processes, each process has as much
work as with 64 and 1. ``exchange`` is the part of an update's time that the exchange takes. For synchronous training it
is the difference between the same batches with and without the exchange, for asynchronous training the time spent in
exchanges. Nothing else should run on the machine.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from lstmp import config, distributed
from lstmp.errors import command
from lstmp.log import progress
from lstmp.nnet.augment import Augment
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.optimizer import clip_gradients
from lstmp.nnet.streams import Streams, epoch_frames, plan
from lstmp.nnet.train import keep_freed_memory, make_team
from lstmp.nnet.trainer import Trainer

INPUTS, STATES = 40, 2000


def frames(streams: int, length: int) -> FrameSet:
    """One random utterance of ``length`` frames for each stream, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return FrameSet([f"u{i}" for i in range(streams)], length * torch.arange(streams + 1),
                    torch.randn(streams * length, INPUTS, generator=generator),
                    torch.randint(STATES, (streams * length,), generator=generator))


def measure(cfg: LstmpConfig, batches: int, result: str):
    """Train for some batches in each process; the first writes seconds and bytes of an update to ``result``."""
    flush_denormals()
    keep_freed_memory()
    torch.set_num_threads(1)
    team = make_team(cfg, "cpu", 1)
    model = StateNetwork(cfg, INPUTS, STATES)
    model.initialize(1)
    data = frames(cfg.streams, cfg.subsampling * cfg.chunk * (2 * batches + 10))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(cfg, model, data, data, folder, "", team=team)
        team.join(model)
        phases, lengths = epoch_frames(cfg, data, 0)
        table = plan(lengths, cfg.streams, cfg.chunk, cfg.output_delay, 1, 0)
        mine = table.select(team.my_streams(cfg.streams, 0, 0))
        streams = Streams(data, mine, cfg.chunk, cfg.output_delay, cfg.subsampling, phases)
        augment, divisor = Augment(cfg, data, 0), cfg.streams * cfg.chunk

        def run(first: int, count: int) -> float:
            """Seconds per update, over ``count`` batches from batch ``first``."""
            team.gather(None)
            began = time.perf_counter()
            for number in range(first, first + count):
                trainer.step(streams.batch(number), augment, number, len(table), divisor)
                team.after_batch()
            team.gather(None)
            return (time.perf_counter() - began) / count

        run(0, 5)
        taken = run(5, batches)
        exchange = sent = 0.0
        weights = 4 * sum(p.numel() for p in model.parameters())
        if cfg.updates == "asynchronous":
            exchange = team.shared.seconds / (batches + 5)
            sent = 2 * weights  # to the shared memory and from it
        elif team.size > 1:
            # no batch is the last of an update, so nothing is exchanged
            trainer.cfg = replace(cfg, accumulate=1 << 30)
            trainer.step(streams.batch(5 + batches), augment, 1 << 30, 1 << 31, divisor)
            exchange = taken - run(6 + batches, batches) - update_seconds(trainer)
            sent = 2 * (team.size - 1) / team.size * weights / (2 if cfg.gradient_precision == "bf16" else 1)
        if team.leads:
            Path(result).write_text(json.dumps([taken, exchange, sent]))
    team.close()


def update_seconds(trainer: Trainer) -> float:
    """Seconds of clipping and the optimizer's step, which happen only in the last batch of an update."""
    began = time.perf_counter()
    for _ in range(5):
        clip_gradients(trainer.model, 1.0, 0.0)
        trainer.optimizer.step()
    return (time.perf_counter() - began) / 5


def label(cfg: LstmpConfig, nj: int) -> str:
    if nj == 1:
        return "one process"
    return cfg.updates + (", bf16" if cfg.gradient_precision == "bf16" else "")


@command
def main(argv=None):
    """Print frames per second, and what the exchange costs, for each number of processes and streams."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", default="conf/lstmp.yaml", help="network (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2],
                        help="numbers of processes to measure (default: 1 2)")
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 64, 128],
                        help="numbers of streams to measure (default: 32 64 128)")
    parser.add_argument("--batches", type=int, default=25, help="batches per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each row (default: %(default)s)")
    args = parser.parse_args(argv)
    cfg = replace(config.load(args.config, LstmpConfig), dropout=0.0, freq_masks=0)
    jobs = []
    for streams in args.streams:
        for nj in args.processes:
            base = replace(cfg, streams=streams)
            configs = [base] if nj == 1 else [base, replace(base, gradient_precision="bf16"),
                                              replace(base, updates="asynchronous")]
            jobs += [(conf, nj) for conf in configs]
    results = [[] for _ in jobs]
    with tempfile.TemporaryDirectory() as folder:
        result = str(Path(folder) / "result.json")
        for _ in progress(range(args.rounds), "rounds", unit="round"):
            for (conf, nj), values in zip(jobs, results, strict=True):
                distributed.launch(measure, nj, conf, args.batches, result)
                values.append(json.loads(Path(result).read_text()))
    speed = {(conf.streams, label(conf, nj), nj):
             conf.streams * conf.chunk / statistics.median(v[0] for v in values)
             for (conf, nj), values in zip(jobs, results, strict=True)}
    print("| streams | processes | updates | frames/s | against one process | ms an update | exchange, ms | MB sent |\n"
          "|---:|---:|---|---:|---:|---:|---:|---:|")
    for (conf, nj), values in zip(jobs, results, strict=True):
        mine, one = speed[conf.streams, label(conf, nj), nj], speed.get((conf.streams, "one process", 1))
        taken, exchange, sent = (statistics.median(v[i] for v in values) for i in range(3))
        print(f"| {conf.streams} | {nj} | {label(conf, nj)} | {mine:,.0f} | {mine / one if one else 0:.2f} | "
              f"{1e3 * taken:.1f} | {1e3 * exchange:.1f} | {sent / 1e6:.1f} |")


if __name__ == "__main__":
    main()
