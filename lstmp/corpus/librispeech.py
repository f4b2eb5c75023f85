"""Prepares Kaldi data directories from LibriSpeech, or from a corpus with the same layout.

A split consists of folders ``<split>/<speaker>/<chapter>/``. Each contains ``<speaker>-<chapter>.trans.txt`` (lines
``utterance WORDS``) and one audio file per utterance, ``<utterance>.flac`` or another extension. The "speaker" of the
data directory is ``<speaker>-<chapter>``, as in Kaldi's mini_librispeech, so that CMVN is per reading session.
"""

import argparse
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from lstmp.corpus import bad
from lstmp.corpus.audio import EXTENSIONS
from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.corpus.subset import at_most
from lstmp.corpus.textlines import composed
from lstmp.corpus.utterance_audio import seconds_of
from lstmp.errors import UserError, command
from lstmp.log import progress, say
from lstmp.stage import Stage


def find_root(corpus) -> Path:
    """Find the folder that contains the splits: ``corpus`` itself or its subfolder ``LibriSpeech``.

    Raises:
        UserError: there is no such folder, or it contains no split.
    """
    corpus = Path(os.path.abspath(corpus))
    if not corpus.is_dir():
        raise UserError("no such corpus folder", file=corpus, hint="check --corpus, or run without it to download")
    for root in (corpus / "LibriSpeech", corpus):
        if list_splits(root):
            return root
    raise UserError("no LibriSpeech split in this folder", file=corpus,
                    hint="--corpus must contain LibriSpeech/<split>/<speaker>/<chapter>/, or be the LibriSpeech folder")


def list_splits(root) -> list[str]:
    """List the folders in ``root`` that contain at least one chapter with a transcript, by name."""
    root = Path(root)
    if not root.is_dir():
        return []
    return sorted(d.name for d in root.iterdir() if d.is_dir() and next(d.glob("*/*/*.trans.txt"), None))


def read_split(root, split: str, bad_utts: bad.BadUtterances) -> list[Utterance]:
    """List the utterances of a split from its transcripts and audio files, sorted by id; bad ones go to ``bad_utts``.

    Raises:
        UserError: there is no such split.
    """
    root = Path(root)
    if not (root / split).is_dir():
        raise UserError(f"no split `{split}`", file=root / split,
                        hint=f"there are: {', '.join(list_splits(root)) or 'none'}; choose among them in recipe.yaml")
    utts = []
    for chapter in sorted(p for p in (root / split).glob("*/*") if p.is_dir()):
        utts += _read_chapter(chapter, bad_utts)
    return sorted(utts, key=lambda u: u.id)


def _read_chapter(chapter: Path, bad_utts: bad.BadUtterances) -> list[Utterance]:
    """Match the lines of a chapter's transcript with its audio files."""
    speaker = f"{chapter.parent.name}-{chapter.name}"
    transcript = chapter / f"{speaker}.trans.txt"
    audio: dict[str, Path] = {}
    for p in sorted(chapter.iterdir()):
        if p.suffix.lower() in EXTENSIONS:
            audio.setdefault(p.stem, p)
    utts, seen = [], set()
    for number, raw in enumerate(_raw_lines(transcript), 1):
        parts = raw.split(maxsplit=1)
        if not parts:
            continue
        utt = parts[0].decode("utf-8", errors="replace")
        error = None
        if utt in seen:
            error = UserError(f"`{utt}` is given twice", file=transcript, line=number, hint="delete one of the lines")
        elif not utt.startswith(f"{speaker}-"):
            error = UserError(f"`{utt}` does not begin with `{speaker}-`", file=transcript, line=number,
                              hint="correct the id")
        elif len(parts) < 2:
            error = UserError(f"`{utt}` has an empty transcript", file=transcript, line=number, hint="give it one")
        elif utt not in audio:
            error = UserError(f"`{utt}` has no audio", file=transcript, line=number,
                              hint=f"restore {chapter / utt}.flac or delete the line")
        else:
            try:
                utts.append(Utterance(utt, speaker, str(audio[utt]), tuple(composed(parts[1].decode("utf-8")).split())))
            except UnicodeDecodeError:
                error = UserError("not UTF-8 text", file=transcript, line=number, hint="save the file as UTF-8")
        seen.add(utt)
        if error:
            bad_utts.add(f"{utt} (line {number})" if utt in bad_utts.errors else utt, error)
    for utt in sorted(set(audio) - seen):
        bad_utts.add(utt, UserError(f"no transcript in {transcript.name}", file=audio[utt],
                                hint="add its line or delete the file"))
    return utts


def _raw_lines(transcript: Path) -> list[bytes]:
    """Lines as bytes, so that a line that is not UTF-8 loses one utterance, not the chapter; [] if there is no file."""
    return transcript.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n") if transcript.is_file() else []


def _seconds(utt: Utterance, allow_commands: bool) -> tuple[float, UserError | None]:
    try:
        return seconds_of(utt, allow_commands), None
    except UserError as e:
        return 0.0, e


def check_audio(utts: list[Utterance], what: str, nj: int, bad_utts: bad.BadUtterances,
                allow_commands: bool = False) -> dict[str, float]:
    """Check the audio of all utterances in ``nj`` processes.

    Returns:
        utterance id → seconds, of the good utterances. Bad ones are added to ``bad_utts``.
    """
    seconds = {}
    with ProcessPoolExecutor(nj) as pool:
        results = pool.map(partial(_seconds, allow_commands=allow_commands), utts,
                           chunksize=max(1, min(64, len(utts) // (4 * nj))))
        for utt, (duration, error) in zip(utts, progress(results, what, total=len(utts)), strict=True):
            if error is None:
                seconds[utt.id] = duration
            else:
                bad_utts.add(utt.id, error)
    return seconds


def corpus_listing(root: Path, split: str) -> list:
    """Name, size and modification time of every file of a split: the inputs of its data directory."""
    files = sorted(p for p in (root / split).glob("*/*/*") if p.is_file())
    return [[str(p.relative_to(root)), (s := p.stat()).st_size, s.st_mtime_ns] for p in files]


def prepare_split(root: Path, split: str, out: Path, *, max_bad: float, max_utts: int | None, nj: int):
    """Write the data directory ``out`` for a split, or for several joined by ``+``; skipped if already done.

    Args:
        root: folder that contains the split, see :func:`find_root`.
        max_bad: see :class:`lstmp.corpus.bad.BadUtterances`.
        max_utts: keep at most this many utterances, spread over all speakers; the choice is reproducible.
        nj: number of processes that check the audio files.

    Raises:
        UserError: there is no such split, or there are too many bad utterances.
    """
    stage = Stage(out, "data", inputs=[], version=2,
                  settings={"split": str(root / split), "max_bad": max_bad, "max_utts": max_utts,
                            "files": [corpus_listing(root, part) for part in split.split("+")]})
    if stage.is_done():
        return
    start = time.monotonic()
    bad_utts = bad.BadUtterances(root / split, max_bad)
    utts = [u for part in split.split("+") for u in read_split(root, part, bad_utts)]
    total = len(utts) + len(bad_utts)
    utts = at_most(utts, max_utts)
    seconds = check_audio(utts, split, nj, bad_utts)
    bad_utts.check(total)
    if not seconds:
        raise UserError("no utterance with transcript and audio", file=root / split, hint="check the corpus folder")
    good = [u for u in utts if u.id in seconds]
    write_data_dir(out, good, seconds)
    stage.mark([out / name for name in ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur")])
    say(f"{out}: {summary(good, seconds)}, {time.monotonic() - start:.1f} s")


def summary(utts: Iterable[Utterance], seconds: dict[str, float]) -> str:
    """Summarize a data set in one line: utterances, hours, speakers and words."""
    utts = list(utts)
    return (f"{len(utts)} utterances, {sum(seconds[u.id] for u in utts) / 3600:.3f} h, "
            f"{len({u.speaker for u in utts})} speakers, {sum(len(u.words) for u in utts)} words")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/prepare_librispeech.sh", description=__doc__.split("\n\n")[0])
    p.add_argument("--corpus", required=True, help="folder that contains LibriSpeech/, or LibriSpeech/ itself")
    p.add_argument("--out", required=True, type=Path, help="data directories are written to OUT/<split>")
    p.add_argument("--splits", required=True, nargs="+", metavar="SPLIT",
                   help="splits, such as train-clean-5 dev; splits joined by + become one data directory")
    p.add_argument("--max-utts", type=int, metavar="N",
                   help="keep at most N utterances of each split, spread over its speakers")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    bad.add_option(p)
    a = p.parse_args(argv)
    if a.nj < 1 or (a.max_utts is not None and a.max_utts < 1):
        raise UserError("--nj and --max-utts must be 1 or more", hint="correct the value")
    root = find_root(a.corpus)
    for split in a.splits:
        prepare_split(root, split, a.out / split, max_bad=a.max_bad, max_utts=a.max_utts, nj=a.nj)


if __name__ == "__main__":
    main()
