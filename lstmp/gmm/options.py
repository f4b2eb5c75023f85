"""Options and stage inputs that the command lines of the GMM steps share."""

import argparse
from pathlib import Path

from lstmp.device import DEFAULT_MEMORY, for_processes, memory_size
from lstmp.features.load import data_inputs


def parser(prog: str, description: str, config: str) -> argparse.ArgumentParser:
    """A parser with ``--data --lang --out --config --nj --memory --device``.

    ``config`` is the default file below conf/.
    """
    p = argparse.ArgumentParser(prog=prog, description=description)
    p.add_argument("--data", type=Path, required=True, help="data dir with MFCC features")
    p.add_argument("--lang", type=Path, required=True, help="lang folder")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--config", type=Path, default=Path("conf") / config, help="default: %(default)s")
    p.add_argument("--nj", type=int, default=1, help="number of processes (default: %(default)s)")
    p.add_argument("--memory", default=DEFAULT_MEMORY, type=memory_size, metavar="GiB", help="of features and graphs "
                   "that each process keeps in memory; the rest is read again in each pass. A process takes up to 1.5 "
                   "times as much and 0.3 GiB in all (default: %(default)s)")
    p.add_argument("--device", default="cpu", type=for_processes, help="cpu or cuda (default: %(default)s)")
    return p


def training_parser(prog: str, description: str, config: str) -> argparse.ArgumentParser:
    """:func:`parser` with ``--seed``."""
    p = parser(prog, description, config)
    p.add_argument("--seed", type=int, default=1, help="random seed for splitting Gaussians (default: %(default)s)")
    return p


def add_fmllr(p: argparse.ArgumentParser):
    """Add ``--fmllr-config``."""
    p.add_argument("--fmllr-config", type=Path, default=Path("conf/fmllr.yaml"),
                   help="settings of fMLLR estimation, used for a speaker-adapted model (default: %(default)s)")


def stage_inputs(data: Path, lang: Path) -> list[Path]:
    """Inputs of training or alignment for :class:`lstmp.stage.Stage`: a data dir with features, and a lang folder."""
    return [*data_inputs(data, "text"), lang]
