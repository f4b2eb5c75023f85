"""Augments a data directory with speed and volume perturbation.

A copy at speed s is made by treating the samples as sampled at s·R and resampling them to R (Ko, Peddinti, Povey,
Khudanpur, "Audio augmentation for speech recognition", Interspeech 2015). Tempo and pitch change together, as with
sox's `speed`. Ids of utterances and speakers get the prefix `sp<speed>-`, as in Kaldi, so each copy of a speaker is
normalized and adapted as a separate speaker. Copies are written as WAV files, or as MP3 files with a low bit rate to
train networks that must recognize such recordings.

Each copy of a speaker can be divided into several, so that as much speech as in use adapts the features in training.
"""

import argparse
import hashlib
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soxr

from lstmp import distributed
from lstmp.corpus.audio import MP3_KBPS, RATE, read_channels, write_mp3, write_wav
from lstmp.corpus.datadir import TABLES, DataDir, Utterance, existing_tables, read_data_dir, write_data_dir
from lstmp.corpus.ids import file_name
from lstmp.corpus.subset import listed
from lstmp.corpus.utterance_audio import add_option, check_commands, read_original
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.parallel import run_jobs
from lstmp.stage import Stage

MIN_SPEED, MAX_SPEED = 0.5, 2.0  # speeds
_PREFIXES = re.compile(r"^(p\d+-)?(sp\d[\d.]*-)?")  # of divided speakers, and of copies


def at_speed(samples: np.ndarray, speed: float, rate: int = RATE) -> np.ndarray:
    """Change the speed by resampling: float32 [S] → [S / speed] at the same sampling rate."""
    return samples if speed == 1 else soxr.resample(samples, speed * rate, rate)


def _drawn(what: str, seed: int) -> float:
    """A number from 0 to 1 that depends on ``what``, such as an utterance id, and ``seed`` only."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {what}".encode(), digest_size=8).digest(), "big") / 2**64


def gain(utt: str, volumes: tuple[float, float], seed: int) -> float:
    """Draw a factor uniformly from the range ``volumes``; it depends on the utterance id and ``seed`` only."""
    return volumes[0] + _drawn(utt, seed) * (volumes[1] - volumes[0])


def divide_speakers(copies: list[tuple[Utterance, float]], minutes: float, seed: int) -> list[tuple[Utterance, float]]:
    """Divide each speaker's utterances, in random order, into several speakers of about equal duration.

    Args:
        copies: utterances and their durations in seconds.
        minutes: duration of each new speaker, about; a speaker with less than 1.5 times that is not divided.
        seed: random seed of the order.

    Returns:
        the same, with ids of utterances and speakers prefixed by ``p1-``, ``p2-`` … for the first, second … part.
    """
    divided: dict[str, list[tuple[Utterance, float]]] = {}
    for copy in sorted(copies, key=lambda c: (_drawn(f"order {c[0].id}", seed), c[0].id)):
        divided.setdefault(copy[0].speaker, []).append(copy)
    result = []
    for those in divided.values():
        total = sum(seconds for _, seconds in those)
        parts, before = max(1, int(total / 60 / minutes + 0.5)), 0.0
        for utt, seconds in those:
            part = min(parts, 1 + int((before + seconds / 2) / total * parts))  # of its middle
            result.append((replace(utt, id=f"p{part}-{utt.id}", speaker=f"p{part}-{utt.speaker}"), seconds))
            before += seconds
    return result


def renamed_copy(utt: Utterance, speed: float) -> Utterance:
    """Rename the utterance and its speaker as a copy at ``speed``."""
    prefix = "" if speed == 1 else f"sp{speed:g}-"
    return replace(utt, id=prefix + utt.id, speaker=prefix + utt.speaker)


def original_speaker(speaker: str) -> str:
    """The speaker whom :func:`renamed_copy` and :func:`divide_speakers` have given this id; else himself."""
    return _PREFIXES.sub("", speaker, count=1)


def write_copy(job: tuple[Utterance, float], out: Path, volumes: tuple[float, float] | None, seed: int,
               kbps: int = 0, allow_commands: bool = False) -> tuple[Utterance, float]:
    """Write one utterance at one speed, at its original sampling rate; as MP3 if ``kbps`` is not 0.

    Returns:
        the copy and its duration in seconds. If nothing changes, the copy refers to the original audio.

    Raises:
        UserError: the audio cannot be read or written.
    """
    utt, speed = job
    samples, rate = read_original(utt, allow_commands)
    copy, samples = renamed_copy(utt, speed), at_speed(samples, speed, rate)
    if speed != 1 or volumes or kbps:
        peak = float(np.abs(samples).max())
        factor = gain(copy.id, volumes, seed) if volumes else 1.0
        samples = samples * np.float32(min(factor, 32767 / max(peak, 1.0)))  # even resampling alone may overshoot
        copy = replace(copy, wav=str((out / "wav" / f"{file_name(copy.id)}.{'mp3' if kbps else 'wav'}").resolve()),
                       segment=None, channel=None)
        if kbps:
            write_mp3(copy.wav, samples, kbps, rate)
            samples, rate = read_channels(copy.wav)  # the encoder may have made it longer
        else:
            write_wav(copy.wav, samples, rate)
    return copy, len(samples) / rate


def perturb(data: DataDir, out: Path, speeds: list[float], once: set[str], volumes: tuple[float, float] | None,
            seed: int, nj: int, kbps: int = 0, allow_commands: bool = False, speaker_minutes: float = 0):
    """Write the data directory ``out`` with a copy of every utterance at each speed.

    Args:
        once: ids of utterances to include once only, at their original speed and volume.
        volumes: minimum and maximum volume factor, drawn for each copy; None: keep the volume.
        nj: number of processes.
        kbps: write everything as MP3 with this bit rate; 0: write WAV, and refer to the original audio if nothing
            changes.
        allow_commands: run the commands of ``wav.scp``.
        speaker_minutes: divide each copy of a speaker into speakers of about so many minutes, except for the
            utterances of ``once``; 0: do not divide.
    """
    (out / "wav").mkdir(parents=True, exist_ok=True)
    unchanged = [(utt, 1.0) for u, utt in data.utts.items() if u in once]
    perturbed = [(utt, speed) for u, utt in data.utts.items() if u not in once for speed in speeds]
    write = partial(write_copy, out=out, seed=seed, kbps=kbps, allow_commands=allow_commands)
    kept = run_jobs(partial(write, volumes=None), unchanged, nj, "plain")
    copies = run_jobs(partial(write, volumes=volumes), perturbed, nj, "speed and volume")
    if distributed.rank():
        return
    done = kept + (divide_speakers(copies, speaker_minutes, seed) if speaker_minutes else copies)
    write_data_dir(out, [copy for copy, _ in done], {copy.id: seconds for copy, seconds in done})
    say(f"{out}: {len(done)} utterances, {sum(seconds for _, seconds in done) / 3600:.2f} h, from {len(data.utts)}")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/perturb_data_dir.sh", description=__doc__.split("\n")[0])
    p.add_argument("data", type=Path, help="data directory to read")
    p.add_argument("out", type=Path, help="data directory to write; the copies go to OUT/wav")
    p.add_argument("--speeds", type=float, nargs="+", default=[0.9, 1.0, 1.1], metavar="S",
                   help="speeds of the copies; 1 is the recording itself (default: 0.9 1.0 1.1)")
    p.add_argument("--volume", type=float, nargs=2, metavar=("LOW", "HIGH"),
                   help="multiply each copy's samples by a factor drawn from LOW to HIGH (default: keep the volume)")
    p.add_argument("--mp3", type=int, default=0, metavar="KBPS",
                   help="encode everything, even copies at speed 1, as MP3 with this bit rate (default: 0, WAV)")
    p.add_argument("--once", type=Path, metavar="LIST",
                   help="file whose first column lists utterances to include once, at their original speed and "
                        "volume, such as held-out ones")
    p.add_argument("--speaker-minutes", type=float, default=0, metavar="M",
                   help="divide each copy of a speaker, at random, into speakers of about M minutes, who are "
                        "normalized and adapted separately; as much speech as in use (default: 0, do not divide)")
    p.add_argument("--seed", type=int, default=1, help="random seed of volumes and of --speaker-minutes (default: 1)")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    add_option(p)
    a = p.parse_args(argv)
    if len(set(a.speeds)) < len(a.speeds) or not all(MIN_SPEED <= s <= MAX_SPEED for s in a.speeds):
        raise UserError(f"speeds must be different, and between {MIN_SPEED} and {MAX_SPEED}", hint="correct --speeds")
    if a.volume and not 0 < a.volume[0] <= a.volume[1] < float("inf"):
        raise UserError("volumes must be above 0, the lower one first", hint="correct --volume")
    if a.mp3 and not MP3_KBPS[0] <= a.mp3 <= MP3_KBPS[1]:
        raise UserError(f"--mp3 must be 0 or from {MP3_KBPS[0]} to {MP3_KBPS[1]} kbit/s", hint="24 is a low rate")
    if not 0 <= a.speaker_minutes < float("inf"):
        raise UserError("--speaker-minutes must be 0 or more", hint="as many minutes as are recognized of a speaker")
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    if a.out.resolve() == a.data.resolve():
        raise UserError("it is the data directory to be copied", file=a.out, hint="give OUT another folder")
    settings = {"speeds": a.speeds, "volume": a.volume, "seed": a.seed} | ({"mp3": a.mp3} if a.mp3 else {})
    settings |= {"speaker_minutes": a.speaker_minutes} if a.speaker_minutes else {}
    stage = Stage(a.out, "perturb", [a.data / n for n in TABLES] + ([a.once] if a.once else []), settings, version=2)
    if distributed.on_first(stage.is_done):
        return
    data = read_data_dir(a.data)
    check_commands(data, a.allow_commands)
    once = listed(data, a.once) if a.once else set()
    distributed.together(perturb, data, a.out, a.speeds, once, tuple(a.volume) if a.volume else None, a.seed, a.nj,
                         a.mp3, a.allow_commands, a.speaker_minutes)
    stage.mark([*existing_tables(a.out), a.out / "wav"])


if __name__ == "__main__":
    main()
