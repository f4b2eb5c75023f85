"""Do transcripts, lexicon and language model fit? A report before anything is trained on them.

    local/check_text.sh --lang data/R/lang_tg --train data/R/train --data data/R/dev data/R/test

For each set: the words that the lexicon and the language model lack, those that the lexicon has in another spelling
(letter case, apostrophes, what is not seen), and the perplexity of the language model, in which unknown words do not
count. It is written to text_tg.json beside lang_tg, which steps/make_results.sh reads, and as a page to text_tg.md.
"""

import argparse
import functools
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from lstmp import config
from lstmp.corpus.coverage import MAX_UNKNOWN, check_known, difference, hint, spelled_otherwise, unknown_words
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.perplexity import Perplexity
from lstmp.corpus.pieces import MODEL, Pieces, made_of_pieces
from lstmp.corpus.textlines import first_columns
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.score.report import report_path, text_part
from lstmp.score.wer import Words, read_refs
from lstmp.stage import Stage

SHOWN = 20  # words of a list


class Vocabulary:
    """The words of a lang folder, with a language model in it or without.

    Args:
        lang: the folder.
    """

    def __init__(self, lang: Path):
        self.lang, self.ids = lang, read_symbols(lang / "words.txt")
        lexicon = lang / "lexiconp.txt"  # Kaldi's own lang has none
        symbols = first_columns(lexicon) if lexicon.is_file() else self.ids
        self.lexicon = {w for w in symbols if w in self.ids and w not in ("<eps>", "#0", "<s>", "</s>")}
        self.g = FstArrays.read(lang / "G.fst") if (lang / "G.fst").is_file() else None
        self.cut = None
        if made_of_pieces(self.lexicon) and (lang / MODEL).is_file():
            self.cut = functools.cache(functools.partial(Pieces(lang / MODEL).cut_into, known=self.lexicon))

    def units(self, word: str) -> tuple[str, ...]:
        """The entries of words.txt that a word is: itself, or its pieces."""
        return (word,) if self.cut is None else self.cut(word)

    def known(self, said: Counter[str], symbols) -> set[str]:
        """The words of which ``symbols`` has all units; without pieces, ``symbols`` itself."""
        return symbols if self.cut is None else {w for w in said if all(x in symbols for x in self.units(w))}


def report(name: str, refs: Words, said: Counter[str], known: Collection[str], v: Vocabulary) -> dict:
    """The figures of one set, as the JSON file has them.

    Args:
        said: word of ``refs`` → how often.
        known: words that the lexicon has, of all or of these.
    """
    unknown = unknown_words(said, known)
    otherwise = spelled_otherwise(unknown, known)
    kinds: Counter[str] = Counter()
    for word, other in otherwise.items():
        kinds[difference(word, other)] += unknown[word]
    found = {"set": name, "words": said.total(), "different": len(said), "unknown": unknown.total(),
             "most_unknown": unknown.most_common(SHOWN), "other_spelling": dict(kinds),
             "most_other_spelling": [[w, otherwise[w], n] for w, n in unknown.most_common() if w in otherwise][:SHOWN]}
    if v.g is None:
        return found
    lm = Perplexity(v.g, v.ids["#0"])
    names = {w for w in v.lexicon if v.ids[w] in lm.vocabulary}
    lacking = unknown_words(said, v.known(said, names))
    for words in refs.values():
        lm.add(tuple(v.ids.get(x, -1) for x in v.units(w)) for w in words)
    return {**found, "unknown_to_lm": lacking.total(),
            "most_unknown_to_lm": [[w, n] for w, n in lacking.most_common() if w not in unknown][:SHOWN],
            "perplexity": round(lm.value, 2) if lm.sentences else None, "impossible": lm.impossible}


def tell(found: dict, where: Path):
    """Print the figures of a set in a line, and what is odd as warnings."""
    total = max(found["words"], 1)

    def share(n: int) -> str:
        return f"{n:,} ({100 * n / total:.2f} %)"

    line = f"{found['set']}: of {found['words']:,} words {share(found['unknown'])} are not in the lexicon"
    if "unknown_to_lm" in found:
        line += f", {share(found['unknown_to_lm'])} not in the language model"
        line += f"; perplexity {found['perplexity']:g}" if found["perplexity"] else ""
    say(line)
    if kinds := found["other_spelling"]:
        word, other, _ = found["most_other_spelling"][0]
        warn(f"{found['set']}: {share(sum(kinds.values()))} words are in the lexicon in another spelling "
             f"({', '.join(f'{kind}: {n}' for kind, n in kinds.items())}), such as {word} as {other}")
    if found.get("impossible"):
        warn(f"{found['set']}: {found['impossible']:,} utterances cannot be said by {where / 'G.fst'}")


def check(found: dict, said: Counter[str], known: Collection[str], v: Vocabulary, data: Path, limit: float | None):
    """Raise where nothing good can come of it: see :func:`make_report`."""
    check_known(said, known, file=data / "text", where=v.lang / "words.txt", limit=1 - 1e-9 if limit is None else limit)
    if found["unknown"] > MAX_UNKNOWN * found["words"]:
        warn(f"{found['set']}: most words are not in {v.lang / 'words.txt'}, {hint(said, known)}")
    if found["words"] and found.get("unknown_to_lm") == found["words"] and limit is None:
        raise UserError("the language model has none of its words", file=data / "text",
                        hint="give a language model whose words are spelled as those of the lexicon")


def make_report(lang, train, others, out, *, max_unknown: float = MAX_UNKNOWN) -> None:
    """Write the report ``out`` (JSON), and beside it the same in Markdown.

    Args:
        lang: lang folder; with ``G.fst`` the language model is looked at too.
        train: data dirs to train on; more than ``max_unknown`` of their words unknown is an error.
        others: data dirs to decode; there it is an error if all words are unknown to lexicon or language model.
        max_unknown: share of running words.

    Raises:
        UserError: see above; a file is missing or damaged.
    """
    lang, out, sets = Path(lang), Path(out), [*map(Path, train), *map(Path, others)]
    stage = Stage(out.parent, out.stem, settings=[len(train), max_unknown], inputs=[
        *(lang / name for name in ("words.txt", "lexiconp.txt", MODEL, "G.fst")), *(d / "text" for d in sets)])
    if stage.is_done():
        return
    v, found = Vocabulary(lang), []
    for i, data in enumerate(sets):
        refs = read_refs(data)
        said = Counter(word for words in refs.values() for word in words)
        known = v.known(said, v.lexicon)
        found.append(report(data.name, refs, said, known, v))
        tell(found[-1], lang)
        check(found[-1], said, known, v, data, max_unknown if i < len(train) else None)
    config.write_text(out, json.dumps({"sets": found}, indent=1, ensure_ascii=False) + "\n")
    page = out.with_suffix(".md")
    config.write_text(page, f"# Words of {', '.join(d.name for d in sets)}, by {lang}\n\n{text_part(found)}\n")
    stage.mark(outputs=[out, page])


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/check_text.sh", description=__doc__.split("\n")[0])
    p.add_argument("--lang", required=True, help="lang folder, with G.fst or without")
    p.add_argument("--train", nargs="*", default=[], metavar="DIR", help="data dirs to train on")
    p.add_argument("--data", nargs="*", default=[], metavar="DIR", help="data dirs to decode")
    p.add_argument("--out", type=Path, help="the JSON file to write; a page in Markdown goes beside it (default: for "
                   "data/R/lang_tg data/R/text_tg.json)")
    p.add_argument("--max-unknown", type=float, default=MAX_UNKNOWN, help="share of the words to train on that may be "
                   "unknown before it is an error (default: %(default)s)")
    a = p.parse_args(argv)
    if not 0 <= a.max_unknown <= 1:
        raise UserError("--max-unknown must be a share from 0 to 1", hint="correct the value")
    if not a.train + a.data:
        raise UserError("no set to look at", hint="give --train or --data")
    lang = Path(a.lang)
    out = a.out or report_path(lang.absolute().parent, lang.absolute().name.removeprefix("lang_"))
    make_report(lang, a.train, a.data, out, max_unknown=a.max_unknown)


if __name__ == "__main__":
    main()
