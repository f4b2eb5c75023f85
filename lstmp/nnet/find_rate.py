"""Learning-rate range test: the largest rate at which a network still learns (Smith, arXiv 1506.01186, section 3.3).

The network is trained for about a thousand batches while the rate rises geometrically. While the rate is too small the
loss hardly changes, then it falls, and above the largest stable rate it rises again or is no longer finite. The papers
use the largest stable rate. The test estimates it as the rate at which the smoothed loss was smallest, moved back by
the number of batches by which smoothing lags. It writes only a table and a picture.

Batches differ: silence is easy to predict, and many utterances begin with it. So before smoothing we subtract from each
batch's loss how much more the priors of the tied states alone lose on it than on average.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lstmp import config, files
from lstmp.errors import UserError, command
from lstmp.log import progress, say
from lstmp.nnet.augment import Augment
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import Frames
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.distributed.workers import default_threads, flush_denormals
from lstmp.nnet.kernels.fused import reduced_precision, resolve_precision
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.step_results import Diverged
from lstmp.nnet.streams import Streams, epoch_frames, frames_per_update, plan
from lstmp.nnet.train import keep_freed_memory, prepare
from lstmp.nnet.trainer import Trainer
from lstmp.picture import plt, write_png

SMOOTHING = 0.9  # weight of the past in the exponential mean over batches
LAG = round(SMOOTHING / (1 - SMOOTHING))  # batches by which the mean is behind
RISE = 1.1  # the test ends when the smoothed loss, corrected and not, is this many times its minimum


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test, one number per batch: float64 [batches], which may be fewer than asked for.

    Attributes:
        rates: learning rate.
        losses: loss per frame.
        smooth: exponential mean of the losses, corrected for how easy each batch is.
    """

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray

    @property
    def largest_stable(self) -> float:
        """The rate at the minimum of the smoothed loss, moved back by the batches by which smoothing lags."""
        settled = min(2 * LAG, len(self.smooth) // 2)  # the first means are those of few batches
        return float(self.rates[max(settled + int(np.argmin(self.smooth[settled:])) - LAG, 0)])

    def write(self, path):
        """Write ``rates.tsv``."""
        rows = zip(self.rates, self.losses, self.smooth, strict=True)
        config.write_text(path, "rate\tloss\tsmoothed\n" + "".join(
            f"{rate:.6g}\t{loss:.5f}\t{mean:.5f}\n" for rate, loss, mean in rows))

    @classmethod
    def read(cls, path) -> "RangeTest":
        """Read the file of :meth:`write`."""
        return cls(*np.loadtxt(path, skiprows=1, ndmin=2).T)


def range_test(cfg: LstmpConfig, model: StateNetwork, train_set: Frames, valid_set: Frames, low: float, high: float,
               batches: int, threads: int = 1) -> RangeTest:
    """Train the freshly initialized ``model`` for at most ``batches`` batches at rates from ``low`` to ``high``.

    Raises:
        UserError: the loss is not finite at the lowest rate.
    """
    cfg = replace(cfg, decay="plateau", lr_initial=high, lr_final=min(low, cfg.lr_final))
    counts = train_set.pdf_counts(model.num_pdfs).clamp(min=1)
    surprise = (counts.sum() / counts).log()  # what the priors lose on a frame of each pdf
    average = float((counts / counts.sum()) @ surprise)
    rates, losses, corrected, uncorrected = [], [], _Mean(), _Mean()
    with files.temporary_folder() as folder, reduced_precision():
        trainer = Trainer(cfg, model, train_set, valid_set, folder, "", team=Team(threads))
        phases, lengths = epoch_frames(cfg, train_set, 0)
        table = plan(lengths, cfg.streams, cfg.chunk, cfg.output_delay, cfg.seed, 0)
        streams = Streams(train_set, table, cfg.chunk, cfg.output_delay, cfg.subsampling, phases)
        divisors = frames_per_update(table, lengths, cfg.chunk, cfg.accumulate)
        augment = Augment(cfg, train_set, 0, model.feature_std)
        try:
            batches = min(batches, len(streams))
            for number in progress(range(batches), "rates", unit="batch"):
                trainer.state.rate_scale = (low / high) ** (1 - number / max(batches - 1, 1))
                previous = trainer.state.sums["loss"]
                batch = streams.batch(number)
                try:
                    frames = trainer.step(batch, augment, number, len(streams), divisors[number])
                except Diverged:
                    break
                if not batch or not frames:  # all targets are still to come: the label delay
                    continue
                losses.append((trainer.state.sums["loss"] - previous) / frames)
                rates.append(high * trainer.state.rate_scale)
                of_priors = surprise[batch.targets[batch.targets >= 0]].mean().item()
                corrected.add(losses[-1] + average - of_priors)
                uncorrected.add(losses[-1])
                if corrected.rises() and uncorrected.rises():
                    break
        finally:
            trainer.team.close()
    if not losses:
        raise UserError(f"the loss is not finite at a rate of {low:g}", hint="lower --low, or check the features")
    return RangeTest(*map(np.array, (rates, losses, corrected.means)))


class _Mean:
    """Exponential mean of a growing sequence, after each of its values."""

    def __init__(self):
        self.means, self._sum = [], 0.0

    def add(self, value: float):
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * value
        self.means.append(self._sum / (1 - SMOOTHING ** (len(self.means) + 1)))

    def rises(self) -> bool:
        """Whether it is far above its minimum; the first means are those of few batches, and do not count."""
        return len(self.means) > 2 * LAG and self.means[-1] > RISE * min(self.means[LAG:])


def plot(test: RangeTest, path, title: str):
    """Plot the loss against the rate, and mark the largest stable rate."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.semilogx(test.rates, test.losses, color="0.75", linewidth=0.8, label="each batch")
    axes.semilogx(test.rates, test.smooth, label="smoothed, corrected for easy batches")
    axes.axvline(test.largest_stable, linestyle=":", color="C1", label=f"largest stable: {test.largest_stable:.2g}")
    axes.set(xlabel="learning rate", ylabel="loss per frame, nats", title=title,
             ylim=(0.95 * test.losses.min(), 1.1 * np.median(test.smooth[:2 * LAG])))
    axes.legend()
    write_png(figure, path, dpi=110)


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/find_rate.sh", description=__doc__.split("\n")[0])
    p.add_argument("--config", default="conf/lstmp.yaml", help="network and training options (default: %(default)s)")
    p.add_argument("--train", required=True, metavar="DIR", help="data dir with features")
    p.add_argument("--ali", required=True, metavar="DIR", help="its alignment")
    p.add_argument("--valid", required=True, metavar="DIR|LIST", help="held-out set, as for steps/train_lstmp.sh")
    p.add_argument("--ivectors", metavar="DIR", help="for `ivector_dim`: folder of the i-vector extractor")
    p.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for rates.tsv and rates.png")
    p.add_argument("--low", type=float, default=1e-5, help="first rate (default: %(default)g)")
    p.add_argument("--high", type=float, default=1.0, help="last rate (default: %(default)g)")
    p.add_argument("--batches", type=int, default=1000, help="number of batches (default: %(default)s)")
    p.add_argument("--threads", type=int, default=default_threads(),
                   help="threads that share a batch (default: all processors)")
    a = p.parse_args(argv)
    if not 0 < a.low < a.high < math.inf or a.batches < 10 or a.threads < 1:
        raise UserError("--low must be above 0 and below --high, --batches 10 or more, --threads 1 or more",
                        hint="correct the value")
    cfg = resolve_precision(config.load(a.config, LstmpConfig), "cpu")
    if cfg.criterion != "cross_entropy":
        raise UserError("the test is for training by cross entropy", file=a.config, hint="set criterion: cross_entropy")
    flush_denormals()
    keep_freed_memory()
    prepared = prepare(cfg, a.train, a.ali, a.valid, ivectors=a.ivectors)
    test = range_test(cfg, *prepared, a.low, a.high, a.batches, a.threads)
    test.write(a.out / "rates.tsv")
    plot(test, a.out / "rates.png", f"{cfg.optimizer}, {cfg.layers} layers of {cfg.cells}")
    say(f"{a.out}: {len(test.rates)} batches; the largest stable rate is about {test.largest_stable:.2g}: a good "
        "lr_initial is half of it; less for many layers, which may not stand it for an epoch")


if __name__ == "__main__":
    main()
