"""How long training would take on machines that we do not have: a simulation from figures measured on one that we have.

    python -m benchmarks.projection --core-speed 5500

``--core-speed`` is what benchmarks/scaling.py says of one process: frames per second of the network of conf/lstmp.yaml,
1.88 million weights. All else is assumed, and stands in the tables below: speeds of GPUs, of networks between machines,
how much machines differ. The simulation draws every worker's time for every update, adds the exchange, and lets those
who ask a parameter server wait in line; it prints hours, what share of the time the workers compute, and staleness.
"""

import argparse
import heapq
from dataclasses import dataclass

import numpy as np

from lstmp.errors import UserError, command

MEASURED_WEIGHTS = 1.88e6  # of the network whose speed --core-speed is
FLOPS = 6  # floating-point operations for a weight and a frame: forward, and backward twice as many
FRAMES_PER_HOUR = 360_000
GPU_FLOPS = 30e12  # assumed: what a GPU of the Hopper class does in float32 products with TF32, of 400e12 on paper
GPU_STEP = 50e-6  # assumed: seconds for the small operations of one layer and one frame, forward or backward
JITTER = 0.05  # assumed: standard deviation of the logarithm of an update's time
SLOW = 0.02, 3.0  # assumed: this share of the updates takes so many times as long (another job, the disk)
LATENCY = 50e-6  # assumed: seconds for a message between machines


@dataclass(frozen=True)
class Data:
    name: str
    hours: float
    weights: float
    epochs: int


@dataclass(frozen=True)
class Cluster:
    """``workers`` processes on ``machines``; ``bandwidth`` is bytes a second of a machine, ``inside`` of a GPU."""

    name: str
    workers: int
    machines: int
    streams: int  # of each worker
    gpu: bool
    bandwidth: float
    inside: float = 0.0
    servers: int = 0  # 0: synchronous
    every: int = 1  # batches between two exchanges of a machine


DATA = [Data("LibriSpeech, 960 h", 960, 9.0e6, 8), Data("the papers' 1,900 h", 1900, 13.16e6, 10)]
CLUSTERS = [
    Cluster("8 GPUs in a machine", 8, 1, 64, True, 12.5e9, 200e9),
    Cluster("64 GPUs in 8 machines, 100 Gbit/s", 64, 8, 64, True, 12.5e9, 200e9),
    Cluster("64 GPUs in 8 machines, 10 Gbit/s", 64, 8, 64, True, 1.25e9, 200e9),
    Cluster("500 machines of 3 cores, 10 Gbit/s, 20 servers, every batch", 1500, 500, 6, False, 1.25e9, 0, 20, 1),
    Cluster("the same, exchange every 10 batches", 1500, 500, 6, False, 1.25e9, 0, 20, 10),
    Cluster("the same, 100 servers, every 10 batches", 1500, 500, 6, False, 1.25e9, 0, 100, 10),
]


def batch_seconds(data: Data, cluster: Cluster, core_speed: float, chunk: int = 20, layers: int = 2) -> float:
    """Of a worker's batch, without any exchange."""
    frames = cluster.streams * chunk
    if cluster.gpu:
        return 2 * layers * chunk * GPU_STEP + FLOPS * data.weights * frames / GPU_FLOPS
    return frames / (core_speed * MEASURED_WEIGHTS / data.weights)


def jittered(rng, seconds: float, count) -> np.ndarray:
    slow = np.where(rng.random(count) < SLOW[0], SLOW[1], 1.0)
    return seconds * rng.lognormal(0, JITTER, count) * slow


def all_reduce(bytes_: float, cluster: Cluster) -> float:
    """Seconds: in rings, inside the machines and between them."""
    per = cluster.workers // cluster.machines
    inside = 2 * (per - 1) / per * bytes_ / cluster.inside
    if cluster.machines == 1:
        return inside
    return inside + 2 * (cluster.machines - 1) / cluster.machines * bytes_ / cluster.bandwidth \
        + 2 * (cluster.machines - 1) * LATENCY


def synchronous(data: Data, cluster: Cluster, core_speed: float, rng, updates: int = 2000):
    """(seconds of an update, of it computing, of it the exchange, staleness): all wait for the slowest."""
    compute = batch_seconds(data, cluster, core_speed)
    slowest = jittered(rng, compute, (updates, cluster.workers)).max(1).mean()
    exchange = all_reduce(4 * data.weights, cluster)
    return slowest + exchange, compute, exchange, 0.0


def asynchronous(data: Data, cluster: Cluster, core_speed: float, rng, exchanges: int = 20_000):
    """The same for a machine's batch. A machine computes, then sends to all servers and waits for their answers.

    A server gives each exchange the time that its part takes on its network, one after the other; the servers are
    alike, so that one line stands for all.
    """
    compute = batch_seconds(data, cluster, core_speed) * cluster.every
    service = 4 * data.weights / cluster.servers / cluster.bandwidth  # in, and out at the same time
    wire = 2 * 4 * data.weights / cluster.bandwidth + 2 * LATENCY
    ready = [(t, m) for m, t in enumerate(rng.uniform(0, compute, cluster.machines))]
    heapq.heapify(ready)
    free = done = 0.0
    additions, known, stale = 0, np.zeros(cluster.machines, int), []
    waited = 0.0
    for _ in range(exchanges):
        at, machine = heapq.heappop(ready)
        free = max(free, at) + service
        done = free + wire - service
        waited += done - at
        stale.append(additions - known[machine])
        additions += 1
        known[machine] = additions
        heapq.heappush(ready, (done + float(jittered(rng, compute, None)), machine))
    half = np.mean(stale[exchanges // 2:])
    cycle = compute * (1 + SLOW[0] * (SLOW[1] - 1)) + waited / exchanges
    return cycle / cluster.every, compute / cluster.every, waited / exchanges / cluster.every, float(half)


@command
def main(argv=None):
    """Print the projection."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--core-speed", type=float, required=True, help="frames per second of one process, measured")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args(argv)
    if a.core_speed <= 0:
        raise UserError("--core-speed must be above 0", hint="take it from benchmarks/scaling.py")
    rng = np.random.default_rng(a.seed)
    print("| data | machines | streams in all | frames/s | hours an epoch | hours in all | computing, % of the time | "
          "exchange, ms a batch | staleness, exchanges of others |\n|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for data in DATA:
        for c in CLUSTERS:
            way = asynchronous if c.servers else synchronous
            batch, compute, exchange, stale = way(data, c, a.core_speed, rng)
            speed = c.workers * c.streams * 20 / batch
            hours = data.hours * FRAMES_PER_HOUR / speed / 3600
            print(f"| {data.name} | {c.name} | {c.workers * c.streams:,} | {speed:,.0f} | {hours:.2f} | "
                  f"{hours * data.epochs:.1f} | {100 * compute / batch:.0f} | {1e3 * exchange:.1f} | {stale:.0f} |")


if __name__ == "__main__":
    main()
