"""Parses grammars in the JSpeech Grammar Format (JSGF) by recursive descent. Each rule becomes a tree.

A tree is a tuple, one of

    ("alt", [(weight, tree), …])    alternatives; the weights are not normalized
    ("seq", [tree, …])              a sequence; without members, it is empty
    ("many", tree, minimum)         at least ``minimum`` repetitions, 0 or 1
    ("rule", name, line)            a reference to the rule ``<name>``; the line is for messages
    ("word", id)                    a word id
    ("void",)                       a part that can never be spoken
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
_SELF_IDENTIFIER = re.compile(r"#JSGF[^;\n]*;?")
_GRAMMAR = re.compile(r"grammar\s+([^;=<\s]+)\s*;")
_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.S)
_HELP = "see docs/formats.md for the syntax of grammars"

Token = tuple[str, str, int]  # type, text, line


def read_rules(path: Path, lines: list[tuple[int, str]], word: Callable[[str, int], int]):
    """Parse a grammar.

    Args:
        path: path of the file, for messages.
        lines: (line number, line) of all lines of the file.
        word: function from (word, line number) to the word id; it raises UserError for a word that is not allowed.

    Returns:
        The rules, name → (line number, tree), with names in angle brackets; the names of the public rules; the name of
        the first rule, or None if there is none.

    Raises:
        UserError: a syntax error, an import, or a rule that is defined twice; with the line number.
    """
    tokens, grammar = _tokens(path, "\n".join(line for _, line in lines))
    return _Parser(path, tokens, grammar, word).rules()


def _skip_blank(text: str, position: int) -> int:
    """Return the position after white space and comments."""
    match = _BLANK.match(text, position)  # matches at least the empty string
    return match.end() if match else position


def _tokens(path: Path, text: str) -> tuple[list[Token], str]:
    """Return the tokens without header, comments and tags (semantic annotations in braces), and the grammar's name."""
    position, grammar = _skip_blank(text, 0), ""
    for header in (_SELF_IDENTIFIER, _GRAMMAR):  # each at most once, before the first rule
        if match := header.match(text, position):
            grammar = match[1] if header is _GRAMMAR else grammar
            position = _skip_blank(text, match.end())
    out, line, tags = [], 1 + text.count("\n", 0, position), None
    while position < len(text):
        if text[position].isspace():
            line, position = line + (text[position] == "\n"), position + 1
            continue
        if text[position] == "{":
            tags = tags or _Tags(text, position)
            end = tags.end(position)
        elif match := _TOKEN.match(text, position):
            token_type, end = match.lastgroup or "", match.end()
            value = match[token_type]
            if token_type == "quoted":
                out += [("word", w, line) for w in re.sub(r"\\(.)", r"\1", value).split()]
            elif token_type != "comment":
                out.append((token_type, value, line))
        else:
            end = None
        if end is None:
            raise UserError(f"unexpected `{text[position]}`", file=path, line=line, hint=_HELP)
        line, position = line + text.count("\n", position, end), end
    return out, grammar


class _Tags:
    """Finds the ends of tags. All braces are paired in one pass, so that unclosed tags cost no extra time."""

    def __init__(self, text: str, position: int):
        """Pair all braces from the first one, at ``position``, on. Braces after a backslash are ignored."""
        self._end_of, self._closing, open_braces = {}, [], []
        for match in re.compile(r"\\.|[{}]", re.S).finditer(text, position):
            if match[0] == "{":
                open_braces.append(match.start())
            elif match[0] == "}":
                self._closing.append(match.end())
                if open_braces:
                    self._end_of[open_braces.pop()] = match.end()

    def end(self, position: int) -> int | None:
        """Return the end of the tag whose opening brace is at ``position``; None if it is not closed.

        If the brace has no matching closing brace, the tag ends at the next closing brace.
        """
        if position in self._end_of:
            return self._end_of[position]
        k = bisect.bisect(self._closing, position)
        return self._closing[k] if k < len(self._closing) else None


class _Parser:
    """A recursive descent parser. ``position`` is the index of the next token."""

    def __init__(self, path: Path, tokens: list[Token], grammar: str, word: Callable[[str, int], int]):
        self.path, self.word, self.position = path, word, 0
        self.tokens = [*tokens, ("end", "the end of the file", tokens[-1][2] if tokens else 0)]
        parts = grammar.split(".")
        self.own_names = {".".join(parts[i:]) for i in range(len(parts))}  # qualified and short names of this grammar

    def next(self) -> Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def fail(self, expected: str):
        """Raise an error that names the next token."""
        _, text, line = self.tokens[self.position]
        raise UserError(f"expected {expected}, found {text}", file=self.path, line=line, hint=_HELP)

    def accept(self, mark: str) -> bool:
        """If the next token is the punctuation mark, go past it and return True."""
        if self.tokens[self.position][:2] != ("mark", mark):
            return False
        self.position += 1
        return True

    def name(self, text: str) -> str:
        """Return a rule's name without this grammar's name in front of it: ``<mine.x>`` → ``<x>``."""
        grammar, _, rule = text[1:-1].rpartition(".")
        return f"<{rule}>" if grammar in self.own_names and rule else text

    def rules(self):
        rules, public, first = {}, [], None
        while self.tokens[self.position][0] != "end":
            is_public = self.tokens[self.position][:2] == ("word", "public")
            self.position += is_public
            token_type, text, line = self.next()
            if (token_type, text) == ("word", "import") and self.tokens[self.position][0] == "name":
                raise UserError(f"import {self.tokens[self.position][1]}: other grammars cannot be imported",
                                file=self.path, line=line, hint="copy their rules into this file")
            if token_type != "name":
                self.position -= 1
                self.fail("`<name> =`")
            name = self.name(text)
            if name in (NULL, VOID):
                raise UserError(f"{name} cannot be defined, it is a reserved name", file=self.path, line=line,
                                hint="rename it")
            if name in rules:
                raise UserError(f"the rule {name} is defined twice", file=self.path, line=line,
                                hint="remove one definition")
            if not self.accept("="):
                self.fail("`=`")
            rules[name], first = (line, self.alternatives()), first or name
            public += [name] if is_public else []
            if not self.accept(";"):
                self.fail("`;`")
        return rules, public, first

    def alternatives(self):
        alternatives = [self.weighted()]
        while self.accept("|"):
            alternatives.append(self.weighted())
        alternatives = [(weight, tree) for weight, tree in alternatives if weight and tree != ("void",)]
        return ("alt", alternatives) if alternatives else ("void",)

    def weighted(self):
        weight: float | None = 1.0
        if self.tokens[self.position][0] == "weight":
            weight = number(self.next()[1].strip("/ \t\n").rstrip("fFdD"))
            if weight is None or not (weight == 0 or 1e-9 <= weight <= 1e9):
                self.position -= 1
                self.fail("a weight of 0 or more")
        return weight, self.sequence()

    def sequence(self):
        parts: list[tuple] = []
        empty: tuple = ("seq", [])
        while (part := self.part()) is not None:
            for mark, minimum in (("*", 0), ("+", 1)):
                if self.accept(mark) and part != empty:
                    if part != ("void",):
                        part = ("many", part, minimum)
                    elif mark == "*":
                        part = empty  # no repetitions of what cannot be spoken
                    break
            parts.append(part)
        if not parts:
            self.fail("a word, a rule or a group")
        return ("void",) if ("void",) in parts else ("seq", parts)

    def part(self):
        """Parse a word, a reference or a group; None if the next token starts none of these."""
        token_type, text, line = self.tokens[self.position]
        if token_type == "word":
            self.position += 1
            return ("word", self.word(text, line))
        if token_type == "name":
            self.position += 1
            if text == NULL:
                return ("seq", [])
            return ("void",) if text == VOID else ("rule", self.name(text), line)
        if self.accept("("):
            inner = self.alternatives()
            return inner if self.accept(")") else self.fail("`)`")
        if self.accept("["):
            inner = self.alternatives()
            if not self.accept("]"):
                self.fail("`]`")
            return ("seq", []) if inner == ("void",) else ("alt", [(1.0, inner), (1.0, ("seq", []))])
        return None
