"""Processor time of sequence training on lattices for an hour of speech, by part, on one core.

    python -m benchmarks.sequence --network exp/<recipe>/lstmp --graph exp/<recipe>/<targets>/graph_weak \
        --data <data dir of its input> --ali exp/<recipe>/<targets>_ali

The weights are those of the network; training itself (forward and backward) is not in the figures.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import command
from lstmp.features.ark import read_int_vector, vector_index
from lstmp.features.load import Features
from lstmp.log import say
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.load_frames import alignment_file
from lstmp.sequence import criterion
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.training import SequenceSource


class Timed:
    """A function whose processor time is added up; ``results``: what it returned."""

    def __init__(self, function):
        self.function, self.seconds, self.results = function, 0.0, []

    def __call__(self, *args):
        before = time.process_time()
        self.results.append(self.function(*args))
        self.seconds += time.process_time() - before
        return self.results[-1]


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.sequence", description=__doc__.split("\n")[0])
    for name, what in (("network", "trained network"), ("graph", "graph with a weak language model"),
                       ("data", "data dir with its features"), ("ali", "their alignment")):
        p.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=what)
    p.add_argument("--config", type=Path, default=Path("conf/sequence.yaml"), help="default: %(default)s")
    p.add_argument("--utterances", type=int, default=16, help="default: %(default)s")
    a = p.parse_args(argv)
    torch.set_num_threads(1)
    network, options = AcousticNetwork.load(a.network), config.load(a.config, SequenceConfig)
    source, features = SequenceSource(options, a.graph, a.network), Features(a.data, network.feature)
    index = vector_index(alignment_file(a.ali))
    utts = [utt for utt in features.utts if utt in index]
    utts = utts[::max(1, len(utts) // a.utterances)][:a.utterances]
    scores, pdfs = [network(features.load(utt)) for utt in utts], [read_int_vector(index[utt]) for utt in utts]
    hour = 3600 / network.frame_shift / network.cfg.subsampling / sum(map(len, scores))
    for name in ("smbr", "mmi"):
        cfg = config.build(config.to_dict(network.cfg) | {"chunk": 0, "criterion": name}, LstmpConfig)
        lattices = source.prepare(cfg, [], a.ali, network.num_pdfs, "cpu", True).lattices
        search, path = Timed(criterion.make_lattice), Timed(criterion.aligned_path)
        whole = Timed(lambda x, y, of=lattices: of.of_utterance((x * of.scale).numpy(), y.astype(np.int64)))
        parts = {"make_lattice": search, "aligned_path": path}
        before = {key: getattr(criterion, key) for key in parts}
        for key, timed in parts.items():
            setattr(criterion, key, timed)
        for x, y in zip(scores, pdfs, strict=True):
            whole(x, y)
        for key, function in before.items():
            setattr(criterion, key, function)
        arcs = sum(len(lattice.arc) for lattice in search.results if lattice) / sum(map(len, scores))
        rest = whole.seconds - search.seconds - path.seconds
        say(f"{name}: {whole.seconds * hour:.0f} s for an hour: search {search.seconds * hour:.0f}, path of the "
            f"alignment {path.seconds * hour:.0f}, sums over lattices {rest * hour:.0f}; {arcs:.0f} arcs per frame")


if __name__ == "__main__":
    main()
