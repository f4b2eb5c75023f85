"""LibriSpeech, or a corpus laid out as it is, to Kaldi data directories.

A split is ``<split>/<speaker>/<chapter>/`` with ``<speaker>-<chapter>.trans.txt`` (lines ``utterance WORDS``) and one
audio file per utterance, ``<utterance>.flac`` or another extension. The "speaker" of the data directory is
``<speaker>-<chapter>``, as in Kaldi's mini_librispeech: the unit of CMVN is one reading session.
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
    """The folder that holds the splits: ``corpus`` itself or its ``LibriSpeech`` folder.

    Raises:
        UserError: no such folder, or no split in it.
    """
    corpus = Path(os.path.abspath(corpus))
    if not corpus.is_dir():
        raise UserError("no such corpus folder", file=corpus, hint="check --corpus, or run without it to download")
    for root in (corpus / "LibriSpeech", corpus):
        if list_splits(root):
            return root
    raise UserError("no split of LibriSpeech is here", file=corpus,
                    hint="--corpus must hold LibriSpeech/<split>/<speaker>/<chapter>/, or be that LibriSpeech folder")


def list_splits(root) -> list[str]:
    """Names of the folders below ``root`` that hold a speaker's chapter with a transcript."""
    root = Path(root)
    if not root.is_dir():
        return []
    return sorted(d.name for d in root.iterdir() if d.is_dir() and next(d.glob("*/*/*.trans.txt"), None))


def read_split(root, split: str, bads: bad.BadUtterances) -> list[Utterance]:
    """The utterances of a split by its transcripts and file names, sorted by id; what does not fit goes to ``bads``.

    Raises:
        UserError: the split is not there.
    """
    root = Path(root)
    if not (root / split).is_dir():
        raise UserError(f"no split `{split}`", file=root / split,
                        hint=f"there are: {', '.join(list_splits(root)) or 'none'}; choose among them in recipe.yaml")
    utts = []
    for chapter in sorted(p for p in (root / split).glob("*/*") if p.is_dir()):
        utts += _read_chapter(chapter, bads)
    return sorted(utts, key=lambda u: u.id)


def _read_chapter(chapter: Path, bads: bad.BadUtterances) -> list[Utterance]:
    """Pair the lines of a chapter's transcript with its audio files."""
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
        fault = None
        if utt in seen:
            fault = UserError(f"`{utt}` is given twice", file=transcript, line=number, hint="delete one of the lines")
        elif not utt.startswith(f"{speaker}-"):
            fault = UserError(f"`{utt}` does not begin with `{speaker}-`", file=transcript, line=number,
                              hint="correct the id")
        elif len(parts) < 2:
            fault = UserError(f"`{utt}` has an empty transcript", file=transcript, line=number, hint="give it one")
        elif utt not in audio:
            fault = UserError(f"`{utt}` has no audio", file=transcript, line=number,
                              hint=f"restore {chapter / utt}.flac or delete the line")
        else:
            try:
                utts.append(Utterance(utt, speaker, str(audio[utt]), tuple(composed(parts[1].decode("utf-8")).split())))
            except UnicodeDecodeError:
                fault = UserError("not UTF-8 text", file=transcript, line=number, hint="save the file as UTF-8")
        seen.add(utt)
        if fault:
            bads.add(f"{utt} (line {number})" if utt in bads.errors else utt, fault)
    for utt in sorted(set(audio) - seen):
        bads.add(utt, UserError(f"no transcript in {transcript.name}", file=audio[utt],
                                hint="add its line or delete the file"))
    return utts


def _raw_lines(transcript: Path) -> list[bytes]:
    """Lines as bytes, since one that is not UTF-8 costs one utterance, not the chapter. No file, no lines."""
    return transcript.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n") if transcript.is_file() else []


def _seconds(utt: Utterance, allow_commands: bool) -> tuple[float, UserError | None]:
    try:
        return seconds_of(utt, allow_commands), None
    except UserError as e:
        return 0.0, e


def check_audio(utts: list[Utterance], what: str, nj: int, bads: bad.BadUtterances,
                allow_commands: bool = False) -> dict[str, float]:
    """Look at every file's header in ``nj`` processes: utterance id → seconds for those that are sound."""
    seconds = {}
    with ProcessPoolExecutor(nj) as pool:
        results = pool.map(partial(_seconds, allow_commands=allow_commands), utts,
                           chunksize=max(1, min(64, len(utts) // (4 * nj))))
        for utt, (duration, error) in zip(utts, progress(results, what, total=len(utts)), strict=True):
            if error is None:
                seconds[utt.id] = duration
            else:
                bads.add(utt.id, error)
    return seconds


def corpus_listing(root: Path, split: str) -> list:
    """Name, size and time of every file of a split and its transcripts: what the data directory depends on."""
    files = sorted(p for p in (root / split).glob("*/*/*") if p.is_file())
    return [[str(p.relative_to(root)), (s := p.stat()).st_size, s.st_mtime_ns] for p in files]


def prepare_split(root: Path, split: str, out: Path, *, max_bad: float, max_utts: int | None, nj: int):
    """Write the data directory ``out`` for a split, or for several joined by ``+``; skipped if it is done.

    Args:
        root: folder that holds the split, see :func:`find_root`.
        max_bad: see :class:`lstmp.corpus.bad.BadUtterances`.
        max_utts: keep at most so many utterances, the same ones each time, spread over all speakers.
        nj: processes that look at the audio files.

    Raises:
        UserError: no such split, too many bad utterances.
    """
    stage = Stage(out, "data", inputs=[], version=2,
                  settings={"split": str(root / split), "max_bad": max_bad, "max_utts": max_utts,
                            "files": [corpus_listing(root, part) for part in split.split("+")]})
    if stage.is_done():
        return
    start = time.monotonic()
    bads = bad.BadUtterances(root / split, max_bad)
    utts = [u for part in split.split("+") for u in read_split(root, part, bads)]
    found = len(utts) + len(bads)
    utts = at_most(utts, max_utts)
    seconds = check_audio(utts, split, nj, bads)
    bads.check(found)
    if not seconds:
        raise UserError("no utterance with transcript and audio", file=root / split, hint="check the corpus folder")
    good = [u for u in utts if u.id in seconds]
    write_data_dir(out, good, seconds)
    stage.mark([out / name for name in ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur")])
    say(f"{out}: {summary(good, seconds)}, {time.monotonic() - start:.1f} s")


def summary(utts: Iterable[Utterance], seconds: dict[str, float]) -> str:
    """Utterances, hours, speakers and words in a line."""
    utts = list(utts)
    return (f"{len(utts)} utterances, {sum(seconds[u.id] for u in utts) / 3600:.3f} h, "
            f"{len({u.speaker for u in utts})} speakers, {sum(len(u.words) for u in utts)} words")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="prepare_librispeech", description=__doc__.split("\n\n")[0])
    p.add_argument("--corpus", required=True, help="folder that holds LibriSpeech/, or that LibriSpeech folder itself")
    p.add_argument("--out", required=True, type=Path, help="data directories are written to OUT/<split>")
    p.add_argument("--splits", required=True, nargs="+", metavar="SPLIT",
                   help="splits, such as train-clean-5 dev; those joined by + become one data directory")
    p.add_argument("--max-utts", type=int, metavar="N",
                   help="keep at most N utterances of each split, spread over its speakers")
    p.add_argument("--nj", type=int, default=2, help="processes (default: 2)")
    bad.add_option(p)
    a = p.parse_args(argv)
    if a.nj < 1 or (a.max_utts is not None and a.max_utts < 1):
        raise UserError("--nj and --max-utts must be 1 or more", hint="correct the value")
    root = find_root(a.corpus)
    for split in a.splits:
        prepare_split(root, split, a.out / split, max_bad=a.max_bad, max_utts=a.max_utts, nj=a.nj)


if __name__ == "__main__":
    main()
