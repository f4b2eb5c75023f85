"""Check that transcripts, lexicon and language model have the same words; a report to read before training.

    local/check_text.sh --lang data/R/lang_tg --train data/R/train --data data/R/dev data/R/test

For each set, the report has the words that are missing from the lexicon and from the language model, the words that the
lexicon has in another spelling (letter case, apostrophes, invisible characters), and the perplexity of the language
model without unknown words. It is written next to lang_tg, to text_tg.json, which steps/make_results.sh reads, and as a
page to text_tg.md.
"""

import argparse
import functools
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.coverage import MAX_UNKNOWN, check_known, describe_unknown, difference, other_spellings, unknown_words
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import check_backoff
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.perplexity import Perplexity
from lstmp.corpus.pieces import MODEL, Pieces, made_of_pieces
from lstmp.corpus.textlines import first_columns
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.score.report import report_path, text_part
from lstmp.score.wer import Words, read_refs
from lstmp.stage import Stage

SHOWN = 20  # maximum number of words in a list
_TOGETHER = "use files that were made together"


class Vocabulary:
    """The words of a lang folder, which may have a language model.

    Args:
        lang: the folder.
    """

    def __init__(self, lang: Path):
        self.lang, self.ids = lang, read_symbols(lang / "words.txt")
        lexicon = lang / "lexiconp.txt"  # missing in Kaldi's lang folders
        symbols = first_columns(lexicon) if lexicon.is_file() else self.ids
        self.lexicon = {w for w in symbols if w in self.ids and w not in ("<eps>", "#0", "<s>", "</s>")}
        if not self.lexicon:
            raise UserError(f"none of its words is in {lang / 'words.txt'}",
                            file=lexicon if lexicon.is_file() else lang, hint=_TOGETHER)
        self.g = FstArrays.read(lang / "G.fst") if (lang / "G.fst").is_file() else None
        if self.g is not None:
            check_backoff(self.g, self.ids.get("#0"), lang / "G.fst")
            if strange := set(np.unique(self.g.ilabel).tolist()) - {0, *self.ids.values()}:
                raise UserError(f"word {min(strange)} is not in {lang / 'words.txt'}", file=lang / "G.fst",
                                hint=_TOGETHER)
        self.cut = None
        if made_of_pieces(self.lexicon) and (lang / MODEL).is_file():
            self.cut = functools.cache(functools.partial(Pieces(lang / MODEL).cut_into, known=self.lexicon))

    def units(self, word: str) -> tuple[str, ...]:
        """The entries of words.txt that a word consists of: itself, or its pieces."""
        return (word,) if self.cut is None else self.cut(word)

    def known(self, counts: Counter[str], symbols) -> set[str]:
        """The words of ``counts`` whose units are all in ``symbols``; without pieces, ``symbols`` itself."""
        return symbols if self.cut is None else {w for w in counts if all(x in symbols for x in self.units(w))}


def report(name: str, refs: Words, counts: Counter[str], known: Collection[str], v: Vocabulary) -> dict:
    """The figures of one set, as in the JSON file.

    Args:
        name: name of the set.
        refs: its transcripts.
        counts: word of ``refs`` → count.
        known: the words of the lexicon, or at least those of ``refs`` that are in it.
        v: the vocabulary.
    """
    unknown = unknown_words(counts, known)
    other_spelling = other_spellings(unknown, known)
    differences: Counter[str] = Counter()
    for word, other in other_spelling.items():
        differences[difference(word, other)] += unknown[word]
    figures = {"set": name, "words": counts.total(), "different": len(counts), "unknown": unknown.total(),
               "most_unknown": unknown.most_common(SHOWN), "other_spelling": dict(differences),
               "most_other_spelling": [[w, other_spelling[w], n] for w, n in unknown.most_common()
                                       if w in other_spelling][:SHOWN]}
    if v.g is None:
        return figures
    lm = Perplexity(v.g, v.ids.get("#0", -1))
    lm_words = {w for w in v.lexicon if v.ids[w] in lm.vocabulary}
    unknown_to_lm = unknown_words(counts, v.known(counts, lm_words))
    for words in refs.values():
        lm.add(tuple(v.ids.get(x, -1) for x in v.units(w)) for w in words)
    return {**figures, "unknown_to_lm": unknown_to_lm.total(),
            "most_unknown_to_lm": [[w, n] for w, n in unknown_to_lm.most_common() if w not in unknown][:SHOWN],
            "perplexity": round(lm.value, 2) if lm.sentences else None, "impossible": lm.impossible}


def print_report(figures: dict, lang: Path):
    """Print the figures of a set in one line, and warnings about unusual ones."""
    total = max(figures["words"], 1)

    def share(n: int) -> str:
        return f"{n:,} ({100 * n / total:.2f} %)"

    line = f"{figures['set']}: of {figures['words']:,} words {share(figures['unknown'])} are not in the lexicon"
    if "unknown_to_lm" in figures:
        line += f", {share(figures['unknown_to_lm'])} not in the language model"
        line += f"; perplexity {figures['perplexity']:g}" if figures["perplexity"] else ""
    say(line)
    if differences := figures["other_spelling"]:
        word, other, _ = figures["most_other_spelling"][0]
        warn(f"{figures['set']}: {share(sum(differences.values()))} words are in the lexicon in another spelling "
             f"({', '.join(f'{name}: {n}' for name, n in differences.items())}), such as {word} as {other}")
    if figures.get("impossible"):
        warn(f"{figures['set']}: {figures['impossible']:,} utterances have no path in {lang / 'G.fst'}")


def check(figures: dict, counts: Counter[str], known: Collection[str], v: Vocabulary, data: Path, limit: float | None):
    """Raise an error if too many words are unknown; see :func:`make_report`.

    ``limit``: the allowed share of unknown words in a training set; None for a set to decode.
    """
    check_known(counts, known, file=data / "text", where=v.lang / "words.txt",
                limit=1 - 1e-9 if limit is None else limit)
    if figures["unknown"] > MAX_UNKNOWN * figures["words"]:
        warn(f"{figures['set']}: most words are not in {v.lang / 'words.txt'}, {describe_unknown(counts, known)}")
    if figures["words"] and figures.get("unknown_to_lm") == figures["words"] and limit is None:
        raise UserError("the language model has none of its words", file=data / "text",
                        hint="give a language model whose words are spelled as in the lexicon")


def make_report(lang, train, others, out, *, max_unknown: float = MAX_UNKNOWN) -> None:
    """Write the report to ``out`` (JSON), and as Markdown next to it.

    Args:
        lang: lang folder; if it has ``G.fst``, the language model is checked too.
        train: data dirs to train on. It is an error if a share of more than ``max_unknown`` of their words is unknown.
        others: data dirs to decode. It is an error if all their words are unknown to the lexicon or the language model.
        out: the JSON file.
        max_unknown: share of running words.

    Raises:
        UserError: too many unknown words, or a file is missing or damaged.
    """
    lang, out, sets = Path(lang), Path(out), [*map(Path, train), *map(Path, others)]
    stage = Stage(out.parent, out.stem, settings=[len(train), max_unknown], inputs=[
        *(lang / name for name in ("words.txt", "lexiconp.txt", MODEL, "G.fst")), *(d / "text" for d in sets)])
    if stage.is_done():
        return
    v, reports = Vocabulary(lang), []
    for i, data in enumerate(sets):
        refs = read_refs(data)
        counts = Counter(word for words in refs.values() for word in words)
        known = v.known(counts, v.lexicon)
        reports.append(report(data.name, refs, counts, known, v))
        print_report(reports[-1], lang)
        check(reports[-1], counts, known, v, data, max_unknown if i < len(train) else None)
    config.write_text(out, json.dumps({"sets": reports}, indent=1, ensure_ascii=False) + "\n")
    page = out.with_suffix(".md")
    config.write_text(page, f"# Words of {', '.join(d.name for d in sets)}, checked with {lang}\n\n"
                      f"{text_part(reports)}\n")
    stage.mark(outputs=[out, page])


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/check_text.sh", description=__doc__.split("\n")[0])
    p.add_argument("--lang", required=True, help="lang folder; with G.fst, the language model is checked too")
    p.add_argument("--train", nargs="*", default=[], metavar="DIR", help="data dirs to train on")
    p.add_argument("--data", nargs="*", default=[], metavar="DIR", help="data dirs to decode")
    p.add_argument("--out", type=Path, help="the JSON file to write, with a Markdown page next to it (default: "
                   "data/R/text_tg.json for data/R/lang_tg)")
    p.add_argument("--max-unknown", type=float, default=MAX_UNKNOWN, help="largest share of unknown words in training "
                   "data that is not an error (default: %(default)s)")
    a = p.parse_args(argv)
    if not 0 <= a.max_unknown <= 1:
        raise UserError("--max-unknown must be a share from 0 to 1", hint="correct the value")
    if not a.train + a.data:
        raise UserError("no data to check", hint="give --train or --data")
    lang = Path(a.lang)
    out = a.out or report_path(lang.absolute().parent, lang.absolute().name.removeprefix("lang_"))
    make_report(lang, a.train, a.data, out, max_unknown=a.max_unknown)


if __name__ == "__main__":
    main()
