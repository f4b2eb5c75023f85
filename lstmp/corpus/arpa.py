"""ARPA language models: the check of the file, and its way to the acceptor G.

kaldilm does the conversion, as Kaldi's ``arpa2fst --disambig-symbol=#0``: ``<s>`` and ``</s>`` vanish, back-off arcs
read ``#0`` and write nothing. It ends the process on a bad file, so the file is checked first, and it runs in a
process of its own.
"""

import re
import subprocess
import sys
from pathlib import Path

import kaldifst
import numpy as np

from lstmp import files
from lstmp.corpus.fst import FstArrays, bypass, sole_exits
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.textlines import columns, number, numbered_lines
from lstmp.errors import UserError

DATA = "\\data\\"
_BLANKS = " \t\v\f"
_COUNT = re.compile(r"ngram[ \t]+([0-9]+)[ \t]*=[ \t]*([0-9]+)")
_CONVERT = ("import sys, kaldilm; kaldilm.arpa2fst(sys.argv[1], output_fst=sys.argv[2], disambig_symbol='#0', "
            "read_symbol_table=sys.argv[3], max_arpa_warnings=-1)")


def check_arpa(path, copy=None) -> list[int]:
    r"""Read an ARPA file (plain or gzip) from ``\data\`` to ``\end\`` and return its n-gram counts by order.

    Args:
        copy: open text file to which the checked lines go, from ``\data\`` on, in the form that kaldilm reads.

    Raises:
        UserError: naming the line: a section missing or out of order, more or fewer n-grams than ``\data\`` says, a
            line of the wrong length, a log-probability that is not a number or is positive, no ``<s>`` or ``</s>``,
            a file that ends before ``\end\``.
    """
    path = Path(path)

    def fault(n: int, what: str, hint: str = "make the LM again, or fetch it again"):
        return UserError(what, file=path, line=n, hint=hint)

    counts: list[int] = []
    boundaries: set[str] = set()
    order, found, n = -1, 0, 0  # order −1: before \data\, 0: in it, k: in \k-grams:
    for n, line in numbered_lines(path):
        line = line.strip(_BLANKS)
        if order < 0:
            if line != DATA:
                continue  # text before \data\ is commentary
            order = 0
        elif line.startswith("\\"):
            if order and found != counts[order - 1]:
                raise fault(n, f"{found} {order}-grams, but \\data\\ says {counts[order - 1]}")
            if not counts:
                raise fault(n, "\\data\\ gives no counts")
            expected = f"\\{order + 1}-grams:" if order < len(counts) else "\\end\\"
            if line != expected:
                raise fault(n, f"expected {expected}, found {line}")
            if order == 1 and boundaries != {"<s>", "</s>"}:
                raise fault(n, "the 1-grams lack <s> or </s>", "train the LM with sentence boundaries, so written")
            order, found = order + 1, 0
            if order > len(counts):
                if copy is not None:
                    copy.write(line + "\n")
                return counts
        elif line and order == 0:
            match = _COUNT.fullmatch(line)
            if not match or int(match[1]) != len(counts) + 1:
                raise fault(n, f"expected `ngram {len(counts) + 1}=count`, found {line}")
            counts.append(int(match[2]))
            line = f"ngram {match[1]}={match[2]}"
        elif line:
            fields = columns(line)
            found += 1
            if len(fields) not in (order + 1, order + 2):
                raise fault(n, f"expected a log-probability, {order} words and perhaps a back-off weight, "
                            f"found {len(fields)} fields")
            if len(fields) == order + 2 and order == len(counts):
                raise fault(n, f"a {order}-gram of the highest order has no back-off weight")
            prob, backoff = number(fields[0]), number(fields[-1]) if len(fields) == order + 2 else 0.0
            if prob is None or backoff is None:
                raise fault(n, "a log-probability that is not a number, or is infinite")
            if not (-np.inf < prob <= 1e-4 and abs(backoff) < np.inf):
                raise fault(n, f"log-probability {fields[0]} or back-off weight is NaN, infinite or above 0")
            if order == 1 and fields[1] in ("<s>", "</s>"):
                boundaries.add(fields[1])
        if copy is not None:
            copy.write(line + "\n")
    if order < 0:
        raise UserError("not an ARPA file: no \\data\\ line", file=path, hint="give a language model in ARPA format")
    raise fault(n, "the file ends before \\end\\")


def arpa_words(path) -> set[str]:
    """The words of the 1-grams of an ARPA file, which is not checked."""
    words, within = set(), False
    for _, line in numbered_lines(path):
        fields = columns(line)
        if within and fields and fields[0].startswith("\\"):
            break
        if within and fields:
            words.add("".join(fields[1:2]))
        within = within or fields == ["\\1-grams:"]
    return words


def arpa_to_g(path, words_txt) -> tuple[kaldifst.StdVectorFst, list[int], int]:
    """Make G from an ARPA file.

    Args:
        path: plain or gzip.
        words_txt: symbol table; n-grams with a word outside it are left out.

    Returns:
        G (arcs sorted by input label), the ARPA's counts by order, and how many n-grams were left out.

    Raises:
        UserError: from :func:`check_arpa`, or if no word of the LM is in the symbol table.
    """
    with files.temporary_folder() as tmp:
        arpa, out, symbols = tmp / "lm.arpa", tmp / "G.fst", tmp / "words.txt"
        words = read_symbols(words_txt)  # written anew, since letters in it may be composed in another way
        symbols.write_text("".join(f"{w} {i}\n" for w, i in words.items()), encoding="utf-8")
        with open(arpa, "w", encoding="utf-8") as f:
            counts = check_arpa(path, f)
        job = subprocess.run([sys.executable, "-c", _CONVERT, str(arpa), str(out), str(symbols)],
                             stderr=subprocess.PIPE, text=True, errors="replace")
        if job.returncode != 0 or not out.is_file():
            said = [line for line in job.stderr.splitlines() if line.startswith("[E]")] or [job.stderr[-200:]]
            raise UserError(f"kaldilm refuses it: {said[0].removeprefix('[E]')}", file=path, hint="make the LM again")
        left_out = sum(line.startswith("[W]") and " skipped: " in line for line in job.stderr.splitlines())
        g = FstArrays.read(out)
    # A history that no longer n-gram extends can do nothing but back off: three quarters of a pruned trigram's states.
    g = bypass(g, sole_exits(g) & (g.olabel == 0)).to_fst()
    kaldifst.connect(g)
    if g.num_states < 1 or not (FstArrays.of(g).olabel > 0).any():
        raise UserError("no word of the LM is in the lexicon", file=path,
                        hint="check that both write words in the same letter case")
    kaldifst.arcsort(g, sort_type="ilabel")
    return g, counts, left_out
