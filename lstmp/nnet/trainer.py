"""The training loop: truncated BPTT, frame cross entropy, checkpoints from which training goes on exactly.

A batch is a function of seed, epoch and batch number: the order of the utterances, the masks, the dropout and the
noise are drawn from these three alone (dropout and noise also from the number of threads and processes, which share a
batch's streams). What a checkpoint holds besides is the weights, the optimizer's moments, the carried state of all
streams and the running sums. An interrupted and an uninterrupted training therefore end with the same weights, and one
that goes on with more or fewer processes with nearly the same. (Asynchronous training is never twice the same.)
"""

import json
import time
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.log import progress, warn
from lstmp.nnet import checkpoint, snapshot
from lstmp.nnet.augment import Augment
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.curve import write_events
from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.team import Stopped, Team
from lstmp.nnet.distributed.team_state import all_states, states_of
from lstmp.nnet.evaluate import evaluate
from lstmp.nnet.model import State, StateNetwork
from lstmp.nnet.optimizer import clip_gradients, learning_rate, make_optimizer, moments, set_moments
from lstmp.nnet.streams import Batch, Plan, Streams, carry_state, frames_of_updates, plan

_NO_SUMS = {"loss": 0.0, "correct": 0, "frames": 0, "seconds": 0.0, "cpu_seconds": 0.0}


class Diverged(Exception):
    """Loss or gradient is NaN or infinite; carries the utterances of the batch."""

    def __init__(self, what: str, epoch: int, batch: int, utts: list[str]):
        super().__init__(what, epoch, batch, utts)
        self.what, self.epoch, self.batch, self.utts = what, epoch, batch, utts


class Trainer:
    """Trains ``model``; see :meth:`run`.

    Args:
        cfg: configuration.
        model: initialized, on ``device``.
        train, valid: normalized features and pdf-ids.
        out: folder for last.safetensors, best.safetensors and log.jsonl.
        fingerprint: digest of data and configuration; a checkpoint with another one is not gone on from.
        device: "cpu", "cuda" or such as "cuda:1".
        team: who shares the streams.
    """

    def __init__(self, cfg: LstmpConfig, model: StateNetwork, train: FrameSet, valid: FrameSet, out, fingerprint: str,
                 device: str = "cpu", team: Team | None = None):
        self.cfg, self.model, self.train, self.valid = cfg, model, train, valid
        self.out, self.fingerprint, self.device = Path(out), fingerprint, device
        self.optimizer = make_optimizer(cfg, model)
        self.team = team or Team()
        self.noise_generator = torch.Generator()
        self.epoch = self.batch = 0  # what comes next, both from 0
        self.rate_scale, self.retries = 1.0, 0
        self.sums = dict(_NO_SUMS)
        self.history: list[dict] = []
        self.state = None  # of this process's streams
        self._whole_state: State | None = None  # of all streams, as in the checkpoint gone on from
        self._batch_seconds = 0.0  # how long a batch took of late; 0: not known yet
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
            if self.team.leads:
                for stale in (*self.out.glob("epoch*.safetensors"), self.out / "best.safetensors"):
                    stale.unlink(missing_ok=True)
            self.team.join(self.model)
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
            self.team.say(f"the held-out loss has not fallen for {cfg.patience} epochs: training ends")
            return True
        if cfg.decay == "plateau" and self.history and self.rate_scale * cfg.lr_initial < cfg.lr_final:
            self.team.say(f"the learning rate is below lr_final, {cfg.lr_final:g}: training ends")
            return True
        return False

    def run_epoch(self):
        """Train the rest of the current epoch, evaluate on the held-out utterances, write the checkpoints."""
        cfg, lengths = self.cfg, self.train.lengths
        table = plan(lengths, cfg.streams, cfg.chunk, cfg.label_delay, cfg.seed, self.epoch)
        augment = Augment(cfg, self.train, self.epoch, self.model.feature_std)
        self.state = self._own_state(table)
        with progress(range(self.batch, len(table)), f"epoch {self.epoch + 1}/{cfg.epochs}", unit="batch",
                      here=self.team.leads) as bar:
            while self.batch < len(table):
                self._run_stretch(table, augment, bar)
        self._end_epoch(len(table))

    def _run_stretch(self, table: Plan, augment: Augment, bar):
        """Train until the team comes together for a checkpoint; one process writes its own as it goes."""
        cfg, team, begin, batches = self.cfg, self.team, self.batch, len(table)
        end = min(begin + team.stretch(self.epoch, begin), batches)
        if team.size > 1:
            end = min(end, team.gather(begin + self._batches_to_checkpoint())[0])
        columns = team.columns(table.utt.shape[1], self.epoch, begin)
        mine = table.of(columns)
        streams = Streams(self.train, mine, cfg.chunk, cfg.label_delay)
        shared = table if team.shares_gradients else mine
        full = frames_of_updates(shared, self.train.lengths, cfg.chunk, cfg.accumulate)
        fault, seen, since, shown = None, 0, time.monotonic(), time.monotonic()
        try:
            for number in range(begin, end):
                seen += self.step(streams.batch(number), augment, number, batches, full[number])
                team.after_batch()
                self.batch = number + 1
                bar.update()
                now = time.monotonic()
                if team.leads and seen and now - shown > 0.5:
                    bar.set_postfix_str(self._status(seen * team.size / (now - since), batches), refresh=False)
                    shown = now
                due = team.size == 1 and now - self._saved > 60 * cfg.checkpoint_minutes
                if due and self.batch < batches and self.batch % cfg.accumulate == 0:
                    self._whole_state = self.state
                    self.save()
        except Diverged as caught:
            fault = caught.args
            team.report_fault()
        except Stopped:
            fault = ("another process has reported a fault", self.epoch, self.batch, [])
        if faults := [f for f in team.gather(fault) if f]:
            raise Diverged(*min(faults, key=lambda f: not f[0].startswith("the loss")))
        self._batch_seconds = (time.monotonic() - since) / (end - begin)
        self.batch = end  # one of an asynchronous team may have been told to stop
        if team.size > 1 and end < batches:
            team.meet()
            self._whole_state = all_states(team, self.state)
            self.state = self._own_state(table)
            self.save()

    def _batches_to_checkpoint(self) -> int:
        """How many more batches until one is due, at least one, and whole updates."""
        left = 60 * self.cfg.checkpoint_minutes - (time.monotonic() - self._saved)
        count = max(1, int(left / (self._batch_seconds or left / 10))) if left > 0 else 1  # 10 show their time
        return -(-(self.batch + count) // self.cfg.accumulate) * self.cfg.accumulate - self.batch

    def step(self, batch: Batch | None, augment: Augment, number: int, batches: int, full: int) -> int:
        """One batch, and an update of the weights if it is the update's last. Returns how many frames had a target.

        Args:
            batch: this process's streams; None if none is left in the epoch.
            number, batches: which of how many it is in the epoch.
            full: what the summed loss is divided by.
        """
        cfg, key = self.cfg, (self.cfg.seed, self.epoch, number)
        first, last = number % cfg.accumulate == 0, (number + 1) % cfg.accumulate == 0 or number + 1 == batches
        n, frames = 0, 0
        if batch is not None:
            self.noise_generator.manual_seed(batch_seed(*key, *([] if self.team.leads else [self.team.rank, 1])))
            x, targets = augment(batch, self.noise_generator).to(self.device), batch.targets.to(self.device)
            n, frames = len(batch.utts), int((batch.targets >= 0).sum())
            fresh = number == 0 or cfg.chunk == 0 or cfg.bidirectional  # hears chunks as if they were utterances
            state = self.model.zero_state(n) if fresh else carry_state(self.state, batch)

        def loss_of(function, part, columns):
            assert batch is not None
            generator = torch.Generator(device=self.device).manual_seed(batch_seed(*key, part))
            return function(x[:, columns], [(r[columns], c[columns]) for r, c in state], targets[:, columns], full,
                            generator, batch.lengths[columns])

        value, correct, self.state = self.team.gradients(self.model, loss_of, n, first, last)
        if not np.isfinite(value) and not self.team.shares_gradients:
            raise Diverged(f"the loss is {value}", self.epoch, number, self._names(batch))
        if last and any(p.grad is not None for p in self.model.parameters()):
            norm = clip_gradients(self.model, cfg.grad_clip, cfg.grad_norm_clip)
            if not np.isfinite(norm):
                what = f"the gradient's norm is {norm}" if np.isfinite(value) else f"the loss is {value}"
                raise Diverged(what, self.epoch, number, self._names(batch))
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate_scale * learning_rate(cfg, (self.epoch + number / batches) / cfg.epochs)
            self.team.update(self.optimizer)
        self.sums["loss"] += value * full
        self.sums["correct"] += correct
        self.sums["frames"] += frames
        return frames

    def _end_epoch(self, batches: int):
        self.team.meet()
        self.clock()
        loss, accuracy = evaluate(self.model, self.valid, self.cfg.label_delay, self.team, self.device)
        sums = self._all_sums()
        rate = self.rate_scale * learning_rate(self.cfg, (self.epoch + 1) / self.cfg.epochs)
        seconds = sums["seconds"]
        self.history.append({
            "epoch": self.epoch + 1, "learning_rate": rate, "batches": batches, "frames": sums["frames"],
            "loss_train": sums["loss"] / sums["frames"], "accuracy_train": sums["correct"] / sums["frames"],
            "loss_valid": loss, "accuracy_valid": accuracy, "seconds": round(seconds, 1),
            "cpu_seconds": round(sums["cpu_seconds"], 1),
            "frames_per_second": round(sums["frames"] / max(seconds, 1e-9)), **self.team.account()})
        row = self.history[-1]
        self.team.say(f"epoch {row['epoch']}/{self.cfg.epochs}: loss {row['loss_train']:.3f} held out {loss:.3f}, "
                      f"frame accuracy {row['accuracy_train']:.2%} held out {accuracy:.2%}, rate {rate:.2g}, "
                      f"{row['frames_per_second']:,} frames/s, {seconds / 60:.1f} min")
        if self.team.leads:
            self._write_epoch(row)
        if self.cfg.decay == "plateau" and loss > min(h["loss_valid"] for h in self.history):
            self.rate_scale *= self.cfg.plateau_factor
        self.epoch, self.batch, self.state, self._whole_state = self.epoch + 1, 0, None, None
        self.sums = dict(_NO_SUMS)
        self.save()

    def _write_epoch(self, row: dict):
        """The weights of the epoch, if they are among the best or to be averaged, and the log."""
        weights = dict(self.model.state_dict())
        if row["accuracy_valid"] >= max(h["accuracy_valid"] for h in self.history):
            checkpoint.write(self.out / "best.safetensors", weights, row)
        if self.cfg.average_last:
            checkpoint.write(self.epoch_path(self.epoch), weights, row)
            self.epoch_path(self.epoch - self.cfg.average_last).unlink(missing_ok=True)
        config.write_text(self.out / "log.jsonl", "".join(json.dumps(h) + "\n" for h in self.history))
        write_events(row, self.out / "tensorboard")

    def epoch_path(self, epoch: int) -> Path:
        """Where the weights after an epoch (from 0) are kept for the average."""
        return self.out / f"epoch{epoch + 1}.safetensors"

    def step_back(self, fault: Diverged):
        """Return to the last checkpoint with a smaller learning rate."""
        where = f"epoch {fault.epoch + 1}, batch {fault.batch + 1}: {fault.what}"
        names = " ".join(fault.utts[:10]) + (f" and {len(fault.utts) - 10} more" if len(fault.utts) > 10 else "")
        if self.retries >= self.cfg.divergence_retries:
            raise UserError(f"training diverges, {where} in the batch of {names}", file=self.last_path,
                            hint="check these utterances, or lower lr_initial or grad_clip in conf/lstmp.yaml")
        retries, scale = self.retries + 1, self.rate_scale * self.cfg.divergence_factor
        self.resume()
        self.retries, self.rate_scale = retries, scale
        if self.team.leads:
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
        """Write last.safetensors: everything that the next batch depends on. All of a team take part, one writes.

        A full disk in the middle of an epoch is only warned of: the checkpoint before stays.
        """
        self.clock()
        memory, sums = moments(self.optimizer, self.model), self._all_sums()
        if self.team.size > 1 and not self.team.shares_gradients:  # all go on with the same
            memory = self.team.mean(memory)
            set_moments(self.optimizer, self.model, memory)
        self._saved = time.monotonic()
        if self.team.leads:
            snapshot.write(self, memory, sums, self._whole_state)

    def resume(self) -> bool:
        """Go back to last.safetensors; False if there is none, or one of other data or settings."""
        if not self.last_path.is_file():
            return False
        read = snapshot.read(self)
        if read is None:
            self.team.say(f"{self.last_path}: of other data or another configuration, training starts anew")
            return False
        self._whole_state, sums = read
        self.sums = _NO_SUMS | (sums if self.team.leads else {})  # checkpoints of earlier versions lack some
        self.team.join(self.model)
        if self.epoch or self.batch:
            self.team.say(f"{self.last_path}: going on from epoch {self.epoch + 1}, batch {self.batch + 1}, "
                          f"{self.seconds / 60:.1f} min so far")
        return True

    def _own_state(self, table: Plan):
        if self._whole_state is None or not self.batch:
            return None
        columns = self.team.columns(table.utt.shape[1], self.epoch, self.batch)
        return states_of(table, self.batch, columns, self._whole_state, self.device)

    def _all_sums(self) -> dict:
        """The sums of all processes; the time is that of the first."""
        names = [name for name in _NO_SUMS if name != "seconds"]
        total = dict(zip(names, self.team.sum([self.sums[name] for name in names]), strict=True))
        return total | {"seconds": self.sums["seconds"]}

    def _names(self, batch: Batch | None) -> list[str]:
        return [self.train.utts[u] for u in batch.utts.tolist()] if batch else []

    def _status(self, speed: float, batches: int) -> str:
        sums, done = self.sums, self.batch / batches
        left = (self.cfg.epochs - self.epoch - done) * len(self.train.pdfs) / speed / 60
        return (f"{speed:,.0f} frames/s, loss {sums['loss'] / sums['frames']:.3f}, "
                f"accuracy {sums['correct'] / sums['frames']:.2%}, {left:.0f} min left in all")


def batch_seed(*key: int) -> int:
    """A 63-bit seed for the random numbers that belong to ``key``: seed, epoch, batch …"""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
