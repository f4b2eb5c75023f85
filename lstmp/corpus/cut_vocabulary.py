"""Reduces the vocabulary until a given fraction of a test set's running words is out of vocabulary.

    local/cut_vocabulary.sh --rate 0.03 --of data/R/test --text FILE … --dict data/R/dict --out DIR

The words are sorted by their count in the text, and words with equal counts alphabetically. The shortest beginning of
this list is kept for which at most the given fraction of the set's words is unknown. ``DIR/dict`` is the dictionary of
the kept words. ``DIR/text.gz`` is the text in which all other words are replaced by ``<unk>``. Neither contains any
information about the removed words. ``DIR/words.txt`` lists the kept words.
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

UNKNOWN = "<unk>"  # not in the words.txt made from the dictionary, so n-grams that contain it are left out


def smallest_vocabulary(ranked: list[str], spoken: Counter, rate: float) -> int:
    """Return how many of the ranked words are needed so that at most the fraction ``rate`` is unknown.

    Args:
        ranked: candidate words, best first.
        spoken: word → number of occurrences in the set.
        rate: fraction of unknown running words, from 0 to 1.

    Raises:
        UserError: the rate is exceeded even with all words.
    """
    unknown, allowed = spoken.total(), rate * spoken.total()
    for n, word in enumerate(ranked):
        if unknown <= allowed:
            return n
        unknown -= spoken[word]
    if unknown > allowed:
        raise UserError(f"with all {len(ranked):,} words {100 * unknown / spoken.total():.2f} % are unknown",
                        hint="raise --rate, or give more text")
    return len(ranked)


def cut_vocabulary(rate: float, data_dir, texts, dict_dir, out) -> None:
    """Write the folder ``out``, which the module docstring describes.

    Args:
        rate: fraction of unknown running words, between 0 and 1.
        data_dir: data dir of the set.
        texts: text files with one sentence per line, plain or gzip.
        dict_dir: the dictionary; its phones and its silence model are copied unchanged.
        out: the folder to write.

    Raises:
        UserError: a file is missing or damaged, or the rate cannot be reached.
    """
    if not 0 < rate < 1:
        raise UserError("--rate must be between 0 and 1", hint="0.03 makes three of a hundred words unknown")
    out, transcripts = Path(out), Path(data_dir) / "text"
    stage = Stage(out, "cut", inputs=[transcripts, *texts, dict_dir], settings=rate)
    if stage.is_done():
        return
    dictionary = Dictionary.load(dict_dir)
    if any(word == UNKNOWN for word, _, _ in dictionary.entries):
        raise UserError(f"it contains the word {UNKNOWN}, which replaces the removed words", hint="rename it",
                        file=Path(dict_dir) / "lexiconp.txt")
    silence = set(dictionary.silence)
    normal_words = {word for word, _, phones in dictionary.entries if not set(phones) <= silence}
    counts = Counter(word for path in texts for _, line in numbered_lines(path) for word in line.split())
    ranked = sorted(normal_words & set(counts), key=lambda w: (-counts[w], w))
    spoken = Counter(word for line in read_table(transcripts).values() for word in line.split())
    kept = set(ranked[:smallest_vocabulary(ranked, spoken, rate)])
    entries = [e for e in dictionary.entries if e[0] in kept or e[0] not in normal_words]
    replace(dictionary, entries=entries).write(out / "dict")
    _write_text(out / "text.gz", texts, kept)
    config.write_text(out / "words.txt", "".join(f"{w}\n" for w in sorted(kept)))
    stage.mark(outputs=[*(p for p in sorted((out / "dict").iterdir()) if p.is_file()), out / "text.gz",
                        out / "words.txt"])
    unknown = sum(n for word, n in spoken.items() if word not in kept)
    covered = sum(counts[w] for w in kept) / max(counts.total(), 1)
    say(f"{out}: {len(kept):,} words, which cover {100 * covered:.2f} % of the text; {unknown} of {spoken.total():,} "
        f"words of {data_dir} are unknown, {100 * unknown / spoken.total():.2f} %")


def _write_text(path: Path, texts, kept: set[str]):
    """Write the texts with all words but ``kept`` replaced; atomic, and byte-identical for identical text."""
    with files.replacing(path) as tmp, open(tmp, "wb") as raw, gzip.GzipFile("", "wb", 5, raw, mtime=0) as f:
        for source in texts:
            for _, line in numbered_lines(source):
                f.write((" ".join(w if w in kept else UNKNOWN for w in line.split()) + "\n").encode())


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/cut_vocabulary.sh", description="Reduce the vocabulary of dictionary "
                                     "and text until a given fraction of a set's running words is unknown.")
    parser.add_argument("--rate", type=float, required=True, help="fraction of unknown running words, such as 0.03")
    parser.add_argument("--of", required=True, help="data dir of the set")
    parser.add_argument("--text", nargs="+", required=True, help="training text of the language model, plain or .gz")
    parser.add_argument("--dict", required=True, help="dictionary folder to read")
    parser.add_argument("--out", required=True, help="folder to write")
    args = parser.parse_args(argv)
    cut_vocabulary(args.rate, args.of, args.text, args.dict, args.out)


if __name__ == "__main__":
    main()
