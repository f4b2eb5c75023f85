"""Builds G from a list of phrases or from a grammar in the JSpeech Grammar Format (JSGF).

A list has one phrase per line; all phrases have the same probability. A grammar begins with ``#JSGF`` and has rules:

    #JSGF V1.0;
    public <command> = <verb> [the] (LIGHT | LAMP) | /2/ GOOD NIGHT+ ;   // a weight of 2: twice as likely
    <verb> = TURN ON | TURN OFF;

``|`` separates alternatives, and ``/2/`` before an alternative is its weight. ``( )`` groups, ``[ ]`` marks an optional
part, and ``*`` and ``+`` repeat the preceding part. ``{tags}`` and comments are ignored. ``<NULL>`` means no words. A
part that contains ``<VOID>`` or has the weight 0 can never be spoken. Users may say what the public rules allow, or
the first rule if no rule is public. A rule must not contain itself. The probabilities of alternatives are proportional
to their weights (default 1); an optional part and each further repetition have the probability 1/2.
"""

import math
import re
from pathlib import Path

import kaldifst
import numpy as np

from lstmp.corpus.coverage import difference, other_spellings
from lstmp.corpus.fst import FstArrays, determinize
from lstmp.corpus.jsgf import read_rules
from lstmp.corpus.textlines import APOSTROPHES, alike, numbered_lines
from lstmp.errors import UserError
from lstmp.log import warn

_OTHERS = {"#ABNF": "ABNF (SRGS)", "<?xml": "XML (SRGS)", "<grammar": "XML (SRGS)", "<speak": "XML"}
_HEADLESS = re.compile(r"(public\s*)?<[^<>\s]+>\s*=|grammar\s+\S+\s*;")
_HALF = math.log(2)
_MAX_STATES = 200_000  # limit for the expanded rules


def grammar_to_g(path, words: dict[str, int]) -> tuple[kaldifst.StdVectorFst, int]:
    """Convert a grammar or a list of phrases to G.

    Args:
        path: the file.
        words: symbol → id. If a word is not in this table, it is also looked up in upper and lower case and with the
            ASCII apostrophe, and finally without invisible characters. The last case is reported by a warning.

    Returns:
        The acceptor G, deterministic and sorted, with costs as weights; and the number of distinct words in it.

    Raises:
        UserError: the file is missing, a word is unknown, a rule is missing, defined twice or contains itself, or the
            syntax is wrong; with the line number.
    """
    lines = list(numbered_lines(path))
    grammar = any(line.strip().startswith("#JSGF") for _, line in lines)
    n, head = next(((n, line.strip()) for n, line in lines if line.strip()), (1, ""))
    if other := next((name for mark, name in _OTHERS.items() if head.startswith(mark)), None):
        raise UserError(f"grammars in the format {other} are not supported", file=path, line=n,
                        hint="write it as #JSGF, or list its phrases, one per line")
    if not grammar and _HEADLESS.match(head):
        raise UserError("the file contains a rule but has no grammar header", file=path, line=n,
                        hint="write `#JSGF V1.0;` as its first line")
    builder = _Builder(Path(path), words)
    try:
        (_rules if grammar else _phrases)(builder, lines)
    except RecursionError:
        raise UserError("the groups or rules are nested too deeply", file=path, hint="use fewer levels") from None
    if builder.inexact:
        n, word, spelling = builder.inexact[0]
        warn(f"{path}:{n}: {word} is read as {spelling} ({len(builder.inexact)} such words); they differ in invisible "
             "characters or in width")
    fst = builder.fst
    kaldifst.connect(fst)
    if not fst.num_states:
        raise UserError("the file contains no phrase", file=path, hint="write one phrase per line, or a JSGF grammar")
    size = fst.num_states
    # in the log semiring, which adds up the probabilities of a phrase that has several paths
    fst = determinize(fst, 3 + size // 40_000, 900 + size // 500)
    if fst is None:
        raise UserError("the grammar cannot be determinized", file=path,
                        hint="do not repeat (* and +) the same words in several alternatives")
    kaldifst.arcsort(fst, sort_type="ilabel")
    if np.isfinite(FstArrays.of(fst).final[fst.start]):
        raise UserError("the grammar allows a phrase without words", file=path, hint="make one part of it obligatory")
    return fst, len(builder.used)


class _Builder:
    """The acceptor under construction. Each phrase or part of a rule is a path from one state to another."""

    def __init__(self, path: Path, words: dict[str, int]):
        self.path, self.words = path, words
        self.used: set[str] = set()
        self.inexact: list[tuple[int, str, str]] = []
        self._folded: dict[str, str] | None = None
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
        if self._folded is None:
            self._folded = {alike(w): w for w in sorted(self.words, reverse=True) if w[0] not in "<#"}
        if similar := self._folded.get(alike(word)):
            self.inexact.append((line, word, similar))
            self.used.add(similar)
            return self.words[similar]
        other = other_spellings([word], self._folded.values()).get(word)
        raise UserError(f"the word {word} is not in the lexicon" + (
            f", but {other} is (different {difference(word, other)})" if other else ""), file=self.path, line=line,
            hint=f"write {other}, if you mean this word" if other else
            "add it to the lexicon and prepare the lang folder again, or use other words")


def _phrases(builder: _Builder, lines):
    phrases = [(n, line.split()) for n, line in lines if line.strip()]
    for n, phrase in phrases:
        state = builder.state()
        builder.arc(0, state, cost=math.log(len(phrases)))
        for word in phrase:
            previous, state = state, builder.state()
            builder.arc(previous, state, builder.word(word, n))
        builder.arc(state, builder.end)


def _rules(builder: _Builder, lines):
    rules, public, first = read_rules(builder.path, lines, builder.word)
    top_rules = public or [first]
    if not first:
        raise UserError("the grammar has no rule", file=builder.path, hint="write `public <name> = … ;`")
    for name in top_rules:
        begin = builder.state()
        builder.arc(0, begin, cost=math.log(len(top_rules)))
        builder.arc(_expand(builder, rules, rules[name][1], begin, (name,)), builder.end)


def _expand(builder: _Builder, rules, tree, state: int, enclosing: tuple[str, ...]) -> int:
    """Add a tree to the acceptor, beginning at ``state``, and return the state where it ends.

    Args:
        builder: the acceptor.
        rules: name → (line, tree).
        tree: see :mod:`lstmp.corpus.jsgf`.
        state: state where the tree begins.
        enclosing: names of the rules that contain this tree.
    """
    node_type = tree[0]
    if node_type == "void":
        return builder.state()
    if node_type == "word":
        end = builder.state()
        builder.arc(state, end, tree[1])
        return end
    if node_type == "seq":
        for part in tree[1]:
            state = _expand(builder, rules, part, state, enclosing)
        return state
    if node_type == "alt":
        total, end = sum(w for w, _ in tree[1]), builder.state()
        for weight, part in tree[1]:
            begin = builder.state()
            builder.arc(state, begin, cost=-math.log(weight / total))
            builder.arc(_expand(builder, rules, part, begin, enclosing), end)
        return end
    if node_type == "many":
        begin, end = builder.state(), builder.state()
        builder.arc(state, begin, cost=0.0 if tree[2] else _HALF)
        if not tree[2]:
            builder.arc(state, end, cost=_HALF)
        last = _expand(builder, rules, tree[1], begin, enclosing)
        builder.arc(last, begin, cost=_HALF)
        builder.arc(last, end, cost=_HALF)
        return end
    name, line = tree[1:]
    if name not in rules:
        raise UserError(f"there is no rule {name}", file=builder.path, line=line, hint="add it, or correct the name"
                        + ("; rules of other grammars cannot be used" if "." in name else ""))
    if name in enclosing:
        raise UserError(f"the rule {name} contains itself", file=builder.path, line=line, hint="use * or + to repeat")
    if builder.fst.num_states > _MAX_STATES:
        raise UserError(f"the expanded rules have more than {_MAX_STATES:,} states", file=builder.path, line=line,
                        hint="a rule that uses another rule twice doubles the size; repeat with * or +")
    return _expand(builder, rules, rules[name][1], state, (*enclosing, name))
