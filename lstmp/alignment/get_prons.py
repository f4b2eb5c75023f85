"""Count the pronunciations of each word, and silence before and after them, in an alignment and its transcripts.

Writes Kaldi's ``pron_counts.txt``, ``pron_counts_nowb.txt``, ``sil_counts_nowb.txt`` and
``pron_bigram_counts_nowb.txt``, from which local/add_pron_probs.sh makes a dictionary with probabilities.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from lstmp import config
from lstmp.alignment.word_times import WordPronunciations, words_by_pronunciations
from lstmp.corpus import pron_counts
from lstmp.corpus.datadir import read_table
from lstmp.corpus.lang import Lang
from lstmp.corpus.pron_counts import PronCounts, write_counts
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError, command
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.log import progress, say
from lstmp.stage import Stage

BOUNDARIES = ("nonword", "begin", "end", "internal", "singleton")
_MARK = re.compile("_[BIES]$")
_HINT = "align again, with this lang folder and these transcripts"


def read_boundaries(lang: Lang) -> dict[int, str] | None:
    """Read ``phones/word_boundary.int``: phone id → position in a word; None for a lang without position marks.

    Raises:
        UserError: a line is malformed, or a phone of the lang is missing.
    """
    path = lang.dir / "phones" / "word_boundary.int"
    if not path.exists():
        return None
    places = {}
    for n, line in numbered_lines(path):
        phone, _, place = line.partition(" ")
        if not config.is_count(phone) or place not in BOUNDARIES:
            raise UserError(f"expected a phone id and one of {', '.join(BOUNDARIES)}", file=path, line=n,
                            hint="make the lang again")
        places[int(phone)] = place
    for number in lang.silence + lang.nonsilence:
        if number not in places:
            raise UserError(f"phone {lang.phone_names[number]} is missing", file=path, hint="make the lang again")
    return places


def cut_at_marks(phones: list[int], places: dict[int, str]) -> list[tuple[int, ...]]:
    """Split the phones of an utterance into words, and single phones that belong to no word.

    Raises:
        ValueError: the marks are inconsistent, such as an end without a beginning.
    """
    pieces: list[tuple[int, ...]] = []
    word: list[int] = []
    for i, phone in enumerate(phones):
        place = places[phone]
        if bool(word) != (place in ("internal", "end")):
            raise ValueError(f"phone {i + 1} is marked {place}, "
                             + ("within a word that has not ended" if word else "but no word has begun"))
        word.append(phone)
        if place not in ("begin", "internal"):
            pieces.append(tuple(word))
            word = []
    if word:
        raise ValueError("the last word has no end")
    return pieces


def words_by_marks(phones: list[int], words: list[int], lang: Lang, places: dict[int, str]) -> WordPronunciations:
    """Find the pronunciation of each word of a transcript by the position marks of the phones.

    Args:
        phones: phone ids of an utterance.
        words: word ids of its transcript.
        places: see :func:`read_boundaries`.

    Returns:
        (word id, phone ids) in order; optional silence has word 0.

    Raises:
        ValueError: phones and transcript do not agree; the message says where.
    """
    prons: WordPronunciations = []
    rest = iter(words)
    for piece in cut_at_marks(phones, places):
        if piece == (lang.optional_silence,):
            prons.append((0, piece))
            continue
        word = next(rest, None)
        if word is None or all(piece != p for _, p in lang.lexicon[word]):
            spoken = " ".join(lang.phone_names[p] for p in piece)
            if word is None:
                raise ValueError(f"the phones `{spoken}` follow the transcript's last word")
            raise ValueError(f"the phones `{spoken}` are no pronunciation of the word {lang.word_names[word]}")
        prons.append((word, piece))
    if (word := next(rest, None)) is not None:
        raise ValueError(f"there are no phones for the word {lang.word_names[word]}")
    return prons


def get_prons(data, lang_dir, ali_dir, out) -> None:
    """Count pronunciations and silence, and write the folder ``out``.

    Args:
        data: data dir with the transcripts; utterances that are not in the alignment are ignored.
        lang_dir: the lang folder that the alignment was made with.
        ali_dir: the alignment folder, from steps/align.sh.

    Raises:
        UserError: the alignment of an utterance does not match its transcript, or the folders do not belong together.
    """
    data, ali_dir, out = Path(data), Path(ali_dir), Path(out)
    inputs = [data / "text", lang_dir, *(ali_dir / n for n in ("ali.ark", "transitions.safetensors", "topo"))]
    stage = Stage(out, "prons", inputs=inputs, settings=[])
    if stage.is_done():
        return
    lang, transitions = Lang.load(lang_dir), AcousticModel.load(ali_dir).transitions
    if not transitions.topology.fits(lang.topology):
        raise UserError(f"its phones or their topology are not those of {ali_dir}", file=lang.dir / "topo",
                        hint="give the lang folder that the alignment was made with")
    texts, alignment, places = read_table(data / "text"), read_alignment(ali_dir), read_boundaries(lang)
    names = {i: s if places is None else _MARK.sub("", s) for i, s in lang.phone_names.items()}
    marked: Counter = Counter()
    counts = PronCounts()
    for utt in progress(sorted(alignment), "pronunciations"):
        if utt not in texts:
            raise UserError(f"the aligned utterance {utt} is not in it", file=data / "text",
                            hint="give the data dir that was aligned")
        tids = alignment[utt]
        transitions.check(utt, tids, file=ali_dir / "ali.ark", hint=_HINT)
        phones = [s.phone for s in segments(tids, transitions)]
        words, _ = lang.word_ids(texts[utt].split())
        try:
            prons = (words_by_pronunciations(phones, words, lang) if places is None else
                     words_by_marks(phones, words, lang, places))
        except ValueError as e:
            raise UserError(f"utterance {utt} is not aligned to its transcript: {e}", file=ali_dir / "ali.ark",
                            hint=_HINT) from None
        marked.update((lang.word_names[word], *(lang.phone_names[x] for x in p)) for word, p in prons)
        counts.add((lang.word_names[word], *(names[x] for x in p)) for word, p in prons)
    if not alignment:
        raise UserError("no utterance in it", file=ali_dir / "ali.ark", hint="align first")
    write_counts(out / "pron_counts.txt", marked)
    counts.write(out)
    stage.mark([out / n for n in ("pron_counts.txt", pron_counts.PRONS, pron_counts.SILENCES, pron_counts.BIGRAMS)])
    silent, not_silent = counts.silence_before.total(), counts.none_before.total()
    missing = len(texts) - len(alignment)
    boundaries = silent + not_silent
    say(f"{out}: {len(alignment)} utterances, {boundaries - len(alignment)} words, {len(counts.prons) - 1} "
        f"pronunciations, silence at {100 * silent / boundaries:.1f} % of the word boundaries"
        + (f"; not aligned: {missing}" if missing else ""))


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="steps/get_prons.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="data dir with `text`")
    parser.add_argument("--lang", required=True, help="the lang folder that the alignment was made with")
    parser.add_argument("--ali", required=True, help="alignment folder, from steps/align.sh")
    parser.add_argument("--out", required=True, help="folder to write")
    args = parser.parse_args(argv)
    get_prons(args.data, args.lang, args.ali, args.out)


if __name__ == "__main__":
    main()
