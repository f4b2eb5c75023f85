"""Make a data dir from a folder of recordings, each next to its transcript.

    local/make_data_dir.sh FOLDER OUT

The folder is laid out as for `lstmp align`: the transcript of ``anna/greeting.wav`` is ``anna/greeting.txt`` or
``.lab``, and the recordings in a subfolder are from one speaker. Transcripts may be ordinary text: the punctuation
around words is removed.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.corpus.lexicon import read_lexicon
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.program import program_name
from lstmp.transcribe.spelling import Speller
from lstmp.transcribe.transcribed_folder import find_recordings

CASES: dict[str, Callable[[str], str]] = {"keep": str, "upper": str.upper, "lower": str.lower}


def make_data_dir(folder, out, *, case: str = "keep", lexicon=None):
    """Write ``wav.scp``, ``text``, ``utt2spk`` and ``spk2utt`` for the recordings of a folder.

    A recording that cannot be used is left out with a warning. The audio itself is not read.

    Args:
        folder: recordings and transcripts, see :mod:`lstmp.transcribe.transcribed_folder`.
        out: the data dir.
        case: letter case of the words: keep, upper or lower.
        lexicon: lexicon file; its words are written as it spells them, whatever their case in the transcripts, and
            words with hyphens are divided if it has only their parts. None: no lexicon.

    Raises:
        UserError: no such folder, no recording with a transcript, or the lexicon cannot be read.
    """
    speller = Speller({entry[0] for entry in read_lexicon(lexicon)} if lexicon else ())
    recordings, left_out = find_recordings(folder)
    utts = []
    for r in recordings:
        spoken = speller.read(r.text)
        words = tuple(word for s in spoken for word in (s.words if s.known else (CASES[case](s.written),)))
        if words:
            utts.append(Utterance(r.utt, r.speaker, os.path.abspath(r.audio), words))
        else:
            left_out[f"{r.name}{r.audio.suffix}"] = "its transcript contains no words"
    for name, reason in sorted(left_out.items()):
        warn(f"{name} is left out: {reason}")
    if not utts:
        raise UserError("it contains no recording with a transcript", file=folder,
                        hint="put the words of a.wav into a.txt, in the same folder")
    write_data_dir(out, utts)
    say(f"{out}: {len(utts)} utterances, {len({u.speaker for u in utts})} speakers, "
        f"{sum(len(u.words) for u in utts)} words{f', {len(left_out)} files left out' if left_out else ''}")


@command
def main(argv=None):
    """Command line; see ``--help``."""
    p = argparse.ArgumentParser(prog=program_name("local/make_data_dir.sh"), description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, metavar="FOLDER", help="recordings with their transcripts")
    p.add_argument("out", type=Path, metavar="OUT", help="data dir to write")
    p.add_argument("--case", choices=CASES, default="keep", help="letter case of the words (default: %(default)s)")
    p.add_argument("--lexicon", type=Path, metavar="FILE", help="write words as this lexicon spells them, whatever "
                   "their case; words that it lacks are written by --case")
    a = p.parse_args(argv)
    make_data_dir(a.folder, a.out, case=a.case, lexicon=a.lexicon)


if __name__ == "__main__":
    main()
