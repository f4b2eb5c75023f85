"""Checks ARPA language models and converts them to the acceptor G.

kaldilm does the conversion in the same way as Kaldi's ``arpa2fst --disambig-symbol=#0``: ``<s>`` and ``</s>`` are
removed, and back-off arcs have the input label ``#0`` and no output label. kaldilm ends the process when a file is
bad. Therefore the file is checked first, and kaldilm runs in a separate process.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kaldifst
import numpy as np

from lstmp import files
from lstmp.corpus.coverage import describe_unknown
from lstmp.corpus.fst import FstArrays, bypass, sole_exits
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.textlines import columns, number, numbered_lines
from lstmp.errors import UserError

DATA = "\\data\\"
_BLANKS = " \t\v\f"
_BINARY = ("mmap lm http", "blmt", "Qblmt", "NgramLM")  # first bytes of the binary files of KenLM and IRSTLM
_SYMBOLS = ("<eps>", "#0")  # special symbols of words.txt, which a model must not contain as words
_COUNT = re.compile(r"ngram[ \t]+([0-9]+)[ \t]*=[ \t]*([0-9]+)")
_SECTION = re.compile(r"\\([0-9]+)-grams:")
_CONVERT = ("import sys, kaldilm; kaldilm.arpa2fst(sys.argv[1], output_fst=sys.argv[2], disambig_symbol='#0', "
            "read_symbol_table=sys.argv[3], max_arpa_warnings=-1)")


def check_arpa(path, copy=None) -> list[int]:
    r"""Check an ARPA file (plain or gzip) from ``\data\`` to ``\end\`` and return its n-gram counts by order.

    These variants, which some tools write, are accepted: the log-probability ``-inf`` for ``<s>``, back-off weights of
    0 in the highest order, and a missing section if ``\data\`` gives the count 0 for it.

    Args:
        path: the ARPA file.
        copy: open text file that receives the checked lines, beginning with ``\data\``, in the form that kaldilm reads.

    Raises:
        UserError: with the line number: a section is missing or out of order, the number of n-grams differs from the
            count in ``\data\``, a line has the wrong length, a log-probability is not a number or is positive, ``<s>``
            or ``</s>`` is missing, a special symbol is used as a word, the file ends before ``\end\``, or the file is
            binary.
    """
    path = Path(path)

    def error(n: int, what: str, hint: str = "create or download the LM again"):
        return UserError(what, file=path, line=n, hint=hint)

    counts: list[int] = []
    boundaries: set[str] = set()
    order, num_ngrams, n = -1, 0, 0  # order −1: before \data\, 0: in \data\, k: in \k-grams:
    for n, line in numbered_lines(path):
        line = line.strip(_BLANKS)
        if order < 0:
            if line != DATA:
                if n == 1 and line.startswith(_BINARY):
                    raise error(n, "this is a binary language model of KenLM or IRSTLM",
                                "give the model in ARPA format")
                continue  # text before \data\ is a comment
            order = 0
        elif line.startswith("\\"):
            if order and num_ngrams != counts[order - 1]:
                raise error(n, f"{num_ngrams} {order}-grams, but \\data\\ says {counts[order - 1]}")
            if not counts:
                raise error(n, "\\data\\ gives no counts")
            while line != f"\\{order + 1}-grams:" and order and order < len(counts) and not counts[order]:
                order, num_ngrams = order + 1, 0
                if copy is not None:
                    copy.write(f"\\{order}-grams:\n")
            expected = f"\\{order + 1}-grams:" if order < len(counts) else "\\end\\"
            if line != expected:
                raise error(n, f"expected {expected}, found {line}")
            if order == 1 and boundaries != {"<s>", "</s>"}:
                raise error(n, "the 1-grams lack <s> or </s>", "train the LM with the sentence boundaries <s> and </s>")
            order, num_ngrams = order + 1, 0
            if order > len(counts):
                if copy is not None:
                    copy.write(line + "\n")
                return counts
        elif line and order == 0:
            match = _COUNT.fullmatch(line)
            if not match or int(match[1]) != len(counts) + 1:
                raise error(n, f"expected `ngram {len(counts) + 1}=count`, found {line}")
            counts.append(int(match[2]))
            line = f"ngram {match[1]}={match[2]}"
        elif line:
            fields = columns(line)
            num_ngrams += 1
            if len(fields) not in (order + 1, order + 2):
                raise error(n, f"expected a log-probability, {order} words and an optional back-off weight, "
                            f"found {len(fields)} fields")
            if len(fields) == order + 2 and order == len(counts) and number(fields[-1]) == 0:
                line = " ".join(fields := fields[:-1])
            if order == 1 and fields[1] == "<s>" and fields[0].lower() in ("-inf", "-infinity"):
                line = " ".join(fields := ["-99", *fields[1:]])
            if order == 1 and fields[1] in _SYMBOLS:
                raise error(n, f"{fields[1]} is a special symbol of words.txt and cannot be a word",
                            "train the LM from text without it")
            if len(fields) == order + 2 and order == len(counts):
                raise error(n, f"a {order}-gram, the highest order, must not have a back-off weight")
            prob, backoff = number(fields[0]), number(fields[-1]) if len(fields) == order + 2 else 0.0
            if prob is None or backoff is None:
                raise error(n, "the log-probability or back-off weight is not a number")
            if not (-np.inf < prob <= 1e-4 and abs(backoff) < np.inf):
                raise error(n, f"the log-probability {fields[0]} is above 0, or it or the back-off weight is infinite")
            if order == 1 and fields[1] in ("<s>", "</s>"):
                boundaries.add(fields[1])
        if copy is not None:
            copy.write(line + "\n")
    if order < 0:
        raise UserError("this is not an ARPA file: it has no \\data\\ line", file=path,
                        hint="give a language model in ARPA format")
    raise error(n, "the file ends before \\end\\")


def arpa_words(path) -> set[str]:
    """Return the words of the 1-grams of an ARPA file. The file is not checked."""
    words, in_unigrams = set(), False
    for _, line in numbered_lines(path):
        fields = columns(line)
        if in_unigrams and fields and fields[0].startswith("\\"):
            break
        if in_unigrams and fields:
            words.add("".join(fields[1:2]))
        in_unigrams = in_unigrams or fields == ["\\1-grams:"]
    return words


def arpa_to_g(path, words_txt) -> tuple[kaldifst.StdVectorFst, list[int], int]:
    """Convert an ARPA file to G.

    Args:
        path: the ARPA file, plain or gzip.
        words_txt: symbol table; n-grams that contain a word outside this table are left out.

    Returns:
        G with arcs sorted by input label, the n-gram counts of the file by order, and the number of n-grams left out.

    Raises:
        UserError: see :func:`check_arpa`; also if an n-gram occurs twice, or no word of the LM is in the symbol table.
    """
    with files.temporary_folder() as tmp:
        arpa, out, symbols = tmp / "lm.arpa", tmp / "G.fst", tmp / "words.txt"
        words = read_symbols(words_txt)  # written again, because the original file may use another Unicode form
        symbols.write_text("".join(f"{w} {i}\n" for w, i in words.items()), encoding="utf-8")
        with open(arpa, "w", encoding="utf-8") as f:
            counts = check_arpa(path, f)
        job = subprocess.run([sys.executable, "-c", _CONVERT, str(arpa), str(out), str(symbols)],
                             stderr=subprocess.PIPE, text=True, errors="replace")
        if job.returncode != 0 or not out.is_file():
            errors = [line for line in job.stderr.splitlines() if line.startswith("[E]")] or [job.stderr[-200:]]
            raise UserError(f"kaldilm cannot read the LM: {errors[0].removeprefix('[E]')}", file=path,
                            hint="create the LM again")
        left_out = sum(line.startswith("[W]") and " skipped: " in line for line in job.stderr.split("\n"))
        g = FstArrays.read(out)
    # If no longer n-gram extends a history, the only arc of its state is the back-off arc. Three quarters of the states
    # of a pruned trigram model are of this type.
    g = bypass(g, sole_exits(g) & (g.olabel == 0)).to_fst()
    kaldifst.connect(g)
    kaldifst.arcsort(g, sort_type="ilabel")
    arrays = FstArrays.of(g)
    if not (arrays.olabel > 0).any():
        unknown = Counter(arpa_words(path) - {"<s>", "</s>", "<unk>"})
        details = f", {describe_unknown(unknown, words)}" if unknown else ""
        raise UserError(f"no word of the LM is in the lexicon{details}", file=path,
                        hint="check that both use the same spelling of words, for example the same letter case")
    _check_no_duplicates(arrays, path, words)
    return g, counts, left_out


def _check_no_duplicates(g: FstArrays, path, words: dict[str, int]):
    """Raise a UserError if a state of G has two arcs with the same word.

    This happens if an n-gram occurs twice in the file; G would add up the two probabilities.

    Args:
        g: the acceptor, with arcs sorted by input label.
        path: the ARPA file, which is searched for the duplicate.
        words: symbol table of G.
    """
    duplicates = np.flatnonzero((g.src[1:] == g.src[:-1]) & (g.ilabel[1:] == g.ilabel[:-1]))
    if not len(duplicates):
        return
    label = int(g.ilabel[duplicates[0]])
    word = next((w for w, i in words.items() if i == label), None)
    seen: set[tuple[str, ...]] = set()
    order = 0
    for n, line in numbered_lines(path):
        fields = columns(line)
        if fields and (section := _SECTION.fullmatch(fields[0])):
            order, seen = int(section[1]), set()
        elif order and len(fields) > order and fields[order] == word:
            if (ngram := tuple(fields[1:order + 1])) in seen:
                raise UserError(f"the {order}-gram `{' '.join(ngram)}` is given twice", file=path, line=n,
                                hint="create the LM again, or remove one of the two lines")
            seen.add(ngram)
    raise UserError(f"an n-gram that ends in {word} is given twice", file=path, hint="create the LM again")
