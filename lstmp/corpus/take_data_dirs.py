"""Imports Kaldi data directories made elsewhere: checks their audio and measures durations.

``wav.scp``, ``text`` and ``utt2spk`` suffice; ``segments`` and ``reco2file_and_channel`` are supported. A bad utterance
is reported and left out. If there is ``feats.scp``, in the data directory or in ``<split>_fbank`` next to it, its path
is written to ``given.txt`` for the stage that makes features, and ``wav.scp`` may be absent.
"""

import argparse
import dataclasses
import os
from pathlib import Path

from lstmp import config
from lstmp.corpus import bad
from lstmp.corpus.datadir import read_data_dir, write_data_dir
from lstmp.corpus.librispeech import check_audio, summary
from lstmp.corpus.subset import at_most
from lstmp.corpus.utterance_audio import add_option, audio_stamps, check_commands, is_command
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

REQUIRED = ("text", "utt2spk")
OPTIONAL = ("wav.scp", "segments", "reco2file_and_channel", "utt2dur")
GIVEN = "given.txt"  # lists the data dirs that contain features


def take(source: Path, out: Path, *, max_bad: float, max_utts: int | None, nj: int, allow_commands: bool = False):
    """Write the data directory ``out`` from ``source``, with absolute paths; skipped if already done.

    Args:
        max_bad: see :class:`lstmp.corpus.bad.BadUtterances`.
        max_utts: keep at most this many utterances, spread over all speakers; the choice is reproducible.
        nj: number of processes that check the audio files.
        allow_commands: run the commands of ``wav.scp`` to measure durations; the commands are copied unchanged.

    Raises:
        UserError: a table is malformed, tables disagree, or more utterances are bad than ``max_bad`` allows.
    """
    if source.resolve() == out.resolve():
        raise UserError("source and target are the same data dir", file=out, hint="keep your data dirs elsewhere")
    given = [os.path.abspath(d) for d in (source, source.with_name(f"{source.name}_fbank"))
             if (d / "feats.scp").is_file()]
    data = read_data_dir(source, need=REQUIRED if given else ("wav.scp", *REQUIRED))
    check_commands(data, allow_commands)
    utts = [dataclasses.replace(u, wav=os.path.abspath(u.wav)) if u.wav and not is_command(u) else u
            for u in at_most(list(data.utts.values()), max_utts)]
    stage = Stage(out, "data", inputs=[source / name for name in (*REQUIRED, *OPTIONAL)],
                  settings={"max_bad": max_bad, "max_utts": max_utts, "audio": audio_stamps(utts), "given": given},
                  version=2)
    if stage.is_done():
        return
    (out / GIVEN).unlink(missing_ok=True)
    if any(u.wav for u in utts):
        bad_utts = bad.BadUtterances(source, max_bad)
        seconds: dict[str, float] | None = check_audio(utts, source.name, nj, bad_utts, allow_commands)
        bad_utts.check(len(utts))
        if not seconds:
            raise UserError("no utterance with usable audio", file=source / "wav.scp", hint="correct the paths")
        utts = [u for u in utts if u.id in seconds]
    else:
        seconds = {u.id: data.durations[u.id] for u in utts} if data.durations else None
    write_data_dir(out, utts, seconds)
    if given:
        config.write_text(out / GIVEN, "".join(f"{path}\n" for path in given))
    stage.mark(path for name in (*REQUIRED, "spk2utt", *OPTIONAL, GIVEN) if (path := out / name).exists())
    say(f"{out}: {summary(utts, seconds) if seconds else f'{len(utts)} utterances'}"
        f"{'' if any(u.wav for u in utts) else ', without audio'}{', with features' if given else ''}")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/take_data_dirs.sh", description=__doc__.split("\n\n")[0])
    p.add_argument("--corpus", type=Path, required=True, help="folder with the data directories")
    p.add_argument("--out", type=Path, required=True, help="data directories are written to OUT/<split>")
    p.add_argument("--splits", required=True, nargs="+", metavar="SPLIT", help="names of the data directories")
    p.add_argument("--max-utts", type=int, metavar="N", help="keep at most N utterances of each, spread over speakers")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    bad.add_option(p)
    add_option(p)
    a = p.parse_args(argv)
    if a.nj < 1 or (a.max_utts is not None and a.max_utts < 1):
        raise UserError("--nj and --max-utts must be 1 or more", hint="correct the value")
    for split in a.splits:
        take(a.corpus / split, a.out / split, max_bad=a.max_bad, max_utts=a.max_utts, nj=a.nj,
             allow_commands=a.allow_commands)


if __name__ == "__main__":
    main()
