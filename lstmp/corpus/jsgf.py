"""The JSpeech Grammar Format: the text of a grammar becomes its rules, as trees.

A tree is ("alt", [(weight, tree)…]), ("seq", [tree…]), ("many", tree, least), ("rule", name, line), ("word", id), or
("void",), which cannot be said.
"""

import bisect
import re
from collections.abc import Callable
from pathlib import Path

from lstmp.corpus.textlines import number
from lstmp.errors import UserError

NULL, VOID = "<NULL>", "<VOID>"
_TOKEN = re.compile(r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<name><[^<>\s]+>)|(?P<weight>/\s*[0-9.eE+-]+[fFdD]?\s*/)
                        |(?P<mark>[=;|()\[\]*+])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s=;|()\[\]*+<>{}"/]+)""",
                    re.X | re.S)
_HEADER = re.compile(r"#JSGF[^;\n]*;?")
_GRAMMAR = re.compile(r"grammar\s+([^;=<\s]+)\s*;")
_SKIPPED = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.S)
_HELP = "see docs/formats.md for the form of a grammar"

Token = tuple[str, str, int]  # kind, text, line


def read_rules(path: Path, lines: list[tuple[int, str]], word: Callable[[str, int], int]):
    """Read a grammar.

    Args:
        path: of the file, for messages.
        lines: (line number, line) of all its lines.
        word: (word, line) → id.

    Returns:
        name → (line, tree) of all rules, the names of the public ones, the name of the first or None.

    Raises:
        UserError: a fault of form, an import, a rule given twice; with its line.
    """
    tokens, grammar = _tokens(path, "\n".join(line for _, line in lines))
    return _Parser(path, tokens, grammar, word).rules()


def _skipped(text: str, at: int) -> int:
    found = _SKIPPED.match(text, at)  # at least nothing
    return found.end() if found else at


def _tokens(path: Path, text: str) -> tuple[list[Token], str]:
    """The tokens, without header, comments and tags; and the grammar's name."""
    at, grammar = _skipped(text, 0), ""
    for header in (_HEADER, _GRAMMAR):  # each once, before the first rule
        if found := header.match(text, at):
            grammar = found[1] if header is _GRAMMAR else grammar
            at = _skipped(text, found.end())
    out, line, tags = [], 1 + text.count("\n", 0, at), None
    while at < len(text):
        if text[at].isspace():
            line, at = line + (text[at] == "\n"), at + 1
            continue
        if text[at] == "{":
            tags = tags or _Tags(text, at)
            end = tags.end(at)
        elif found := _TOKEN.match(text, at):
            kind, end = found.lastgroup or "", found.end()
            value = found[kind]
            if kind == "quoted":
                out += [("word", w, line) for w in re.sub(r"\\(.)", r"\1", value).split()]
            elif kind != "comment":
                out.append((kind, value, line))
        else:
            end = None
        if end is None:
            raise UserError(f"`{text[at]}` has no meaning here", file=path, line=line, hint=_HELP)
        line, at = line + text.count("\n", at, end), end
    return out, grammar


class _Tags:
    """Where tags end. All braces are paired at once, so that many which are never closed cost no more than others."""

    def __init__(self, text: str, at: int):
        """``at``: the first tag's brace; a backslash takes a brace its meaning."""
        self._end_of, self._closing, opened = {}, [], []
        for found in re.compile(r"\\.|[{}]", re.S).finditer(text, at):
            if found[0] == "{":
                opened.append(found.start())
            elif found[0] == "}":
                self._closing.append(found.end())
                if opened:
                    self._end_of[opened.pop()] = found.end()

    def end(self, at: int) -> int | None:
        """Behind the tag that begins with the brace at ``at``: at the brace that closes it, or the next one where those
        within do not match."""
        if at in self._end_of:
            return self._end_of[at]
        k = bisect.bisect(self._closing, at)
        return self._closing[k] if k < len(self._closing) else None


class _Parser:
    def __init__(self, path: Path, tokens: list[Token], grammar: str, word: Callable[[str, int], int]):
        self.path, self.word, self.at = path, word, 0
        self.tokens = [*tokens, ("end", "the end of the file", tokens[-1][2] if tokens else 0)]
        parts = grammar.split(".")
        self.own = {".".join(parts[i:]) for i in range(len(parts))}  # names that the grammar may be called by

    def next(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def fail(self, expected: str):
        _, text, line = self.tokens[self.at]
        raise UserError(f"expected {expected}, found {text}", file=self.path, line=line, hint=_HELP)

    def marked(self, mark: str) -> bool:
        if self.tokens[self.at][:2] != ("mark", mark):
            return False
        self.at += 1
        return True

    def name(self, text: str) -> str:
        """A rule's name, without the grammar's before it."""
        grammar, _, rule = text[1:-1].rpartition(".")
        return f"<{rule}>" if grammar in self.own and rule else text

    def rules(self):
        rules, public, first = {}, [], None
        while self.tokens[self.at][0] != "end":
            is_public = self.tokens[self.at][:2] == ("word", "public")
            self.at += is_public
            kind, text, line = self.next()
            if (kind, text) == ("word", "import") and self.tokens[self.at][0] == "name":
                raise UserError(f"import {self.tokens[self.at][1]}: other grammars are not read", file=self.path,
                                line=line, hint="copy their rules into this file")
            if kind != "name":
                self.at -= 1
                self.fail("`<name> =`")
            name = self.name(text)
            if name in (NULL, VOID):
                raise UserError(f"{name} cannot be defined, it has its meaning", file=self.path, line=line,
                                hint="rename it")
            if name in rules:
                raise UserError(f"the rule {name} is given twice", file=self.path, line=line, hint="remove one")
            if not self.marked("="):
                self.fail("`=`")
            rules[name], first = (line, self.alternatives()), first or name
            public += [name] if is_public else []
            if not self.marked(";"):
                self.fail("`;`")
        return rules, public, first

    def alternatives(self):
        found = [self.weighted()]
        while self.marked("|"):
            found.append(self.weighted())
        found = [(weight, tree) for weight, tree in found if weight and tree != ("void",)]
        return ("alt", found) if found else ("void",)

    def weighted(self):
        weight: float | None = 1.0
        if self.tokens[self.at][0] == "weight":
            weight = number(self.next()[1].strip("/ \t\n").rstrip("fFdD"))
            if weight is None or not (weight == 0 or 1e-9 <= weight <= 1e9):
                self.at -= 1
                self.fail("a weight of 0 or more")
        return weight, self.sequence()

    def sequence(self):
        parts: list[tuple] = []
        nothing: tuple = ("seq", [])
        while (part := self.part()) is not None:
            for mark, least in (("*", 0), ("+", 1)):
                if self.marked(mark) and part != nothing:
                    part = ("many", part, least) if part != ("void",) else nothing if mark == "*" else part
                    break
            parts.append(part)
        if not parts:
            self.fail("a word, a rule or a group")
        return ("void",) if ("void",) in parts else ("seq", parts)

    def part(self):
        kind, text, line = self.tokens[self.at]
        if kind == "word":
            self.at += 1
            return ("word", self.word(text, line))
        if kind == "name":
            self.at += 1
            return ("seq", []) if text == NULL else ("void",) if text == VOID else ("rule", self.name(text), line)
        if self.marked("("):
            inner = self.alternatives()
            return inner if self.marked(")") else self.fail("`)`")
        if self.marked("["):
            inner = self.alternatives()
            if not self.marked("]"):
                self.fail("`]`")
            return ("seq", []) if inner == ("void",) else ("alt", [(1.0, inner), (1.0, ("seq", []))])
        return None
