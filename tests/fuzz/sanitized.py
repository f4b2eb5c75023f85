"""Search damaged graphs and lattices with search.cpp and lattice.cpp under AddressSanitizer; run by test_sanitized.py.

    LD_PRELOAD=libasan.so python sanitized.py FOLDER COUNT SEED

Damaged files that the readers accept are searched; the others are refused. Prints the number of both.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from helpers.small_graphs import WIDE, SmallGraph, bundled, scores  # noqa: E402
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lstmp import native  # noqa: E402

native.FLAGS = ("-O1", "-g", "-std=c++17", "-fsanitize=address", "-fno-omit-frame-pointer")

from lstmp.decode.engine import CompiledSearch  # noqa: E402
from lstmp.decode.lattice import read_lattices, write_lattices  # noqa: E402
from lstmp.decode.lattice_paths import arc_posteriors, best_paths  # noqa: E402
from lstmp.decode.search import decode_utterance  # noqa: E402
from lstmp.decode.search_graph import SearchGraph  # noqa: E402
from lstmp.errors import UserError  # noqa: E402
from lstmp.graph.graph_file import NAME, write_graph_file  # noqa: E402

ODD = [-(2**31), -2, -1, 0, 1, 2, 5, 255, 2**15, 2**31 - 1]


def damaged(path: Path, rng: np.random.Generator):
    """Change some numbers of one tensor of a file, or cut a tensor."""
    tensors = load_file(path)
    with safe_open(path, "pt") as f:
        metadata = f.metadata()
    name = str(rng.choice(sorted(tensors)))
    flat = tensors[name].reshape(-1).clone()
    for _ in range(rng.integers(1, 4)):
        if len(flat) and rng.random() < 0.8:
            index = int(rng.integers(len(flat)))
            near = int(flat[index]) + int(rng.integers(-3, 4)) if flat[index].isfinite() else 0
            value = ODD[rng.integers(len(ODD))] if rng.random() < 0.5 else near
            low, high = (0, 255) if flat.dtype == torch.uint8 else (-(2**31), 2**31 - 1)
            flat[index] = min(max(value, low), high)
    tensors[name] = flat.reshape(tensors[name].shape)
    if rng.random() < 0.1:
        tensors[name] = tensors[name][:rng.integers(len(tensors[name]) + 1)].clone()
    save_file(tensors, path, metadata)


def search(folder: Path, rng: np.random.Generator, seed: int):
    write_graph_file((bundled(seed) if seed % 2 else SmallGraph.random(seed).engine(4)).bundled, folder, 4)
    damaged(folder / NAME, rng)
    graph = SearchGraph.load(folder)
    if graph.num_pdfs != 4:
        raise UserError("of another model")
    rows = scores(seed, 12)
    for cfg in (WIDE, WIDE.wider()):
        decode_utterance(graph, rows, cfg)
        one = CompiledSearch(graph, cfg)
        one.advance(rows.numpy(), 4)
        for to_end in (False, True):
            if (path := one.path(to_end, 12)) is not None:
                graph.words_on(path.arcs)


def paths(folder: Path, rng: np.random.Generator, seed: int):
    lattices = {f"u{n}": decode_utterance(SmallGraph.random(seed + n).engine(4), scores(seed + n, 9), WIDE)
                for n in range(2)}
    write_lattices(folder / "lat", lattices)
    damaged(folder / "lat", rng)
    for lattice in read_lattices(folder / "lat").values():
        if lattice.num_arcs:
            arc_posteriors(lattice, 0.1)
            best_paths(lattice, [(8, 0.0), (9, 0.5)])


def main(folder: Path, count: int, seed: int):
    accepted = refused = 0
    for n in range(count):
        rng = np.random.default_rng((seed, n))
        for work in (search, paths):
            try:
                work(folder, rng, n % 20)
                accepted += 1
            except UserError:
                refused += 1
    print(f"{accepted} accepted, {refused} refused")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
