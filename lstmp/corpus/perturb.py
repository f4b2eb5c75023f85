"""Copies of a data directory at other speeds and volumes: more training data out of the same recordings.

A copy at speed s takes the samples for samples of rate s·R and resamples them to R (Ko, Peddinti, Povey, Khudanpur,
"Audio augmentation for speech recognition", Interspeech 2015): tempo and pitch change together, as with sox's `speed`.
Utterances and speakers of a copy have `sp<speed>-` before their names, as Kaldi's have, so that each copy of a speaker
is normalized and adapted as a speaker of its own. The copies are files, which any program can read: WAV, or MP3 of a
low bit rate, for networks that are to work on such recordings.
"""

import argparse
import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soxr

from lstmp import distributed
from lstmp.corpus.audio import MP3_KBPS, RATE, read_channels, write_mp3, write_wav
from lstmp.corpus.datadir import TABLES, DataDir, Utterance, read_data_dir, tables_of, write_data_dir
from lstmp.corpus.ids import file_name
from lstmp.corpus.subset import listed
from lstmp.corpus.utterance_audio import add_option, check_commands, read_as_is
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.parallel import run_jobs
from lstmp.stage import Stage

LOWEST, HIGHEST = 0.5, 2.0  # speeds


def at_speed(samples: np.ndarray, speed: float, rate: int = RATE) -> np.ndarray:
    """float32 [S] → [S / speed], at the same rate: the same speech, said ``speed`` times as fast."""
    return samples if speed == 1 else soxr.resample(samples, speed * rate, rate)


def gain(utt: str, volumes: tuple[float, float], seed: int) -> float:
    """A factor between ``volumes``, drawn evenly by the utterance's id, the same on every machine."""
    drawn = int.from_bytes(hashlib.blake2b(f"{seed} {utt}".encode(), digest_size=8).digest(), "big") / 2**64
    return volumes[0] + drawn * (volumes[1] - volumes[0])


def named(utt: Utterance, speed: float) -> Utterance:
    """The utterance with the names of its copy at ``speed``."""
    prefix = "" if speed == 1 else f"sp{speed:g}-"
    return replace(utt, id=prefix + utt.id, speaker=prefix + utt.speaker)


def write_copy(job: tuple[Utterance, float], out: Path, volumes: tuple[float, float] | None, seed: int,
               kbps: int = 0, allow_commands: bool = False) -> tuple[Utterance, float]:
    """Write one utterance at one speed and its own rate; as MP3 where ``kbps`` is not 0.

    Returns:
        the copy, and its seconds. Where nothing changes, the copy is the file that was there.

    Raises:
        UserError: the audio cannot be read or written.
    """
    utt, speed = job
    samples, rate = read_as_is(utt, allow_commands)
    copy, samples = named(utt, speed), at_speed(samples, speed, rate)
    if speed != 1 or volumes or kbps:
        peak = float(np.abs(samples).max())
        loud = gain(copy.id, volumes, seed) if volumes else 1.0
        samples = samples * np.float32(min(loud, 32767 / max(peak, 1.0)))  # resampling too may overshoot
        copy = replace(copy, wav=str((out / "wav" / f"{file_name(copy.id)}.{'mp3' if kbps else 'wav'}").resolve()),
                       segment=None, channel=None)
        if kbps:
            write_mp3(copy.wav, samples, kbps, rate)
            samples, rate = read_channels(copy.wav)  # the encoder may have made it longer
        else:
            write_wav(copy.wav, samples, rate)
    return copy, len(samples) / rate


def perturb(data: DataDir, out: Path, speeds: list[float], once: set[str], volumes: tuple[float, float] | None,
            seed: int, nj: int, kbps: int = 0, allow_commands: bool = False):
    """Write the data directory ``out`` with a copy of every utterance at each speed.

    Args:
        once: utterances that are taken over once only, at their own speed and volume.
        volumes: lowest and highest factor of volume, drawn for each copy; None: volumes stay.
        nj: processes.
        kbps: write everything as MP3 of this bit rate; 0: as WAV, and what does not change not at all.
        allow_commands: run the commands of ``wav.scp``.
    """
    (out / "wav").mkdir(parents=True, exist_ok=True)
    plain = [(utt, 1.0) for u, utt in data.utts.items() if u in once]
    varied = [(utt, speed) for u, utt in data.utts.items() if u not in once for speed in speeds]
    write = partial(write_copy, out=out, seed=seed, kbps=kbps, allow_commands=allow_commands)
    done = run_jobs(partial(write, volumes=None), plain, nj, "plain")
    done += run_jobs(partial(write, volumes=volumes), varied, nj, "speed and volume")
    if distributed.rank():
        return
    write_data_dir(out, [copy for copy, _ in done], {copy.id: seconds for copy, seconds in done})
    say(f"{out}: {len(done)} utterances, {sum(seconds for _, seconds in done) / 3600:.2f} h, out of {len(data.utts)}")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/perturb_data_dir.sh", description=__doc__.split("\n")[0])
    p.add_argument("data", type=Path, help="data directory to take from")
    p.add_argument("out", type=Path, help="data directory to write; the copies go to OUT/wav")
    p.add_argument("--speeds", type=float, nargs="+", default=[0.9, 1.0, 1.1], metavar="S",
                   help="a copy at each of these; 1 is the recording itself (default: 0.9 1.0 1.1)")
    p.add_argument("--volume", type=float, nargs=2, metavar=("LOW", "HIGH"),
                   help="multiply each copy's samples by a factor drawn from LOW to HIGH (default: leave them)")
    p.add_argument("--mp3", type=int, default=0, metavar="KBPS",
                   help="put all, the recordings themselves too, through MP3 of so many kbit/s (default: 0, not)")
    p.add_argument("--once", type=Path, metavar="LIST",
                   help="utterances to take over without copies, such as held-out ones; first column")
    p.add_argument("--seed", type=int, default=1, help="of the volumes (default: 1)")
    p.add_argument("--nj", type=int, default=2, help="processes (default: 2)")
    add_option(p)
    a = p.parse_args(argv)
    if len(set(a.speeds)) < len(a.speeds) or not all(LOWEST <= s <= HIGHEST for s in a.speeds):
        raise UserError(f"speeds must be different, and between {LOWEST} and {HIGHEST}", hint="correct --speeds")
    if a.volume and not 0 < a.volume[0] <= a.volume[1] < float("inf"):
        raise UserError("volumes must be above 0, the lower one first", hint="correct --volume")
    if a.mp3 and not MP3_KBPS[0] <= a.mp3 <= MP3_KBPS[1]:
        raise UserError(f"--mp3 must be 0 or from {MP3_KBPS[0]} to {MP3_KBPS[1]} kbit/s", hint="24 is a low rate")
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    if a.out.resolve() == a.data.resolve():
        raise UserError("it holds the data to be copied", file=a.out, hint="give OUT another folder")
    settings = {"speeds": a.speeds, "volume": a.volume, "seed": a.seed} | ({"mp3": a.mp3} if a.mp3 else {})
    stage = Stage(a.out, "perturb", [a.data / n for n in TABLES] + ([a.once] if a.once else []), settings, version=2)
    if distributed.on_first(stage.is_done):
        return
    data = read_data_dir(a.data)
    check_commands(data, a.allow_commands)
    once = listed(data, a.once) if a.once else set()
    distributed.together(perturb, data, a.out, a.speeds, once, tuple(a.volume) if a.volume else None, a.seed, a.nj,
                         a.mp3, a.allow_commands)
    stage.mark([*tables_of(a.out), a.out / "wav"])


if __name__ == "__main__":
    main()
