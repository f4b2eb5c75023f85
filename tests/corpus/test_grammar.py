"""Tests of phrase lists and JSGF grammars: which phrases they allow, and with which probabilities."""

import itertools
import math

import pytest

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.grammar import grammar_to_g
from lstmp.corpus.jsgf import read_rules
from lstmp.errors import UserError

WORDS = {w: i for i, w in enumerate(["<eps>", "A", "B", "C", "D", "E", "please", "#0", "<s>"])}
NAMES = {i: w for w, i in WORDS.items()}


def phrases(tmp_path, text, longest=6):
    """Return the phrases of up to ``longest`` words that the grammar allows, with their probabilities."""
    (tmp_path / "g").write_text(text)
    g, _ = grammar_to_g(tmp_path / "g", WORDS)
    arrays, probs = FstArrays.of(g), {}
    todo = [(arrays.start, (), 0.0)]
    while todo:
        state, words, cost = todo.pop()
        if math.isfinite(arrays.final[state]):
            probs[" ".join(words)] = math.exp(-cost - arrays.final[state])
        if len(words) < longest:
            for a in (arrays.src == state).nonzero()[0]:
                assert arrays.ilabel[a] == arrays.olabel[a] > 0
                word = NAMES[int(arrays.ilabel[a])]
                todo.append((int(arrays.dst[a]), (*words, word), cost + float(arrays.weight[a])))
    return {p: pytest.approx(x, rel=1e-2) for p, x in probs.items()}


def test_phrases_of_a_list_are_equally_likely(tmp_path):
    assert phrases(tmp_path, "A B\n\n  C\nA D\nc\n") == {"A B": 0.25, "A D": 0.25, "C": 0.5}


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
def test_rule_allows_the_expected_phrases(tmp_path, body, expected):
    assert phrases(tmp_path, f"#JSGF V1.0 UTF-8 en;\ngrammar test.it;\npublic <x> = {body};\n") == expected


def test_header_is_optional_and_grammar_can_be_a_word(tmp_path):
    for text in ("#JSGF V1.0; public <x> = A;", "\ufeff#JSGF V1.0;\ngrammar g; public <x> = A;\n"):
        assert phrases(tmp_path, text) == {"A": 1}
    with pytest.raises(UserError, match=":3: the word grammar is not in the lexicon"):
        phrases(tmp_path, "#JSGF V1.0;\npublic <x> = A\n grammar B\n;\n")
    assert phrases(tmp_path, "\ufeffA B\n") == {"A B": 1}


def test_each_repetition_has_probability_one_half(tmp_path):
    plus = phrases(tmp_path, "#JSGF V1.0;\npublic <x> = A+;\n", 5)
    assert plus == {" ".join("A" * n): 0.5 ** n for n in range(1, 6)}
    star = phrases(tmp_path, "#JSGF V1.0;\npublic <x> = B A*;\n", 5)
    assert star == {" ".join("B" + "A" * n): 0.5 ** (n + 1) for n in range(5)}


def test_nested_rules_and_several_public_rules(tmp_path):
    text = "#JSGF V1.0;\n<c> = A | B;\npublic <one> = <c> <d>;\npublic <two> = E;\n<d> = C [D];\n"
    expected = {f"{x} {y}": 1 / 8 for x, y in itertools.product("AB", ("C", "C D"))} | {"E": 1 / 2}
    assert phrases(tmp_path, text) == expected
    assert phrases(tmp_path, "#JSGF V1.0;\n<first> = A;\n<second> = B;\n") == {"A": 1}


@pytest.mark.parametrize("text, message", [
    ("", "the file contains no phrase"),
    ("A B\nA XYZ\n", ":2: the word XYZ is not in the lexicon; add it"),
    ("A B.\n", ":1: the word B. is not in the lexicon, but B is \\(different punctuation\\); write B, if you mean"),
    ("grammar g;\npublic <x> = A;\n", ":1: the file contains a rule but has no grammar header; write `#JSGF"),
    ("\npublic <x> = A;\n", ":2: the file contains a rule but"),
    ("A #0\n", "the word #0 is not in the lexicon"),
    ("#JSGF V1.0;\n", "the grammar has no rule"),
    ("#JSGF V1.0;\npublic <x> = A <y>;\n", ":2: there is no rule <y>"),
    ("#JSGF V1.0;\npublic <x> = A <y>;\n<y> = B | <x>;\n", ":3: the rule <x> contains itself"),
    ("#JSGF V1.0;\n<x> = A;\n<x> = B;\n", ":3: the rule <x> is defined twice"),
    ("#JSGF V1.0;\npublic <x> = A\n<y> = B;\n", ":3: expected `;`, found ="),
    ("#JSGF V1.0;\npublic <x> = (A | B;\n", "expected `\\)`, found ;"),
    ("#JSGF V1.0;\npublic <x> = A | ;\n", "expected a word, a rule or a group, found ;"),
    ("#JSGF V1.0;\npublic <x> = /1e300/ A | B;\n", "expected a weight of 0 or more"),
    ("#JSGF V1.0;\npublic <x> = /-1/ A | B;\n", "expected a weight of 0 or more"),
    ("#JSGF V1.0;\npublic <x> = /0/ A;\n", "the file contains no phrase"),
    ("#JSGF V1.0;\npublic <x> = <VOID>;\n", "the file contains no phrase"),
    ("#JSGF V1.0;\n<NULL> = A;\n", ":2: <NULL> cannot be defined"),
    ("#JSGF V1.0;\ngrammar t;\nimport <com.acme.*>;\npublic <x> = A;\n", ":3: import <com.acme.\\*>: other grammars"),
    ("#JSGF V1.0;\ngrammar t;\npublic <x> = A <u.what>;\n", ":3: there is no rule <u.what>.*other grammars cannot"),
    ("#JSGF V1.0;\npublic <x> = A {never closed;\n", ":2: unexpected `{`"),
    ("\n#ABNF 1.0;\n$x = A;\n", ":2: grammars in the format ABNF"),
    ("<?xml version='1.0'?>\n<grammar/>\n", ":1: grammars in the format XML"),
    ("#JSGF V1.0;\npublic <x> = " + "(" * 3000 + "A" + ")" * 3000 + ";\n", "nested too deeply"),
    ("#JSGF V1.0;\npublic x = A;\n", "expected `<name> =`, found x"),
    ("#JSGF V1.0;\npublic <x> = A } B;\n", ":2: unexpected `}`"),
    ("#JSGF V1.0;\npublic <x> = A*;\n", "the grammar allows a phrase without words"),
    ("#JSGF V1.0;\npublic <x> = A", "expected `;`, found the end of the file"),
    ("#JSGF V1.0;\npublic <x> = A /* B;\n", ":2: unexpected `/`"),
    ("#JSGF V1.0;\n" + "/* " * 300_000, ":2: unexpected `/`"),
    ("#JSGF V1.0;\npublic <x> = A* C | A (A A)* B;\n", "the grammar cannot be determinized"),
    ("#JSGF V1.0;\n<a0> = A;\n" + "".join(f"<a{i}> = <a{i - 1}> <a{i - 1}>;\n" for i in range(1, 40))
     + "public <x> = <a39>;\n", r":\d+: the expanded rules have more than 200,000 states"),
    ("#JSGF V1.0;\n<a0> = A;\n" + "".join(f"<a{i}> = <a{i - 1}>;\n" for i in range(1, 3000))
     + "public <x> = <a2999>;\n", "nested too deeply"),
])
def test_bad_grammar_is_an_error(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        phrases(tmp_path, text)


def test_invisible_characters_are_ignored_with_one_warning(tmp_path, capsys):
    assert phrases(tmp_path, "A\u200b B\n\uff21 \u00adB\n") == phrases(tmp_path, "A B\nA B\n")
    assert ":1: A\\u200b is read as A (3 such words); they differ in invisible" in capsys.readouterr().err


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="g: no such file"):
        grammar_to_g(tmp_path / "g", WORDS)


def test_many_unclosed_tags_are_read_in_linear_time():
    text = "<a> = " + "B {{ } " * 60_000 + ";"
    rules, _, _ = read_rules("g", [(1, "#JSGF V1.0;"), (2, text)], lambda word, line: WORDS[word])
    assert rules == {"<a>": (2, ("alt", [(1.0, ("seq", [("word", 2)] * 60_000))]))}
