"""Phrase lists and JSGF grammars: what may be said, and how likely."""

import itertools
import math

import pytest

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.grammar import grammar_to_g
from lstmp.corpus.jsgf import read_rules
from lstmp.errors import UserError

WORDS = {w: i for i, w in enumerate(["<eps>", "A", "B", "C", "D", "E", "please", "#0", "<s>"])}
NAMES = {i: w for w, i in WORDS.items()}


def said(tmp_path, text, longest=6):
    """Phrase → probability of what the grammar allows, up to a number of words."""
    (tmp_path / "g").write_text(text)
    g, _ = grammar_to_g(tmp_path / "g", WORDS)
    arrays, found = FstArrays.of(g), {}
    todo = [(arrays.start, (), 0.0)]
    while todo:
        state, words, cost = todo.pop()
        if math.isfinite(arrays.final[state]):
            found[" ".join(words)] = math.exp(-cost - arrays.final[state])
        if len(words) < longest:
            for a in (arrays.src == state).nonzero()[0]:
                assert arrays.ilabel[a] == arrays.olabel[a] > 0
                word = NAMES[int(arrays.ilabel[a])]
                todo.append((int(arrays.dst[a]), (*words, word), cost + float(arrays.weight[a])))
    return {p: pytest.approx(x, rel=1e-2) for p, x in found.items()}


def test_a_list_of_phrases(tmp_path):
    assert said(tmp_path, "A B\n\n  C\nA D\nc\n") == {"A B": 0.25, "A D": 0.25, "C": 0.5}


@pytest.mark.parametrize("body, expected", [
    ("A B", {"A B": 1}),
    ("A | B C | /2/ D", {"A": 1 / 4, "B C": 1 / 4, "D": 1 / 2}),
    ("A [B] C", {"A B C": 1 / 2, "A C": 1 / 2}),
    ("(A | B) (C | D)", {"A C": 1 / 4, "A D": 1 / 4, "B C": 1 / 4, "B D": 1 / 4}),
    (r"A {{ } B {x {y} \} z} C", {"A B C": 1}),
    ("A {tag} \"B C\" // comment ; |\n | /* two\nlines */ D", {"A B C": 1 / 2, "D": 1 / 2}),
    ("A PLEASE", {"A please": 1}),
    ("/8f/ A | /2.0F/ B", {"A": 0.8, "B": 0.2}),
    ("/ 1e1 / A | /10./ B", {"A": 0.5, "B": 0.5}),
    ("/0/ A | /3/ B | <VOID> | C <VOID>", {"B": 1}),
    ("A (B | <NULL>)", {"A B": 1 / 2, "A": 1 / 2}),
    ("A [<VOID>] <NULL> B", {"A B": 1}),
    (r"A {a \} b} B {url=http://x.y/*} C {f({1})}", {"A B C": 1}),
    (r'A "B \C" {"} D', {"A B C D": 1}),
    ("A {{t} | B {x}", {"A": 1 / 2, "B": 1 / 2}),
    ("A <VOID>* <NULL>*", {"A": 1}),
    ("A <it.y>; <y> = B | C", {"A B": 1 / 2, "A C": 1 / 2}),
    ("A <test.it.y>; <test.it.y> = B | C", {"A B": 1 / 2, "A C": 1 / 2}),
    ("A B | A B", {"A B": 1}),
])
def test_rules(tmp_path, body, expected):
    assert said(tmp_path, f"#JSGF V1.0 UTF-8 en;\ngrammar test.it;\npublic <x> = {body};\n") == expected


def test_headers_and_the_word_grammar(tmp_path):
    for text in ("#JSGF V1.0; public <x> = A;", "\ufeff#JSGF V1.0;\ngrammar g; public <x> = A;\n"):
        assert said(tmp_path, text) == {"A": 1}
    with pytest.raises(UserError, match=":3: the word grammar is not in the lexicon"):
        said(tmp_path, "#JSGF V1.0;\npublic <x> = A\n grammar B\n;\n")
    assert said(tmp_path, "\ufeffA B\n") == {"A B": 1}


def test_repetition(tmp_path):
    plus = said(tmp_path, "#JSGF V1.0;\npublic <x> = A+;\n", 5)
    assert plus == {" ".join("A" * n): 0.5 ** n for n in range(1, 6)}
    star = said(tmp_path, "#JSGF V1.0;\npublic <x> = B A*;\n", 5)
    assert star == {" ".join("B" + "A" * n): 0.5 ** (n + 1) for n in range(5)}


def test_rules_in_rules_and_several_public_ones(tmp_path):
    text = "#JSGF V1.0;\n<c> = A | B;\npublic <one> = <c> <d>;\npublic <two> = E;\n<d> = C [D];\n"
    expected = {f"{x} {y}": 1 / 8 for x, y in itertools.product("AB", ("C", "C D"))} | {"E": 1 / 2}
    assert said(tmp_path, text) == expected
    assert said(tmp_path, "#JSGF V1.0;\n<first> = A;\n<second> = B;\n") == {"A": 1}


@pytest.mark.parametrize("text, message", [
    ("", "no phrase in it"),
    ("A B\nA XYZ\n", ":2: the word XYZ is not in the lexicon; add it"),
    ("A B.\n", ":1: the word B. is not in the lexicon; B is, which differs in punctuation; write B, if it is meant"),
    ("grammar g;\npublic <x> = A;\n", ":1: a rule, but the file does not begin as a grammar does; write `#JSGF"),
    ("\npublic <x> = A;\n", ":2: a rule, but the file"),
    ("A #0\n", "the word #0 is not in the lexicon"),
    ("#JSGF V1.0;\n", "no rule in it"),
    ("#JSGF V1.0;\npublic <x> = A <y>;\n", ":2: there is no rule <y>"),
    ("#JSGF V1.0;\npublic <x> = A <y>;\n<y> = B | <x>;\n", ":3: the rule <x> contains itself"),
    ("#JSGF V1.0;\n<x> = A;\n<x> = B;\n", ":3: the rule <x> is given twice"),
    ("#JSGF V1.0;\npublic <x> = A\n<y> = B;\n", ":3: expected `;`, found ="),
    ("#JSGF V1.0;\npublic <x> = (A | B;\n", "expected `\\)`, found ;"),
    ("#JSGF V1.0;\npublic <x> = A | ;\n", "expected a word, a rule or a group, found ;"),
    ("#JSGF V1.0;\npublic <x> = /1e300/ A | B;\n", "expected a weight of 0 or more"),
    ("#JSGF V1.0;\npublic <x> = /-1/ A | B;\n", "expected a weight of 0 or more"),
    ("#JSGF V1.0;\npublic <x> = /0/ A;\n", "no phrase in it"),
    ("#JSGF V1.0;\npublic <x> = <VOID>;\n", "no phrase in it"),
    ("#JSGF V1.0;\n<NULL> = A;\n", ":2: <NULL> cannot be defined"),
    ("#JSGF V1.0;\ngrammar t;\nimport <com.acme.*>;\npublic <x> = A;\n", ":3: import <com.acme.\\*>: other grammars"),
    ("#JSGF V1.0;\ngrammar t;\npublic <x> = A <u.what>;\n", ":3: there is no rule <u.what>.*other grammars are not"),
    ("#JSGF V1.0;\npublic <x> = A {never closed;\n", ":2: `{` has no meaning here"),
    ("\n#ABNF 1.0;\n$x = A;\n", ":2: a grammar of the kind ABNF"),
    ("<?xml version='1.0'?>\n<grammar/>\n", ":1: a grammar of the kind XML"),
    ("#JSGF V1.0;\npublic <x> = " + "(" * 3000 + "A" + ")" * 3000 + ";\n", "too deep in each other"),
    ("#JSGF V1.0;\npublic x = A;\n", "expected `<name> =`, found x"),
    ("#JSGF V1.0;\npublic <x> = A } B;\n", ":2: `}` has no meaning here"),
    ("#JSGF V1.0;\npublic <x> = A*;\n", "a phrase without any word is possible"),
    ("#JSGF V1.0;\npublic <x> = A", "expected `;`, found the end of the file"),
    ("#JSGF V1.0;\npublic <x> = A /* B;\n", ":2: `/` has no meaning here"),
    ("#JSGF V1.0;\n" + "/* " * 300_000, ":2: `/` has no meaning here"),
    ("#JSGF V1.0;\npublic <x> = A* C | A (A A)* B;\n", "no list of states can tell its phrases apart"),
    ("#JSGF V1.0;\n<a0> = A;\n" + "".join(f"<a{i}> = <a{i - 1}> <a{i - 1}>;\n" for i in range(1, 40))
     + "public <x> = <a39>;\n", r":\d+: written out, the rules have more than 200,000 states"),
    ("#JSGF V1.0;\n<a0> = A;\n" + "".join(f"<a{i}> = <a{i - 1}>;\n" for i in range(1, 3000))
     + "public <x> = <a2999>;\n", "too deep in each other"),
])
def test_faults(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        said(tmp_path, text)


def test_what_is_not_seen(tmp_path, capsys):
    """As in transcripts, it does not count; how often is said once."""
    assert said(tmp_path, "A\u200b B\n\uff21 \u00adB\n") == said(tmp_path, "A B\nA B\n")
    assert ":1: A\\u200b is taken for A (3 such words): it differs in what is not seen" in capsys.readouterr().err


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="g: no such file"):
        grammar_to_g(tmp_path / "g", WORDS)


def test_as_many_tags_that_are_not_closed_as_fit_in_a_file():
    text = "<a> = " + "B {{ } " * 60_000 + ";"
    rules, _, _ = read_rules("g", [(1, "#JSGF V1.0;"), (2, text)], lambda word, line: WORDS[word])
    assert rules == {"<a>": (2, ("alt", [(1.0, ("seq", [("word", 2)] * 60_000))]))}
