"""The training loop: truncated BPTT, frame cross entropy, checkpoints from which training goes on exactly.

A batch is a function of seed, epoch and batch number: the order of the utterances, the masks, the dropout and the
noise are drawn from these three alone (dropout also from the number of threads, which share a batch's streams). What
a checkpoint holds besides is the weights, the optimizer's moments, the carried state and the running sums. An
interrupted and an uninterrupted training therefore end with the same weights.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.log import progress, say, warn
from lstmp.nnet import checkpoint
from lstmp.nnet.augment import Augment
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.curve import write_events
from lstmp.nnet.data import FrameSet
from lstmp.nnet.evaluate import evaluate
from lstmp.nnet.model import LstmpNetwork
from lstmp.nnet.streams import Batch, Streams, carry_state, plan
from lstmp.nnet.workers import Workers

_NO_SUMS = {"loss": 0.0, "correct": 0, "frames": 0, "seconds": 0.0, "cpu_seconds": 0.0}


class Diverged(Exception):
    """Loss or gradient is NaN or infinite; carries the utterances of the batch."""

    def __init__(self, what: str, epoch: int, batch: int, utts: list[str]):
        super().__init__(what)
        self.what, self.epoch, self.batch, self.utts = what, epoch, batch, utts


class Trainer:
    """Trains ``model``; see :meth:`run`.

    Args:
        cfg: configuration.
        model: initialized, on ``device``.
        train, valid: normalized features and pdf-ids.
        out: folder for last.safetensors, best.safetensors and log.jsonl.
        fingerprint: digest of data and configuration; a checkpoint with another one is not gone on from.
        device: "cpu" or "cuda".
        threads: share the streams of a batch among so many threads (1 on a GPU).
    """

    def __init__(self, cfg: LstmpConfig, model: LstmpNetwork, train: FrameSet, valid: FrameSet, out, fingerprint: str,
                 device: str = "cpu", threads: int = 1):
        self.cfg, self.model, self.train, self.valid = cfg, model, train, valid
        self.out, self.fingerprint, self.device = Path(out), fingerprint, device
        self.optimizer = make_optimizer(cfg, model)
        self.workers = Workers(threads)
        self.generators = [torch.Generator(device=device) for _ in range(threads)]  # dropout, one for each thread
        self.noise_generator = torch.Generator()
        self.epoch = self.batch = 0  # what comes next, both from 0
        self.rate_scale, self.retries = 1.0, 0
        self.sums = dict(_NO_SUMS)
        self.history: list[dict] = []
        self.state = None
        self.seconds = 0.0  # of all runs, up to the last clock()
        self._clock = self._saved = time.monotonic()
        self._cpu_clock = time.process_time()

    @property
    def last_path(self) -> Path:
        return self.out / "last.safetensors"

    def run(self):
        """Train to the last epoch, from the checkpoint in ``out`` if there is one of the same data and settings.

        Raises:
            UserError: loss or gradient are not finite even after ``divergence_retries`` returns to the last
                checkpoint, each with a smaller learning rate.
        """
        if not self.resume():
            for stale in (*self.out.glob("epoch*.safetensors"), self.out / "best.safetensors"):
                stale.unlink(missing_ok=True)
            self.save()
        self._clock = self._saved = time.monotonic()
        self._cpu_clock = time.process_time()
        while not self.finished():
            try:
                self.run_epoch()
            except Diverged as fault:
                self.step_back(fault)

    def finished(self) -> bool:
        """All epochs are done, the held-out loss has not fallen for `patience` of them, or the rate is at its end."""
        cfg, losses = self.cfg, [h["loss_valid"] for h in self.history]
        if self.epoch >= cfg.epochs:
            return True
        if cfg.patience and losses and len(losses) - 1 - int(np.argmin(losses)) >= cfg.patience:
            say(f"the held-out loss has not fallen for {cfg.patience} epochs: training ends")
            return True
        if cfg.decay == "plateau" and self.history and self.rate_scale * cfg.lr_initial < cfg.lr_final:
            say(f"the learning rate is below lr_final, {cfg.lr_final:g}: training ends")
            return True
        return False

    def run_epoch(self):
        """Train the rest of the current epoch, evaluate on the held-out utterances, write the checkpoints."""
        cfg, lengths = self.cfg, self.train.lengths
        table = plan(lengths, cfg.streams, cfg.chunk, cfg.label_delay, cfg.seed, self.epoch)
        streams = Streams(self.train, table, cfg.chunk, cfg.label_delay)
        augment = Augment(cfg, self.train, self.epoch, self.model.feature_std)
        bar = progress(range(self.batch, len(streams)), f"epoch {self.epoch + 1}/{cfg.epochs}", unit="batch")
        shown, since, seen = time.monotonic(), time.monotonic(), 0
        for number in bar:
            batch = streams.batch(number)
            seen += self.step(batch, augment, number, len(streams))
            self.batch = number + 1
            now = time.monotonic()
            if now - shown > 0.5:
                bar.set_postfix_str(self._status(seen / (now - since), len(streams)), refresh=False)
                shown = now
            if now - self._saved > 60 * cfg.checkpoint_minutes and self.batch < len(streams):
                self.save()
        self._end_epoch(len(streams))

    def step(self, batch: Batch, augment: Augment, number: int, batches: int) -> int:
        """One update of the weights. Returns the number of frames with a target."""
        cfg = self.cfg
        self.noise_generator.manual_seed(batch_seed(cfg.seed, self.epoch, number))
        x, targets = augment(batch, self.noise_generator).to(self.device), batch.targets.to(self.device)
        fresh = number == 0 or cfg.chunk == 0
        state = self.model.zero_state(len(batch.utts)) if fresh else carry_state(self.state, batch)
        frames = int((batch.targets >= 0).sum())
        # Divided by the frames of a full batch, so that a frame weighs the same in the last, thinner batches.
        full = min(cfg.streams, len(self.train.utts)) * cfg.chunk or frames
        params = list(self.model.parameters())

        def run(share):
            part, columns = share
            generator = self.generators[part].manual_seed(batch_seed(cfg.seed, self.epoch, number, part))
            loss, correct, new = self.model.loss(x[:, columns], [(r[columns], c[columns]) for r, c in state],
                                                 targets[:, columns], full, generator, batch.lengths[columns])
            return float(loss), int(correct), new, torch.autograd.grad(loss, params)

        results = self.workers.map(run, enumerate(self.workers.shares(len(batch.utts))))
        losses, corrects, states, grads = zip(*results, strict=True)
        if not np.isfinite(value := sum(losses)):
            raise Diverged(f"the loss is {value}", self.epoch, number, self._names(batch))
        for p, *parts in zip(params, *grads, strict=True):
            p.grad = parts[0]
            for part in parts[1:]:
                p.grad.add_(part)
        if not np.isfinite(norm := clip_gradients(self.model, cfg.grad_clip, cfg.grad_norm_clip)):
            raise Diverged(f"the gradient's norm is {norm}", self.epoch, number, self._names(batch))
        self.state = [tuple(torch.cat(parts).detach() for parts in zip(*layer, strict=True))
                      for layer in zip(*states, strict=True)]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_scale * learning_rate(cfg, (self.epoch + number / batches) / cfg.epochs)
        self.optimizer.step()
        self.sums["loss"] += value * full
        self.sums["correct"] += sum(corrects)
        self.sums["frames"] += frames
        return frames

    def _end_epoch(self, batches: int):
        self.clock()
        loss, accuracy = evaluate(self.model, self.valid, self.cfg.label_delay, self.workers, self.device)
        sums = self.sums
        rate = self.rate_scale * learning_rate(self.cfg, (self.epoch + 1) / self.cfg.epochs)
        seconds = sums["seconds"]
        self.history.append({
            "epoch": self.epoch + 1, "learning_rate": rate, "batches": batches, "frames": sums["frames"],
            "loss_train": sums["loss"] / sums["frames"], "accuracy_train": sums["correct"] / sums["frames"],
            "loss_valid": loss, "accuracy_valid": accuracy, "seconds": round(seconds, 1),
            "cpu_seconds": round(sums["cpu_seconds"], 1),
            "frames_per_second": round(sums["frames"] / max(seconds, 1e-9)),
        })
        row = self.history[-1]
        say(f"epoch {row['epoch']}/{self.cfg.epochs}: loss {row['loss_train']:.3f} held out {loss:.3f}, "
            f"frame accuracy {row['accuracy_train']:.2%} held out {accuracy:.2%}, rate {rate:.2g}, "
            f"{row['frames_per_second']:,} frames/s, {seconds / 60:.1f} min")
        weights = dict(self.model.state_dict())
        if accuracy >= max(h["accuracy_valid"] for h in self.history):
            checkpoint.write(self.out / "best.safetensors", weights, row)
        if self.cfg.average_last:
            checkpoint.write(self.epoch_path(self.epoch), weights, row)
            self.epoch_path(self.epoch - self.cfg.average_last).unlink(missing_ok=True)
        if self.cfg.decay == "plateau" and loss > min(h["loss_valid"] for h in self.history):
            self.rate_scale *= self.cfg.plateau_factor
        self.epoch, self.batch, self.state = self.epoch + 1, 0, None
        self.sums = dict(_NO_SUMS)
        config.write_text(self.out / "log.jsonl", "".join(json.dumps(h) + "\n" for h in self.history))
        write_events(row, self.out / "tensorboard")
        self.save()

    def epoch_path(self, epoch: int) -> Path:
        """Where the weights after an epoch (from 0) are kept for the average."""
        return self.out / f"epoch{epoch + 1}.safetensors"

    def step_back(self, fault: Diverged):
        """Return to the last checkpoint with a smaller learning rate."""
        where = f"epoch {fault.epoch + 1}, batch {fault.batch + 1}: {fault.what}"
        names = " ".join(fault.utts[:10]) + (f" and {len(fault.utts) - 10} more" if len(fault.utts) > 10 else "")
        if self.retries >= self.cfg.divergence_retries:
            raise UserError(f"training diverges, {where} in the batch of {names}", file=self.last_path,
                            mend="check these utterances, or lower lr_initial or grad_clip in conf/lstmp.yaml")
        retries, scale = self.retries + 1, self.rate_scale * self.cfg.divergence_factor
        self.resume()
        self.retries, self.rate_scale = retries, scale
        warn(f"{where} in the batch of {names}; back to epoch {self.epoch + 1}, batch {self.batch + 1} with "
             f"{scale:.3g} of the learning rate")
        self.save()

    def clock(self):
        """Add the time since the last call to the minutes of training, and that of the processors."""
        now, cpu = time.monotonic(), time.process_time()
        self.seconds += now - self._clock
        self.sums["seconds"] += now - self._clock
        self.sums["cpu_seconds"] += cpu - self._cpu_clock
        self._clock, self._cpu_clock = now, cpu

    def save(self):
        """Write last.safetensors: everything that the next batch depends on."""
        self.clock()
        tensors = checkpoint.with_prefix("model", dict(self.model.state_dict()))
        for name, p in self.model.named_parameters():
            moments = {k: v for k, v in self.optimizer.state[p].items() if torch.is_tensor(v)}
            tensors |= checkpoint.with_prefix(f"optimizer.{name}", moments)
        for layer, (r, c) in enumerate(self.state or []):
            tensors |= {f"state.{layer}.r": r, f"state.{layer}.c": c}
        header = {"fingerprint": self.fingerprint, "epoch": self.epoch, "batch": self.batch, "sums": self.sums,
                  "rate_scale": self.rate_scale, "retries": self.retries, "seconds": self.seconds,
                  "history": self.history}
        checkpoint.write(self.last_path, tensors, header)
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Go back to last.safetensors; False if there is none, or one of other data or settings."""
        if not self.last_path.is_file():
            return False
        tensors, header = checkpoint.read(self.last_path, mend="delete it to train from the start")
        if header["fingerprint"] != self.fingerprint:
            say(f"{self.last_path}: of other data or another configuration, training starts anew")
            return False
        self.model.load_state_dict(checkpoint.by_prefix("model", tensors))
        for name, p in self.model.named_parameters():
            moments = checkpoint.by_prefix(f"optimizer.{name}", tensors)
            # Adam counts its steps on the CPU, its moments lie where the weights are.
            self.optimizer.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in moments.items()}
        state = checkpoint.by_prefix("state", tensors)
        self.state = [(state[f"{layer}.r"].to(self.device), state[f"{layer}.c"].to(self.device))
                      for layer in range(len(state) // 2)] or None
        for name in ("epoch", "batch", "sums", "rate_scale", "retries", "seconds", "history"):
            setattr(self, name, header[name])
        self.sums = _NO_SUMS | self.sums  # checkpoints of earlier versions lack some
        if self.epoch or self.batch:
            say(f"{self.last_path}: going on from epoch {self.epoch + 1}, batch {self.batch + 1}, "
                f"{self.seconds / 60:.1f} min so far")
        return True

    def _names(self, batch: Batch) -> list[str]:
        return [self.train.utts[u] for u in batch.utts.tolist()]

    def _status(self, speed: float, batches: int) -> str:
        sums, done = self.sums, self.batch / batches
        left = (self.cfg.epochs - self.epoch - done) * len(self.train.pdfs) / speed / 60
        return (f"{speed:,.0f} frames/s, loss {sums['loss'] / sums['frames']:.3f}, "
                f"accuracy {sums['correct'] / sums['frames']:.2%}, {left:.0f} min left in all")


def make_optimizer(cfg: LstmpConfig, model: LstmpNetwork) -> torch.optim.Optimizer:
    """Adam or SGD with momentum; weight decay (decoupled for Adam) on matrices only, not on biases and peepholes."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.endswith("peephole")]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or name.endswith("peephole")]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if cfg.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=cfg.lr_initial, betas=(0.9, 0.999))
    return torch.optim.SGD(groups, lr=cfg.lr_initial, momentum=cfg.momentum)


def learning_rate(cfg: LstmpConfig, progress: float) -> float:
    """Exponential decay from lr_initial to lr_final, ``progress`` of the training being done (0 to 1); with decay on
    plateau lr_initial, which the trainer scales."""
    if cfg.decay == "plateau":
        return cfg.lr_initial
    return cfg.lr_initial * (cfg.lr_final / cfg.lr_initial) ** progress


def clip_gradients(model: LstmpNetwork, element: float, norm: float) -> float:
    """Clip each element of the weights' gradients to [-element, element], then their joint norm; 0 means no clipping.

    Returns: the joint norm before the second; NaN or infinite if one of them was (clipping would hide an infinity).
    """
    grads = [p.grad for p in model.parameters()]
    total = float(torch.stack([torch.linalg.vector_norm(g) for g in grads]).norm())
    if element > 0 and total > element and np.isfinite(total):  # no element is larger than the norm
        for g in grads:
            g.clamp_(-element, element)
        total = float(torch.stack([torch.linalg.vector_norm(g) for g in grads]).norm())
    if norm > 0 and total > norm:
        for g in grads:
            g.mul_(norm / total)
    return total


def batch_seed(*key: int) -> int:
    """A 63-bit seed for the random numbers that belong to ``key``: seed, epoch, batch …"""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
