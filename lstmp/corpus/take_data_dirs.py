"""Your own speech: Kaldi data directories made elsewhere, taken over with checked audio and measured durations.

``wav.scp``, ``text`` and ``utt2spk`` suffice; ``segments`` and ``reco2file_and_channel`` are heeded. What is wrong with
an utterance is reported and the utterance left out. Where there is ``feats.scp``, here or in ``<split>_fbank`` beside,
``given.txt`` says so to the stage that makes features, and ``wav.scp`` may be absent.
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

NEED = ("text", "utt2spk")
MAY = ("wav.scp", "segments", "reco2file_and_channel", "utt2dur")
GIVEN = "given.txt"  # names the data dirs that have features


def take(source: Path, out: Path, *, max_bad: float, max_utts: int | None, nj: int, allow_commands: bool = False):
    """Write the data directory ``out`` from ``source``; skipped if it is done. Paths become absolute.

    Args:
        max_bad: see :class:`lstmp.corpus.bad.BadUtterances`.
        max_utts: keep at most so many utterances, the same ones each time, spread over all speakers.
        nj: processes that look at the audio files.
        allow_commands: run the commands of ``wav.scp``, to measure what they give; they are taken over as they are.

    Raises:
        UserError: a table is malformed, tables do not agree, or more utterances are bad than ``max_bad`` allows.
    """
    if source.resolve() == out.resolve():
        raise UserError("source and target are the same data dir", file=out, hint="keep your data dirs elsewhere")
    given = [os.path.abspath(d) for d in (source, source.with_name(f"{source.name}_fbank"))
             if (d / "feats.scp").is_file()]
    data = read_data_dir(source, need=NEED if given else ("wav.scp", *NEED))
    check_commands(data, allow_commands)
    utts = [dataclasses.replace(u, wav=os.path.abspath(u.wav)) if u.wav and not is_command(u) else u
            for u in at_most(list(data.utts.values()), max_utts)]
    stage = Stage(out, "data", inputs=[source / name for name in (*NEED, *MAY)],
                  settings={"max_bad": max_bad, "max_utts": max_utts, "audio": audio_stamps(utts), "given": given},
                  version=2)
    if stage.is_done():
        return
    (out / GIVEN).unlink(missing_ok=True)
    if any(u.wav for u in utts):
        bads = bad.BadUtterances(source, max_bad)
        seconds: dict[str, float] | None = check_audio(utts, source.name, nj, bads, allow_commands)
        bads.check(len(utts))
        if not seconds:
            raise UserError("no utterance with sound audio", file=source / "wav.scp", hint="correct the paths")
        utts = [u for u in utts if u.id in seconds]
    else:
        seconds = {u.id: data.durations[u.id] for u in utts} if data.durations else None
    write_data_dir(out, utts, seconds)
    if given:
        config.write_text(out / GIVEN, "".join(f"{path}\n" for path in given))
    stage.mark(path for name in (*NEED, "spk2utt", *MAY, GIVEN) if (path := out / name).exists())
    say(f"{out}: {summary(utts, seconds) if seconds else f'{len(utts)} utterances'}"
        f"{'' if any(u.wav for u in utts) else ', without audio'}{', with features' if given else ''}")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="take_data_dirs", description=__doc__.split("\n\n")[0])
    p.add_argument("--corpus", type=Path, required=True, help="folder with the data directories")
    p.add_argument("--out", type=Path, required=True, help="they are written to OUT/<split>")
    p.add_argument("--splits", required=True, nargs="+", metavar="SPLIT", help="names of the data directories")
    p.add_argument("--max-utts", type=int, metavar="N", help="keep N utterances of each at most, over all speakers")
    p.add_argument("--nj", type=int, default=2, help="processes (default: 2)")
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
