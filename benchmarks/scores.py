"""Compares the speed of a network's acoustic scores, in frames per second of processor time: weights packed in float32,
bfloat16 and 8-bit integers (:mod:`lstmp.nnet.kernels.scoring`), and without packing, as in training.

Two cases: whole utterances in batches, as `steps/decode.sh` scores them, and one stream in pieces of 0.1 seconds, as in
live recognition. The network has 2 layers of 512 cells and 256 projections, 40 inputs, 2,000 states; or ``--model``.
The variants take turns in one run.

    python -m benchmarks.scores --data data/mini_librispeech/dev
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.decode.jobs import batches
from lstmp.machine import machine
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.kernels.scoring import WEIGHTS
from lstmp.nnet.layers import LstmpLayer
from lstmp.nnet.model import StateNetwork

INPUTS, STATES, PIECE = 40, 2000, 10


def make_network(model: Path | None, weights: str, packed: bool = True) -> AcousticNetwork:
    """The network of a folder, or one with random weights."""
    if model:
        network = AcousticNetwork.load(model, weights=weights)
    else:
        cfg = replace(config.load(Path(__file__).parents[1] / "conf" / "lstmp.yaml", LstmpConfig), layers=2, cells=512,
                      recurrent_projection=256, projection=0)
        untrained = StateNetwork(cfg, INPUTS, STATES)
        untrained.initialize(1)
        network = AcousticNetwork(cfg, untrained, torch.zeros(STATES), weights=weights)
    if not packed:
        for layer in network.model.modules():
            if isinstance(layer, LstmpLayer):
                layer.packed, layer.bf16 = None, False
    return network


def score_stream(network: AcousticNetwork, feats: torch.Tensor):
    """Score an utterance piece by piece."""
    stream = NetworkStream(network)
    for piece in feats.split(PIECE):
        stream.accept(piece)
    stream.finish()


def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, help="data dir whose utterances' lengths are used; default: 2 to 18 s")
    p.add_argument("--utterances", type=int, default=100, help="number of utterances (%(default)s)")
    p.add_argument("--model", type=Path, help="folder of a network to use instead of random weights")
    p.add_argument("--rounds", type=int, default=5, help="measurements of each variant (%(default)s)")
    a = p.parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    lengths = [int(n) for n in read_table(a.data / "utt2num_frames").values()] if a.data else list(range(200, 1800, 16))
    lengths = sorted(lengths[:a.utterances], reverse=True)  # as they are decoded
    networks = {"not packed, fp32": make_network(a.model, "fp32", packed=False)}
    networks |= {f"packed, {weights}": make_network(a.model, weights) for weights in WEIGHTS}
    dim = networks["packed, fp32"].dim
    whole = [[torch.randn(n, dim) for n in batch] for batch in batches((n, n) for n in lengths)]
    cases = {"whole utterances": (sum(lengths), lambda network: [network.batch(batch) for batch in whole]),
             "one stream": (sum(lengths[:3]), lambda network: [score_stream(network, x) for x in whole[0][:3]])}
    print(f"torch {torch.__version__}, 1 thread, {machine()}")
    print(f"frames per second of processor time: median (best) of {a.rounds}")
    for title, (frames, run) in cases.items():
        print(title)
        times: dict[str, list[float]] = {name: [] for name in networks}
        for turn in range(a.rounds + 1):
            for name, network in networks.items():
                begin = time.process_time()
                run(network)
                if turn:  # the first warms up
                    times[name].append(time.process_time() - begin)
        base = statistics.median(times["not packed, fp32"])
        for name, taken in times.items():
            median = statistics.median(taken)
            print(f"  {name:20}{f'{frames / median:,.0f} ({frames / min(taken):,.0f})':>20}{base / median:>8.2f} times")


if __name__ == "__main__":
    main()
