"""The training loop: truncated BPTT by any criterion, and checkpoints from which training resumes exactly.

A batch is a function of seed, epoch and batch number: the order of the utterances, the masks, the dropout and the
noise are drawn from these three alone (dropout and noise also from the number of threads and processes that share a
batch's streams). Everything else that the next batch depends on is in the checkpoint: the weights, the optimizer's
state, the recurrent state of all streams and the running sums. An interrupted training therefore ends with the same
weights as an uninterrupted one, and with nearly the same weights if it is resumed with more or fewer processes.
(Asynchronous training is not reproducible.)
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import UserError, only_warn
from lstmp.log import about, progress, warn
from lstmp.nnet import checkpoint, snapshot
from lstmp.nnet.augment import Augment
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.criterion import Criterion, Targets
from lstmp.nnet.curve import write_events
from lstmp.nnet.data import Frames, on_device
from lstmp.nnet.distributed.team import Stopped, Team
from lstmp.nnet.distributed.team_state import gather_states, select_states
from lstmp.nnet.epoch_record import epoch_record, epoch_text, held_out_loss, is_best
from lstmp.nnet.evaluate import evaluate
from lstmp.nnet.learning_curves import write_curves
from lstmp.nnet.model import RecurrentState, StateNetwork
from lstmp.nnet.optimizer import clip_gradients, learning_rate, make_optimizer, moments, set_moments
from lstmp.nnet.snapshot import TrainingState, empty_sums
from lstmp.nnet.step_results import Diverged, StepResult, StepResults
from lstmp.nnet.streams import Batch, Plan, Streams, carry_state, epoch_frames, frames_per_update, plan
from lstmp.progress import note_training

_READ_EVERY = 50  # batches whose losses are read together on a GPU


class Trainer:
    """Trains ``model``; see :meth:`run`.

    Args:
        cfg: configuration.
        model: initialized, on ``device``.
        train, valid: normalized features and pdf-ids.
        out: folder for last.safetensors, best.safetensors and log.jsonl.
        fingerprint: digest of data and configuration; training is not resumed from a checkpoint with another one.
        device: "cpu", "cuda", or a certain GPU such as "cuda:1".
        team: the processes and threads that share the streams; default: this process alone.
        criterion: makes the targets; default: training by frame cross entropy.

    Attributes:
        state: the :class:`lstmp.nnet.snapshot.TrainingState`, the progress so far.
        recurrent_state: of this process's streams after the last batch; None at the start of an epoch.
    """

    def __init__(self, cfg: LstmpConfig, model: StateNetwork, train: Frames, valid: Frames, out, fingerprint: str,
                 device: str = "cpu", team: Team | None = None, criterion: Criterion | None = None):
        self.criterion = criterion
        self.cfg, self.model, self.train, self.valid = cfg, model, train, valid
        self.out, self.fingerprint, self.device = Path(out), fingerprint, device
        self.optimizer = make_optimizer(cfg, model)
        self.team = team or Team()
        on_gpu = device != "cpu"
        # one process on a GPU with frame cross entropy: frames on the GPU, if they fit, and nothing is waited for
        self.source = on_device(train, device) if on_gpu and self.team.size == 1 and criterion is None else train
        self.noise_generator = torch.Generator(device=self.source.device)
        self.results = StepResults(_READ_EVERY if on_gpu and self.team.size == 1 else 1)
        self.state = TrainingState()
        self.recurrent_state = None
        self._all_recurrent_state: RecurrentState | None = None  # that of all processes, at the last checkpoint
        self._batch_seconds = 0.0  # how long a batch took recently; 0: not known yet
        self._clock = self._saved = time.monotonic()
        self._cpu_clock = time.process_time()
        self._first_status: tuple[float, float] | None = None  # its time, and how many epochs had been trained

    @property
    def last_path(self) -> Path:
        return self.out / "last.safetensors"

    def run(self):
        """Train to the last epoch; resume if ``out`` has a checkpoint of the same data and configuration.

        Raises:
            UserError: the loss or a gradient is not finite, even after ``divergence_retries`` returns to the last
                checkpoint, each with a smaller learning rate.
        """
        if not self.resume():
            if self.team.leads:
                for stale in (*self.out.glob("epoch*.safetensors"), self.out / "best.safetensors", self._next_best):
                    stale.unlink(missing_ok=True)
            self.team.join(self.model)
            self.save()
        self._clock = self._saved = time.monotonic()
        self._cpu_clock = time.process_time()
        while not self.finished():
            try:
                self.run_epoch()
            except Diverged as e:
                self.return_to_checkpoint(e)
        self.team.gather(None)  # the first process has named the best weights, which all read

    def finished(self) -> bool:
        """Whether training ends: after the last epoch, after `patience` epochs without a lower held-out loss, or when
        the learning rate is below lr_final."""
        cfg, losses = self.cfg, [held_out_loss(h) for h in self.state.history]
        if self.state.epoch >= cfg.epochs:
            return True
        if cfg.patience and losses and len(losses) - 1 - int(np.argmin(losses)) >= cfg.patience:
            self.team.say(f"the held-out loss has not fallen for {cfg.patience} epochs: training ends")
            return True
        if cfg.decay == "plateau" and losses and self.state.rate_scale * cfg.lr_initial < cfg.lr_final:
            self.team.say(f"the learning rate is below lr_final, {cfg.lr_final:g}: training ends")
            return True
        return False

    def run_epoch(self):
        """Train the rest of the current epoch, evaluate on the held-out utterances, write the checkpoints."""
        cfg, epoch = self.cfg, self.state.epoch
        _, lengths = epoch_frames(cfg, self.train, epoch)
        table = plan(lengths, cfg.streams, cfg.chunk, cfg.output_delay, cfg.seed, epoch)
        augment = Augment(cfg, self.train, epoch, self.model.feature_std)
        self.recurrent_state = self._select_recurrent_state(table)
        with progress(range(self.state.batch, len(table)), f"epoch {epoch + 1}/{cfg.epochs}", unit="batch",
                      here=self.team.leads) as bar:
            while self.state.batch < len(table):
                self._run_until_sync(table, augment, bar)
        self._end_epoch(len(table))

    def _run_until_sync(self, table: Plan, augment: Augment, bar):
        """Train until all processes synchronize for a checkpoint; a single process writes checkpoints in between."""
        cfg, team, state, begin, batches = self.cfg, self.team, self.state, self.state.batch, len(table)
        end = min(begin + team.batches_with_same_streams(state.epoch, begin), batches)
        if team.size > 1:
            end = min(end, team.gather(begin + self._batches_to_checkpoint())[0])
        my_table = table.select(team.my_streams(table.utt.shape[1], state.epoch, begin))
        phases, lengths = epoch_frames(cfg, self.train, state.epoch)
        streams = Streams(self.source, my_table, cfg.chunk, cfg.output_delay, cfg.subsampling, phases)
        table_of_update = table if team.shares_gradients else my_table
        divisors = frames_per_update(table_of_update, lengths, cfg.chunk, cfg.accumulate)
        error, frames, started, shown = None, 0, time.monotonic(), time.monotonic()
        try:
            for number in range(begin, end):
                frames += self.step(streams.batch(number), augment, number, batches, divisors[number])
                team.after_batch()
                state.batch = number + 1
                bar.update()
                now = time.monotonic()
                if team.leads and frames and now - shown > 0.5:
                    bar.set_postfix_str(self._status(frames * team.size / (now - started), batches), refresh=False)
                    shown = now
                due = team.size == 1 and now - self._saved > 60 * cfg.checkpoint_minutes
                if due and state.batch < batches and state.batch % cfg.accumulate == 0:
                    self._all_recurrent_state = self.recurrent_state
                    self.save()
        except Diverged as e:
            error = e.args
            team.report_error()
        except Stopped:
            error = ("another process has reported an error", state.epoch, state.batch, [])
        if errors := [e for e in team.gather(error) if e]:
            raise Diverged(*min(errors, key=lambda e: not e[0].startswith("the loss")))
        self._batch_seconds = (time.monotonic() - started) / (end - begin)
        state.batch = end
        if team.size > 1 and end < batches:
            team.synchronize()
            self._all_recurrent_state = gather_states(team, self.recurrent_state)
            self.recurrent_state = self._select_recurrent_state(table)
            self.save()

    def _batches_to_checkpoint(self) -> int:
        """Number of batches until the next checkpoint is due: at least one, ending with a whole update."""
        seconds = 60 * self.cfg.checkpoint_minutes - (time.monotonic() - self._saved)
        # as long as the time of a batch is unknown: 10 batches, which will show it
        count = max(1, int(seconds / (self._batch_seconds or seconds / 10))) if seconds > 0 else 1
        return -(-(self.state.batch + count) // self.cfg.accumulate) * self.cfg.accumulate - self.state.batch

    def step(self, batch: Batch | None, augment: Augment, number: int, batches: int, divisor: int) -> int:
        """Compute the gradients of one batch; update the weights if it is the last batch of an update.

        The way from here to the loss and its gradients is drawn in :mod:`lstmp.nnet.kernels.graphed`.

        Args:
            batch: this process's streams; None if all of them have ended in this epoch.
            number, batches: index of the batch, and the number of batches, in the epoch.
            divisor: the number by which the summed loss is divided.

        Returns: the number of frames with a target.

        Raises:
            Diverged: the loss or a gradient is not finite, in this batch, or on a GPU in one of the last ones.
        """
        cfg, epoch, key = self.cfg, self.state.epoch, (self.cfg.seed, self.state.epoch, number)
        first, last = number % cfg.accumulate == 0, (number + 1) % cfg.accumulate == 0 or number + 1 == batches
        n, frames = 0, 0
        if batch is not None:
            self.noise_generator.manual_seed(batch_seed(*key, *([] if self.team.leads else [self.team.rank, 1])))
            x = augment(batch, self.noise_generator).to(self.device)
            targets: torch.Tensor | Targets = batch.targets.to(self.device)
            if self.criterion:
                targets = self.criterion.targets(batch, self.train.utts, self.device)
            n, frames = len(batch.utts), batch.count
            # a bidirectional network treats each chunk like a whole utterance
            fresh = number == 0 or cfg.chunk == 0 or cfg.bidirectional
            recurrent = self.model.zero_state(n) if fresh else carry_state(self.recurrent_state, batch)

        def loss_of(function, part, streams):
            assert batch is not None
            generator = torch.Generator(device=self.device).manual_seed(batch_seed(*key, part))
            return function(x[:, streams], [(r[streams], c[streams]) for r, c in recurrent], targets[:, streams],
                            divisor, generator, batch.lengths[streams])

        loss, correct, self.recurrent_state = self.team.gradients(self.model, loss_of, n, first, last)
        norm, summed = None, None
        if last and any(p.grad is not None for p in self.model.parameters()):
            norm = clip_gradients(self.model, cfg.grad_clip, cfg.grad_norm_clip)
        if batch is not None and isinstance(targets, Targets):
            objective, frames, left_out, outside = targets.sums()
            summed = -objective
            self.state.sums["left_out"] += left_out
            self.state.sums["outside"] += outside
        self.results.add(StepResult(epoch, number, partial(self._names, batch), loss, summed, frames, correct, norm,
                                    divisor, not self.team.shares_gradients), self.state.sums)
        if norm is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.state.rate_scale * learning_rate(cfg, (epoch + number / batches) / cfg.epochs)
            self.team.update(self.optimizer)
        return frames

    def _end_epoch(self, batches: int):
        """Evaluate, write the epoch's record and weights, and begin the next epoch."""
        state = self.state
        self.results.read(state.sums)
        self.team.synchronize()
        self.update_times()
        valid = evaluate(self.model, self.valid, self.cfg.output_delay, self.team, self.device, self.criterion)
        sums, epoch = self._all_sums(), state.epoch + 1
        rate = state.rate_scale * learning_rate(self.cfg, epoch / self.cfg.epochs)
        counts = {name: sums[name] for name in self.criterion.counts} if self.criterion else {}
        row = epoch_record(epoch, rate, batches, sums, valid, self.team.statistics(), counts)
        state.history.append(row)
        self.team.say(epoch_text(row, self.cfg.epochs, sums["seconds"]))
        if self.team.leads:
            self._write_epoch(row)
        if self.cfg.decay == "plateau" and held_out_loss(row) > min(map(held_out_loss, state.history)):
            state.rate_scale *= self.cfg.plateau_factor
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, empty_sums()
        self.recurrent_state = self._all_recurrent_state = None
        self.save()
        self._adopt_best()

    def _write_epoch(self, row: dict):
        """Write the log, and the weights of the epoch if they are the best so far or will be averaged."""
        weights, epoch, history = dict(self.model.state_dict()), self.state.epoch, self.state.history
        if is_best(history):
            checkpoint.write(self._next_best, weights, row)
        if self.cfg.average_last:
            checkpoint.write(self.epoch_path(epoch), weights, row)
            self.epoch_path(epoch - self.cfg.average_last).unlink(missing_ok=True)
        config.write_text(self.out / "log.jsonl", "".join(json.dumps(h) + "\n" for h in history))
        write_events(row, self.out / "tensorboard")
        if (report := self.out.parent / "report").is_dir():  # of run.sh: the page shows the curves while they grow
            with only_warn("the learning curves of the report cannot be written"):
                write_curves(report, {"": self.out.parent})

    @property
    def _next_best(self) -> Path:
        """The file of the best weights until the checkpoint knows of their epoch."""
        return self.out / "best.next.safetensors"

    def _adopt_best(self):
        """Make the new best weights best.safetensors, if their epoch is in the checkpoint. If not, training was killed
        before it was written: the epoch is repeated, and may not be the best one then."""
        if self.team.leads and self._next_best.is_file():
            _, header = checkpoint.read(self._next_best, hint=f"delete {self.last_path} to train again")
            if header["epoch"] <= self.state.epoch:
                self._next_best.replace(self.out / "best.safetensors")
            else:
                self._next_best.unlink()

    def epoch_path(self, epoch: int) -> Path:
        """The file with the weights after an epoch (from 0), which will be averaged."""
        return self.out / f"epoch{epoch + 1}.safetensors"

    def return_to_checkpoint(self, error: Diverged):
        """Return to the last checkpoint with a smaller learning rate.

        Raises:
            UserError: training has already returned ``divergence_retries`` times.
        """
        where = f"epoch {error.epoch + 1}, batch {error.batch + 1}: {error.problem}"
        names = " ".join(error.utts[:10]) + (f" and {len(error.utts) - 10} more" if len(error.utts) > 10 else "")
        if self.state.retries >= self.cfg.divergence_retries:
            raise UserError(f"training diverges, {where} in the batch of {names}", file=self.last_path,
                            hint="check these utterances, or lower lr_initial or grad_clip in conf/lstmp.yaml")
        retries, scale = self.state.retries + 1, self.state.rate_scale * self.cfg.divergence_factor
        self.results.forget()
        self.resume()
        self.state.retries, self.state.rate_scale = retries, scale
        if self.team.leads:
            warn(f"{where} in the batch of {names}; back to epoch {self.state.epoch + 1}, batch "
                 f"{self.state.batch + 1} with {scale:.3g} of the learning rate")
        self.save()

    def update_times(self):
        """Add the wall-clock time and the processor time since the last call to the training's times."""
        now, cpu = time.monotonic(), time.process_time()
        self.state.seconds += now - self._clock
        self.state.sums["seconds"] += now - self._clock
        self.state.sums["cpu_seconds"] += cpu - self._cpu_clock
        self._clock, self._cpu_clock = now, cpu

    def save(self):
        """Write last.safetensors: everything that the next batch depends on. All processes take part, one writes.

        If the disk is full in the middle of an epoch, this only warns, and the previous checkpoint stays.
        """
        self.results.read(self.state.sums)  # nothing is saved after a loss that is not finite
        self.update_times()
        optimizer_state, sums = moments(self.optimizer, self.model), self._all_sums()
        if self.team.size > 1 and not self.team.shares_gradients:  # all processes continue with the mean
            optimizer_state = self.team.mean(optimizer_state)
            set_moments(self.optimizer, self.model, optimizer_state)
        self._saved = time.monotonic()
        if self.team.leads:
            snapshot.write(self.last_path, self.fingerprint, self.model, optimizer_state,
                           replace(self.state, sums=sums), self._all_recurrent_state)

    def resume(self) -> bool:
        """Resume from last.safetensors; False if there is none, or one of other data or another configuration."""
        if not self.last_path.is_file():
            return False
        saved = snapshot.read(self.last_path, self.fingerprint, self.model, self.optimizer)
        if saved is None:
            self.team.say(f"{self.last_path}: of other data or another configuration, training starts from scratch")
            return False
        self.state, self._all_recurrent_state = saved
        # files of earlier versions lack some of the sums
        self.state.sums = empty_sums() | (self.state.sums if self.team.leads else {})
        self.team.join(self.model)
        self._adopt_best()
        if self.state.epoch or self.state.batch:
            self.team.say(f"{self.last_path}: resuming from epoch {self.state.epoch + 1}, batch "
                          f"{self.state.batch + 1}, {self.state.seconds / 60:.1f} min so far")
        return True

    def _select_recurrent_state(self, table: Plan):
        """The recurrent state of this process's streams, from that of all streams; None at the start of an epoch."""
        if self._all_recurrent_state is None or not self.state.batch:
            return None
        streams = self.team.my_streams(table.utt.shape[1], self.state.epoch, self.state.batch)
        return select_states(table, self.state.batch, streams, self._all_recurrent_state, self.device)

    def _all_sums(self) -> dict:
        """The sums over all processes; the wall-clock time is that of the first process."""
        names = [name for name in empty_sums() if name != "seconds"]
        total = dict(zip(names, self.team.sum([self.state.sums[name] for name in names]), strict=True))
        return total | {"seconds": self.state.sums["seconds"]}

    def _names(self, batch: Batch | None) -> list[str]:
        return [self.train.utts[u] for u in batch.utts.tolist()] if batch else []

    def _status(self, speed: float, batches: int) -> str:
        """The text of the progress bar, which is noted as well; ``speed``: frames per second of all processes."""
        state, sums, now = self.state, self.state.sums, time.monotonic()
        trained = state.epoch + state.batch / batches
        since, before = self._first_status = self._first_status or (now, trained)
        expected = speed * self.cfg.subsampling / self.train.num_frames  # epochs per second
        pace = (trained - before) / (now - since) if trained > before else expected
        left = (self.cfg.epochs - trained) / pace  # seconds; the pace includes the evaluations
        loss = sums["loss"] / max(sums["frames"], 1)
        note_training(name=self.out.name, epoch=state.epoch + 1, of=self.cfg.epochs, batches=state.batch,
                      of_batches=batches, loss=loss, frames_per_second=round(speed), left=left)
        return (f"{speed:,.0f} frames/s, loss {loss:.3f}, accuracy {sums['correct'] / max(sums['frames'], 1):.2%}, "
                f"{about(left)} of training left")


def batch_seed(*key: int) -> int:
    """A 63-bit seed for the random numbers that belong to ``key``, such as (seed, epoch, batch)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
