"""Stage 3: a language model, given as ARPA or trained from text, becomes ``lang_<lm>/``: the lang folder plus G.fst.

Training is kaldingram's: back-off Kneser-Ney with one discount per order (the unmodified one, SRILM's
``-ukndiscount``).
"""

import argparse
import functools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from lstmp import config, files
from lstmp.corpus.arpa import arpa_to_g, arpa_words
from lstmp.corpus.coverage import hint
from lstmp.corpus.fst import write_fst
from lstmp.corpus.grammar import grammar_to_g
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.pieces import MODEL, Pieces, made_of_pieces
from lstmp.corpus.textlines import numbered_lines, odd_characters
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.stage import Stage

RESERVED = {"<s>", "</s>", "<eps>", "#0"}


def train_arpa(texts, out, *, order: int = 3, skip_id: bool = False, prune: float = 0.0,
               cut: Callable[[str], Iterable[str]] | None = None) -> None:
    """Train an n-gram LM and write it to ``out`` in ARPA format.

    Args:
        texts: files of sentences, one a line, plain or gzip.
        order: 2 to 5.
        skip_id: the first word of each line is an utterance-id, as in Kaldi's ``text``, and does not count.
        prune: leave out n-grams without which the perplexity rises by less than this, relative (A. Stolcke,
            "Entropy-based pruning of backoff language models", 1998); 0: none.
        cut: gives the pieces of a word, of which the model is to be; without it, of the words.

    Raises:
        UserError: no sentence, a reserved symbol as a word, an option out of range.
    """
    if not 2 <= order <= 5:
        raise UserError(f"--order must be 2 to 5, not {order}", hint="3 is usual")
    if not 0 <= prune < 1:
        raise UserError(f"--prune must lie between 0 and 1, not {prune}", hint="1e-8 to 1e-7 are usual")
    with files.temporary_folder() as tmp:
        sentences, odd = 0, None
        with open(tmp / "text", "w", encoding="utf-8") as f:
            for path in texts:
                for n, line in numbered_lines(path):
                    words = line.split()[1 if skip_id else 0 :]
                    words = words[words[:1] == ["<s>"]:len(words) - (words[-1:] == ["</s>"])]  # as some write sentences
                    odd = odd or (path, n) if odd_characters(words) else odd
                    if bad := RESERVED.intersection(words):
                        raise UserError(f"{min(bad)} is a reserved symbol, it cannot be a word", file=path, line=n,
                                        hint="remove it; sentence boundaries are added by themselves")
                    if words:
                        f.write(" ".join(words if cut is None else (p for w in words for p in cut(w))) + "\n")
                        sentences += 1
        if odd:
            warn(f"{odd[0]}:{odd[1]}: a character that is no spelling, perhaps invisible, in a word, and perhaps in "
                 "others below; such words are other words than those that look the same")
        if not sentences:
            raise UserError("no sentence to train a language model from", file=", ".join(map(str, texts)),
                            hint="give text, one sentence a line")
        arpa, pruned = tmp / "arpa", tmp / "pruned"
        _kaldingram("train", "--ngram-order", order, "--text", tmp / "text", "--lm", arpa)
        if prune:
            _kaldingram("prune", "--threshold", prune, "--lm", arpa, "--write-lm", pruned, "--verbose", 4)
        config.write_text(out, (pruned if prune else arpa).read_text(encoding="utf-8"))
    say(f"{out}: {order}-gram LM from {sentences} sentences" + (", of pieces of words" if cut else ""))


def _kaldingram(*arguments):
    """Run a command of kaldingram, in a process of its own: its memory is given back, its progress bars are caught."""
    job = subprocess.run([sys.executable, "-m", "kaldingram.cli", *map(str, arguments)], capture_output=True, text=True)
    if job.returncode != 0:
        raise UserError(f"kaldingram {arguments[0]} failed: {(job.stderr.strip() or 'killed').splitlines()[-1]}",
                        hint="give more text or another --order, or look whether the memory is enough")


def prepare_lm(lang, out, *, arpa=None, texts=(), order: int = 3, skip_id: bool = False, grammar=None,
               prune: float = 0.0) -> None:
    """Write ``out``: all of ``lang`` (hard links where the file system has them) plus G.fst.

    Args:
        lang: the folder that :mod:`lstmp.corpus.prepare_lang` wrote.
        arpa: a given LM; without it, one is trained from ``texts`` and kept as ``out/lm.arpa``.
        order, skip_id, prune: see :func:`train_arpa`. Where the words of ``lang`` are pieces, so are those of the model
            that is trained.
        grammar: in the place of both, a list of phrases or a grammar, see :mod:`lstmp.corpus.grammar`.

    Raises:
        UserError: see :func:`train_arpa`, :mod:`lstmp.corpus.arpa` and :mod:`lstmp.corpus.grammar`.
    """
    lang, out = Path(lang), Path(out)
    if (arpa is not None) + bool(texts) + (grammar is not None) != 1:
        raise UserError("give either an ARPA file, text to train from, or a grammar",
                        hint="use one of --arpa, --text, --grammar")
    if prune and not texts:
        raise UserError("--prune is for a model that is trained", hint="give --text with it, or leave it out")
    given = [arpa] if arpa else [grammar] if grammar else texts
    settings = [order, skip_id, *([prune] if prune else [])] if texts else []
    stage = Stage(out, "lm", inputs=[lang, *given], settings=settings, version=2)
    if stage.is_done():
        return
    words = read_symbols(lang / "words.txt")
    if "#0" not in words:
        raise UserError("the symbol #0 is missing", file=lang / "words.txt", hint="run stage 2 again")
    if grammar and made_of_pieces(words):
        raise UserError("its entries are pieces of words, a grammar is of words", file=lang / "words.txt",
                        hint="give the lang folder of a dictionary of words")
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
        if made_of_pieces(words):  # as the dictionary has them: an n-gram of others would be lost
            cut = functools.cache(functools.partial(Pieces(lang / MODEL).cut_into, known=words))
        train_arpa(texts, arpa, order=order, skip_id=skip_id, prune=prune, cut=cut)
    g, counts, left_out = arpa_to_g(arpa, lang / "words.txt")
    write_fst(g, out / "G.fst")
    if left_out:
        warn(f"{arpa}: {left_out} of {sum(counts)} n-grams were left out: they have a word that is not in "
             f"{lang / 'words.txt'}, or their history is no n-gram")
    if left_out > sum(counts) / 2:
        warn(f"{arpa}: most of it was left out: of its words that are not in {lang / 'words.txt'}, "
             f"{hint(Counter(arpa_words(arpa)), words)}")
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lang", required=True, help="the lang folder, data/<recipe>/lang")
    parser.add_argument("--out", required=True, help="the folder to write, data/<recipe>/lang_<lm>")
    parser.add_argument("--arpa", help="a language model in ARPA format, plain or .gz")
    parser.add_argument("--text", nargs="+", default=[], help="train from these files instead: a sentence a line")
    parser.add_argument("--grammar", help="a list of phrases, one a line, or a JSGF grammar instead (docs/formats.md)")
    parser.add_argument("--order", type=int, default=3, help="order of a trained LM, 2 to 5 (default: %(default)s)")
    parser.add_argument("--prune", type=float, default=0.0, help="of a trained LM, leave out n-grams that lower the "
                        "perplexity by less than this, relative, such as 1e-8 (default: none)")
    parser.add_argument("--skip-id", action="store_true", help="the first column is an utterance-id (Kaldi's text)")
    args = parser.parse_args(argv)
    prepare_lm(args.lang, args.out, arpa=args.arpa, texts=args.text, order=args.order,
               skip_id=args.skip_id, grammar=args.grammar, prune=args.prune)


if __name__ == "__main__":
    main()
