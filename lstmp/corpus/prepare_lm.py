"""Stage 3: make ``lang_<lm>/``, the lang folder plus G.fst, from an ARPA model, a grammar, or text to train from.

kaldingram trains the model: back-off Kneser-Ney with one discount per order (unmodified Kneser-Ney, SRILM's
``-ukndiscount``). A unigram has the relative frequencies.
"""

import argparse
import functools
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from lstmp import config, files
from lstmp.corpus.arpa import arpa_to_g, arpa_words
from lstmp.corpus.coverage import describe_unknown, other_spellings, unknown_words
from lstmp.corpus.fst import write_fst
from lstmp.corpus.grammar import grammar_to_g
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.pieces import MODEL, Pieces, made_of_pieces
from lstmp.corpus.textlines import numbered_lines, odd_characters
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.stage import Stage

RESERVED = {"<s>", "</s>", "<eps>", "#0"}
_MAX_CHECKED = 1000  # sentences that are checked for utterance-ids at the beginning or end
_MIN_CHECKED = 3  # fewer sentences do not show whether there are utterance-ids


def train_arpa(texts, out, *, order: int = 3, skip_id: bool = False, prune: float = 0.0,
               cut: Callable[[str], Iterable[str]] | None = None) -> None:
    """Train an n-gram LM and write it to ``out`` in ARPA format.

    Args:
        texts: text files with one sentence per line, plain or gzip.
        out: the ARPA file to write.
        order: order of the model, 1 to 5.
        skip_id: whether the first word of each line is an utterance-id, as in Kaldi's ``text``, and is skipped.
        prune: remove n-grams whose removal increases the perplexity by less than this fraction (A. Stolcke,
            "Entropy-based pruning of backoff language models", 1998); 0: no pruning.
        cut: function that cuts a word into pieces, for a model of pieces; None: a model of words.

    Raises:
        UserError: there is no sentence, a word is a reserved symbol, or an option is out of range.
    """
    if not 1 <= order <= 5:
        raise UserError(f"--order must be 1 to 5, not {order}", hint="3 is usual")
    if not 0 <= prune < 1:
        raise UserError(f"--prune must be at least 0 and below 1, not {prune}", hint="1e-8 to 1e-7 are usual")
    if prune and order == 1:
        raise UserError("a unigram cannot be pruned", hint="omit --prune, or give a higher --order")
    with files.temporary_folder() as tmp:
        sentences, odd = 0, None
        ids = _Ids(skip_id)
        with open(tmp / "text", "w", encoding="utf-8") as f:
            for path in texts:
                for n, line in numbered_lines(path):
                    words = line.split()
                    ids.add(words, path)
                    words = words[1 if skip_id else 0 :]
                    outer = [word.lower() for word in words[:1] + words[-1:]]  # some texts have <s> and </s>
                    words = words[outer[:1] == ["<s>"]:len(words) - (outer[-1:] == ["</s>"])]
                    odd = odd or (path, n) if odd_characters(words) else odd
                    if bad := RESERVED.intersection(words):
                        raise UserError(f"{min(bad)} is a reserved symbol and cannot be a word", file=path, line=n,
                                        hint="remove it; sentence boundaries are added automatically")
                    if words:
                        f.write(" ".join(words if cut is None else (p for w in words for p in cut(w))) + "\n")
                        sentences += 1
        ids.report()
        if odd:
            warn(f"{odd[0]}:{odd[1]}: a word contains a character, possibly invisible, that does not belong to its "
                 "spelling, and later lines may too; such words differ from words that look the same")
        if not sentences:
            raise UserError("no sentence to train a language model from", file=", ".join(map(str, texts)),
                            hint="give text with one sentence per line")
        arpa, pruned = tmp / "arpa", tmp / "pruned"
        if order == 1:
            arpa.write_text(_unigram(tmp / "text", sentences), encoding="utf-8")
        else:
            _kaldingram("train", "--ngram-order", order, "--text", tmp / "text", "--lm", arpa)
        if prune:
            _kaldingram("prune", "--threshold", prune, "--lm", arpa, "--write-lm", pruned, "--verbose", 4)
        config.write_text(out, (pruned if prune else arpa).read_text(encoding="utf-8"))
    say(f"{out}: {order}-gram LM from {sentences} sentences" + (", of pieces of words" if cut else ""))


def _unigram(text: Path, sentences: int) -> str:
    """The relative frequencies of the words and of the end of a sentence in ``text``, as an ARPA file."""
    with open(text, encoding="utf-8") as f:
        counts = Counter(word for line in f for word in line.split())
    counts["</s>"] = sentences
    total = sum(counts.values())
    rows = [f"{math.log10(count / total):.7f}\t{word}\n" for word, count in sorted(counts.items())]
    return "".join(["\\data\\\n", f"ngram 1={len(rows) + 1}\n\n", "\\1-grams:\n", "-99\t<s>\n", *rows, "\n\\end\\\n"])


class _Ids:
    """Checks text without utterance-ids for ids, and text with ids for words in their position."""

    def __init__(self, skip_id: bool):
        self.skip_id, self.path, self.lines = skip_id, None, 0
        self.repeated: str | None = None
        self.first: set[str] = set()
        self.last: set[str] = set()

    def add(self, words: list[str], path):
        """Check the next line. Only the first file is checked, because other files may contain the same ids again."""
        if not words or self.lines == _MAX_CHECKED or self.path not in (None, path):
            return
        self.path, self.lines = path, self.lines + 1
        if words[0] in self.first:
            self.repeated = words[0]
        self.first.add(words[0])
        self.last.add(words[-1])

    def report(self):
        """Warn if ids or words were found where they do not belong."""
        if self.skip_id and self.repeated:
            warn(f"{self.path}: {self.repeated} begins several lines, so the first words, which are skipped, may not "
                 "be utterance-ids; if they are words, do not give --skip-id")
        if self.skip_id or self.lines < _MIN_CHECKED:
            return
        for words, verb, hint in ((self.first, "begins", "give --skip-id"), (self.last, "ends", "remove them")):
            if len(words) == self.lines and all(any(c.isdecimal() for c in word) for word in words):
                warn(f"{self.path}: each line {verb} with a different word that contains digits, such as {min(words)}; "
                     f"if these are utterance-ids, {hint}")


def _kaldingram(*arguments):
    """Run a command of kaldingram in a separate process, which frees its memory and hides its progress bars."""
    job = subprocess.run([sys.executable, "-m", "kaldingram.cli", *map(str, arguments)], capture_output=True, text=True)
    if job.returncode != 0:
        raise UserError(f"kaldingram {arguments[0]} failed: {(job.stderr.strip() or 'killed').splitlines()[-1]}",
                        hint="give more text or another --order, or check whether there is enough memory")


def prepare_lm(lang, out, *, arpa=None, texts=(), order: int = 3, skip_id: bool = False, grammar=None,
               prune: float = 0.0) -> None:
    """Write the folder ``out``: the files of ``lang`` (as hard links if possible) plus G.fst.

    Exactly one of ``arpa``, ``texts`` and ``grammar`` must be given.

    Args:
        lang: the folder written by :mod:`lstmp.corpus.prepare_lang`.
        out: the folder to write.
        arpa: a language model in ARPA format.
        texts: text files; a language model is trained from them and written to ``out/lm.arpa``. If the words of
            ``lang`` are pieces of words, it is a model of pieces.
        order, skip_id, prune: see :func:`train_arpa`.
        grammar: a list of phrases or a grammar, see :mod:`lstmp.corpus.grammar`.

    Raises:
        UserError: see :func:`train_arpa`, :mod:`lstmp.corpus.arpa` and :mod:`lstmp.corpus.grammar`.
    """
    lang, out = Path(lang), Path(out)
    if (arpa is not None) + bool(texts) + (grammar is not None) != 1:
        raise UserError("give either an ARPA file, text to train from, or a grammar",
                        hint="use one of --arpa, --text, --grammar")
    if prune and not texts:
        raise UserError("--prune requires a model that is trained from text", hint="add --text, or omit --prune")
    given = [arpa] if arpa else [grammar] if grammar else texts
    settings = [order, skip_id, *([prune] if prune else [])] if texts else []
    stage = Stage(out, "lm", inputs=[lang, *given], settings=settings, version=2)
    if stage.is_done():
        return
    words = read_symbols(lang / "words.txt")
    if "#0" not in words:
        raise UserError("the symbol #0 is missing", file=lang / "words.txt", hint="run stage 2 again")
    if grammar and made_of_pieces(words):
        raise UserError("a grammar consists of words, but this file contains pieces of words",
                        file=lang / "words.txt", hint="give the lang folder of a dictionary of words")
    _link_files(lang, out)
    if grammar:
        g, used = grammar_to_g(grammar, words)
        write_fst(g, out / "G.fst")
        stage.mark(outputs=[p for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")])
        say(f"{out}: G from {grammar}, {used} words, {g.num_states} states")
        return
    if not arpa:
        arpa = out / "lm.arpa"
        cut = None
        if made_of_pieces(words):  # use only pieces in the dictionary, since other n-grams would be lost
            cut = functools.cache(functools.partial(Pieces(lang / MODEL).cut_into, known=words))
        train_arpa(texts, arpa, order=order, skip_id=skip_id, prune=prune, cut=cut)
    g, counts, left_out = arpa_to_g(arpa, lang / "words.txt")
    write_fst(g, out / "G.fst")
    if left_out:
        warn(f"{arpa}: {left_out} of {sum(counts)} n-grams were left out: they contain a word that is not in "
             f"{lang / 'words.txt'}, or their history is not an n-gram of the model")
        lm_words = Counter(arpa_words(arpa) - {"<unk>"})
        most, unknown = left_out > sum(counts) / 2, unknown_words(lm_words, words)
        if unknown and (most or other_spellings(unknown, words)):
            warn(f"{arpa}: {'most n-grams were left out: ' if most else ''}{len(unknown)} words are not in "
                 f"{lang / 'words.txt'}, {describe_unknown(lm_words, words)}")
    stage.mark(outputs=[p for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")])
    say(f"{out}: G from {' / '.join(map(str, counts))} n-grams, {g.num_states} states")


def _link_files(source: Path, out: Path):
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).unlink(missing_ok=True)
            try:
                os.link(path, out / name)
            except OSError:  # another file system, or one without hard links
                config.copy_file(path, out / name)


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/prepare_lm.sh", description=__doc__)
    parser.add_argument("--lang", required=True, help="the lang folder to read, data/<recipe>/lang")
    parser.add_argument("--out", required=True, help="the folder to write, data/<recipe>/lang_<lm>")
    parser.add_argument("--arpa", help="use this language model in ARPA format, plain or .gz")
    parser.add_argument("--text", nargs="+", default=[], help="train a language model from these text files with one "
                        "sentence per line, plain or .gz")
    parser.add_argument("--grammar", help="use this list of phrases, one per line, or JSGF grammar (docs/formats.md)")
    parser.add_argument("--order", type=int, default=3, help="order of a trained LM, 1 to 5 (default: %(default)s)")
    parser.add_argument("--prune", type=float, default=0.0, help="remove n-grams of a trained LM whose removal "
                        "increases the perplexity by less than this fraction, such as 1e-8 (default: no pruning)")
    parser.add_argument("--skip-id", action="store_true", help="skip the utterance-id in the first column of --text")
    args = parser.parse_args(argv)
    prepare_lm(args.lang, args.out, arpa=args.arpa, texts=args.text, order=args.order,
               skip_id=args.skip_id, grammar=args.grammar, prune=args.prune)


if __name__ == "__main__":
    main()
