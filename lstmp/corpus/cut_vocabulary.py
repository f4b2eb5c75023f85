"""A smaller vocabulary, so small that a given share of a test set's running words is unknown to it.

    local/cut_vocabulary.sh --rate 0.03 --of data/R/test --text FILE … --dict data/R/dict --out DIR

The words are ranked by how often they occur in the text, those of one count by the alphabet; the first so many are kept
that at most the given share of the set's words is not among them. ``DIR/dict`` is the dictionary of the words kept,
``DIR/text.gz`` the text with ``<unk>`` in the place of all others: neither says anything about them. ``DIR/words.txt``
lists the words.
"""

import argparse
import gzip
from collections import Counter
from dataclasses import replace
from pathlib import Path

from lstmp import config, files
from lstmp.corpus.datadir import read_table
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

UNKNOWN = "<unk>"  # not in the words.txt that is made: n-grams with it are left out


def smallest_vocabulary(ranked: list[str], said: Counter, rate: float) -> int:
    """How many of the ranked words are needed for at most ``rate`` of the words said to be unknown.

    Raises:
        UserError: all of them are not enough.
    """
    unknown, allowed = said.total(), rate * said.total()
    for n, word in enumerate(ranked):
        if unknown <= allowed:
            return n
        unknown -= said[word]
    if unknown > allowed:
        raise UserError(f"with all {len(ranked):,} words {100 * unknown / said.total():.2f} % are unknown",
                        hint="raise --rate, or give more text")
    return len(ranked)


def cut_vocabulary(rate: float, data_dir, texts, dict_dir, out) -> None:
    """Write the folder ``out``; see the module.

    Args:
        rate: the share, from 0 to 1.
        data_dir: data dir of the set.
        texts: a sentence a line, plain or gzip.
        dict_dir: the dictionary; its phones and its silence model stay as they are.

    Raises:
        UserError: a file is missing or damaged, or the share cannot be had.
    """
    if not 0 < rate < 1:
        raise UserError("--rate must lie between 0 and 1", hint="0.03 makes three words of a hundred unknown")
    out, transcripts = Path(out), Path(data_dir) / "text"
    stage = Stage(out, "cut", inputs=[transcripts, *texts, dict_dir], settings=rate)
    if stage.is_done():
        return
    dictionary = Dictionary.load(dict_dir)
    if any(word == UNKNOWN for word, _, _ in dictionary.entries):
        raise UserError(f"it has the word {UNKNOWN}, which is to stand for the words that are cut", hint="rename it",
                        file=Path(dict_dir) / "lexiconp.txt")
    silence = set(dictionary.silence)
    spoken = {word for word, _, phones in dictionary.entries if not set(phones) <= silence}
    counts = Counter(word for path in texts for _, line in numbered_lines(path) for word in line.split())
    ranked = sorted(spoken & set(counts), key=lambda w: (-counts[w], w))
    said = Counter(word for line in read_table(transcripts).values() for word in line.split())
    kept = set(ranked[:smallest_vocabulary(ranked, said, rate)])
    entries = [e for e in dictionary.entries if e[0] in kept or e[0] not in spoken]
    replace(dictionary, entries=entries).write(out / "dict")
    _write_text(out / "text.gz", texts, kept)
    config.write_text(out / "words.txt", "".join(f"{w}\n" for w in sorted(kept)))
    stage.mark(outputs=[*(p for p in sorted((out / "dict").iterdir()) if p.is_file()), out / "text.gz",
                        out / "words.txt"])
    unknown = sum(n for word, n in said.items() if word not in kept)
    covered = sum(counts[w] for w in kept) / max(counts.total(), 1)
    say(f"{out}: {len(kept):,} words, {100 * covered:.2f} % of the text; {unknown} of {said.total():,} words of "
        f"{data_dir} are unknown, {100 * unknown / said.total():.2f} %")


def _write_text(path: Path, texts, kept: set[str]):
    """The texts with only the words ``kept``, by a temporary name; the same bytes for the same text."""
    with files.replacing(path) as tmp, open(tmp, "wb") as raw, gzip.GzipFile("", "wb", 5, raw, mtime=0) as f:
        for source in texts:
            for _, line in numbered_lines(source):
                f.write((" ".join(w if w in kept else UNKNOWN for w in line.split()) + "\n").encode())


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/cut_vocabulary.sh", description="Cut vocabulary, dictionary and text "
                                     "so that a given share of a set's words is unknown.")
    parser.add_argument("--rate", type=float, required=True, help="share of unknown words, such as 0.03")
    parser.add_argument("--of", required=True, help="data dir of the set")
    parser.add_argument("--text", nargs="+", required=True, help="text that a language model is to be trained on")
    parser.add_argument("--dict", required=True, help="dictionary folder")
    parser.add_argument("--out", required=True, help="folder to write")
    args = parser.parse_args(argv)
    cut_vocabulary(args.rate, args.of, args.text, args.dict, args.out)


if __name__ == "__main__":
    main()
