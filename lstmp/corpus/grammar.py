"""A user's own phrases as the language model: a list of phrases, or rules in the JSpeech Grammar Format.

A list has one phrase a line, all equally likely. A grammar begins with ``#JSGF`` and has rules:

    #JSGF V1.0;
    public <command> = <verb> [the] (LIGHT | LAMP) | /2/ GOOD NIGHT+ ;   // a weight of 2: twice as likely
    <verb> = TURN ON | TURN OFF;

``|`` separates alternatives, ``/2/`` before one is its weight, ``( )`` groups, ``[ ]`` is optional, ``*`` and ``+``
repeat what is before them; ``{tags}`` and comments are read over; ``<NULL>`` is nothing said, and what has ``<VOID>``
or the weight 0 is never said. The public rules are what may be said; without one, the first. A rule may not contain
itself. Probabilities: alternatives by their weights (1), an optional part and each further repetition 1/2.
"""

import math
from pathlib import Path

import kaldifst
import numpy as np

from lstmp.corpus.fst import FstArrays, determinized
from lstmp.corpus.jsgf import read_rules
from lstmp.corpus.textlines import APOSTROPHES, numbered_lines
from lstmp.errors import UserError

_OTHERS = {"#ABNF": "ABNF (SRGS)", "<?xml": "XML (SRGS)", "<grammar": "XML (SRGS)", "<speak": "XML"}
_HALF = math.log(2)
_MOST_STATES = 200_000  # of the rules written out


def grammar_to_g(path, words: dict[str, int]) -> tuple[kaldifst.StdVectorFst, int]:
    """Read a grammar or a list of phrases.

    Args:
        path: the file.
        words: symbol → id. A word that is not there is looked for in capitals and in small letters, and with the
            plain apostrophe.

    Returns:
        the acceptor G, deterministic and sorted, costs for weights; and the number of its different words.

    Raises:
        UserError: no such file, an unknown word, a rule that is missing, given twice or contains itself, or a fault of
            form; each with its line.
    """
    lines = list(numbered_lines(path))
    grammar = any(line.strip().startswith("#JSGF") for _, line in lines)
    n, head = next(((n, line.strip()) for n, line in lines if line.strip()), (1, ""))
    if other := next((name for mark, name in _OTHERS.items() if head.startswith(mark)), None):
        raise UserError(f"a grammar of the kind {other}, which is not read", file=path, line=n,
                        hint="write it as #JSGF, or list its phrases, one a line")
    builder = _Builder(Path(path), words)
    try:
        (_rules if grammar else _phrases)(builder, lines)
    except RecursionError:
        raise UserError("its groups lie too deep in each other", file=path, hint="make some of them rules") from None
    fst = builder.fst
    kaldifst.connect(fst)
    if not fst.num_states:
        raise UserError("no phrase in it", file=path, hint="write one phrase a line, or a JSGF grammar")
    size = fst.num_states
    # in the log semiring: a phrase that can come about in several ways is so much likelier
    fst = determinized(fst, 3 + size // 40_000, 900 + size // 500)
    if fst is None:
        raise UserError("no list of states can tell its phrases apart word by word", file=path,
                        hint="say what repeats (* and +) once, not in several alternatives for the same words")
    kaldifst.arcsort(fst, sort_type="ilabel")
    if np.isfinite(FstArrays.of(fst).final[fst.start]):
        raise UserError("a phrase without any word is possible", file=path, hint="make one part of it obligatory")
    return fst, len(builder.used)


class _Builder:
    """The automaton while it grows: parts go from one state to another."""

    def __init__(self, path: Path, words: dict[str, int]):
        self.path, self.words = path, words
        self.used: set[str] = set()
        self.fst = kaldifst.StdVectorFst()
        self.fst.start = self.state()
        self.end = self.state()
        self.fst.set_final(self.end, 0.0)

    def state(self) -> int:
        return self.fst.add_state()

    def arc(self, source: int, to: int, label: int = 0, cost: float = 0.0):
        self.fst.add_arc(source, kaldifst.StdArc(label, label, cost, to))

    def word(self, word: str, line: int) -> int:
        for form in (word, word.translate(APOSTROPHES)):
            for spelling in (form, form.upper(), form.lower()):
                if spelling in self.words and spelling[0] not in "<#":
                    self.used.add(spelling)
                    return self.words[spelling]
        raise UserError(f"the word {word} is not in the lexicon", file=self.path, line=line,
                        hint="add it to the lexicon and prepare the lang folder again, or say it in other words")


def _phrases(builder: _Builder, lines):
    phrases = [(n, line.split()) for n, line in lines if line.strip()]
    for n, phrase in phrases:
        at = builder.state()
        builder.arc(0, at, cost=math.log(len(phrases)))
        for word in phrase:
            before, at = at, builder.state()
            builder.arc(before, at, builder.word(word, n))
        builder.arc(at, builder.end)


def _rules(builder: _Builder, lines):
    rules, public, first = read_rules(builder.path, lines, builder.word)
    chosen = public or [first]
    if not first:
        raise UserError("no rule in it", file=builder.path, hint="write `public <name> = … ;`")
    for name in chosen:
        at = builder.state()
        builder.arc(0, at, cost=math.log(len(chosen)))
        builder.arc(_expand(builder, rules, rules[name][1], at, (name,)), builder.end)


def _expand(builder: _Builder, rules, tree, at: int, inside: tuple[str, ...]) -> int:
    """Add a tree from the state ``at`` on; returns the state where it ends."""
    kind = tree[0]
    if kind == "void":
        return builder.state()
    if kind == "word":
        end = builder.state()
        builder.arc(at, end, tree[1])
        return end
    if kind == "seq":
        for part in tree[1]:
            at = _expand(builder, rules, part, at, inside)
        return at
    if kind == "alt":
        total, end = sum(w for w, _ in tree[1]), builder.state()
        for weight, part in tree[1]:
            begin = builder.state()
            builder.arc(at, begin, cost=-math.log(weight / total))
            builder.arc(_expand(builder, rules, part, begin, inside), end)
        return end
    if kind == "many":
        begin, end = builder.state(), builder.state()
        builder.arc(at, begin, cost=0.0 if tree[2] else _HALF)
        if not tree[2]:
            builder.arc(at, end, cost=_HALF)
        last = _expand(builder, rules, tree[1], begin, inside)
        builder.arc(last, begin, cost=_HALF)
        builder.arc(last, end, cost=_HALF)
        return end
    name, line = tree[1:]
    if name not in rules:
        raise UserError(f"there is no rule {name}", file=builder.path, line=line, hint="write it, or correct the name"
                        + ("; rules of other grammars are not read" if "." in name else ""))
    if name in inside:
        raise UserError(f"the rule {name} contains itself", file=builder.path, line=line, hint="use * or + to repeat")
    if builder.fst.num_states > _MOST_STATES:
        raise UserError(f"written out, the rules have more than {_MOST_STATES:,} states", file=builder.path, line=line,
                        hint="rules that hold each other twice double with every rule; repeat with * or +")
    return _expand(builder, rules, rules[name][1], at, (*inside, name))
