"""Tests of G: sentences cost the same as in the ARPA file, including back-off; and errors for bad ARPA files."""

import gzip
import itertools
import math
import random

import numpy as np
import pytest

from lstmp.corpus.arpa import check_arpa
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang
from lstmp.corpus.perplexity import Perplexity
from lstmp.corpus.piece_prons import prepare_piece_dict
from lstmp.corpus.pieces import Pieces, train_pieces
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.prepare_lm import main, prepare_lm, train_arpa
from lstmp.errors import UserError

ARPA = r"""made by hand

\data\
ngram 1=5
ngram 2=4
ngram 3=2

\1-grams:
-99 <s> -0.3
-0.7 </s>
-0.9 A -0.2
-0.8 B -0.4
-1.2 ZZ -0.1

\2-grams:
-0.2 <s> A -0.15
-0.4 A B -0.25
-0.9 B B
-0.5 B ZZ -0.6

\3-grams:
-0.1 <s> A B
-0.35 A B ZZ

\end\
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text("A AH0\nB B\n")
    (tmp_path / "lm.arpa").write_text(ARPA)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    return tmp_path


def read_ngrams(path) -> dict[tuple[str, ...], tuple[float, float]]:
    ngrams = {}
    order = 0
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            order = int(line[1])
        elif order and line and not line.startswith("\\"):
            prob, *words = line.split()
            backoff = float(words.pop()) if len(words) > order else 0.0
            ngrams[tuple(words)] = (float(prob), backoff)
    return ngrams


def arpa_log_prob(ngrams, history, word) -> float:
    """log10 P(word | history) by the definition of back-off."""
    if (*history, word) in ngrams:
        return ngrams[(*history, word)][0]
    return ngrams.get(history, (0, 0))[1] + arpa_log_prob(ngrams, history[1:], word)


def arpa_cost(ngrams, words) -> float:
    """−ln P of a sentence."""
    sentence = ["<s>", *words, "</s>"]
    total = sum(arpa_log_prob(ngrams, tuple(sentence[max(0, i - 2):i]), sentence[i]) for i in range(1, len(sentence)))
    return -total * math.log(10)


def g_cost(g: FstArrays, words, backoff: int) -> float:
    """Cost of ``words`` in G, backing off only where there is no arc for the word: G is deterministic that way."""
    def step(state, word):
        at = (g.src == state) & (g.ilabel == word)
        if at.any():
            assert at.sum() == 1
            return g.dst[at][0], g.weight[at][0]
        return back(state, lambda s: step(s, word))

    def back(state, then):
        at = (g.src == state) & (g.ilabel == backoff)
        assert at.sum() == 1 and g.olabel[at] == 0
        end, cost = then(g.dst[at][0])
        return end, cost + g.weight[at][0]

    def stop(state):
        return (state, g.final[state]) if np.isfinite(g.final[state]) else back(state, stop)

    state, total = g.start, 0.0
    for word in words:
        state, cost = step(state, word)
        total += cost
    return float(total + stop(state)[1])


@pytest.mark.parametrize("zipped", [False, True])
def test_sentences_cost_the_same_in_g_and_arpa(folder, zipped, capsys):
    arpa = folder / "lm.arpa"
    if zipped:
        arpa = folder / "lm.arpa.gz"
        arpa.write_bytes(gzip.compress(ARPA.encode()))
    prepare_lm(folder / "lang", folder / "lang_x", arpa=arpa)
    assert "3 of 11 n-grams were left out" in capsys.readouterr().err  # those with ZZ
    g, ids = FstArrays.read(folder / "lang_x" / "G.fst"), Lang.load(folder / "lang_x").words
    assert read_fst(folder / "lang_x" / "G.fst").is_ilabel_sorted
    assert set(g.ilabel) <= {ids["A"], ids["B"], ids["#0"]} and set(g.olabel) <= {ids["A"], ids["B"], 0}
    ngrams = read_ngrams(folder / "lm.arpa")
    for n in range(5):
        for words in itertools.product("AB", repeat=n):
            cost = g_cost(g, [ids[w] for w in words], ids["#0"])
            assert cost == pytest.approx(arpa_cost(ngrams, words), abs=1e-4), words


def test_perplexity_equals_that_of_the_arpa(folder):
    """Compare with the ARPA file. An unknown word does not count, and the history after it is empty."""
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    ids, ngrams = Lang.load(folder / "lang_x").words, read_ngrams(folder / "lm.arpa")
    lm = Perplexity(FstArrays.read(folder / "lang_x/G.fst"), ids["#0"])
    sentences = ["A B", "B B A", "", "A"]
    for sentence in sentences:
        lm.add((ids[w],) for w in sentence.split())
    cost = sum(arpa_cost(ngrams, s.split()) for s in sentences)
    assert (lm.words, lm.sentences, lm.unknown, lm.impossible) == (6, 4, 0, 0)
    assert lm.value == pytest.approx(math.exp(cost / 10), rel=1e-4)
    lm = Perplexity(lm.g, ids["#0"])
    lm.add([(ids["A"],), (-1,), (ids["B"],)])
    expected = -math.log(10) * (-0.2 - 0.8 + arpa_log_prob(ngrams, ("B",), "</s>"))
    assert (lm.words, lm.unknown) == (2, 1) and lm.value == pytest.approx(math.exp(expected / 3), rel=1e-4)
    pairs = Perplexity(lm.g, ids["#0"])
    pairs.add([(ids["A"], ids["B"]), (ids["A"], -1)])  # words of two pieces
    assert (pairs.words, pairs.unknown) == (1, 1)


def test_perplexity_of_a_grammar_counts_impossible_sentences(folder):
    (folder / "phrases").write_text("A B\nB\n")
    prepare_lm(folder / "lang", folder / "lang_x", grammar=folder / "phrases")
    ids = Lang.load(folder / "lang_x").words
    lm = Perplexity(FstArrays.read(folder / "lang_x/G.fst"), ids["#0"])
    for sentence in ("A B", "B", "A", "B B"):
        lm.add((ids[w],) for w in sentence.split())
    assert (lm.sentences, lm.impossible) == (2, 2)
    assert lm.value == pytest.approx(2 ** (2 / 5), rel=1e-4)  # each phrase 1/2; three words, two ends
    assert math.isnan(Perplexity(lm.g, ids["#0"]).value)


def test_model_that_is_mostly_left_out_is_warned_of(folder, capsys):
    (folder / "lm.arpa").write_text(ARPA.replace(" B", " b").replace("ngram 1=5", "ngram 1=6").replace(
        "-1.2 ZZ", "-1.5 Z\n-1.2 ZZ"))
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert "are spelled differently there, for example b as B (different letter case)" in capsys.readouterr().err


def test_model_trained_from_text_is_a_distribution(folder):
    """Probabilities sum to 1, and frequent sentences have lower costs."""
    rng = random.Random(1)
    vocabulary = [a + b for a in "ABCDEF" for b in "ABCDE"]
    weights = [1 / (i + 1) for i in range(30)]
    lines = [" ".join(rng.choices(vocabulary, weights, k=rng.randrange(9))) for _ in range(300)]
    (folder / "text").write_text("".join(f"utt{i} {line}\n" for i, line in enumerate(lines)))
    train_arpa([folder / "text"], folder / "y.arpa", order=3, skip_id=True)
    ngrams = read_ngrams(folder / "y.arpa")
    assert check_arpa(folder / "y.arpa") == [sum(len(x) == n for x in ngrams) for n in (1, 2, 3)]
    words = [w for w, in (x for x in ngrams if len(x) == 1) if w != "<s>"]
    for history in [("<s>",), ("AA",), ("<s>", "AA"), ("AA", "AB"), ("CC", "AA")]:
        assert sum(10 ** arpa_log_prob(ngrams, history, w) for w in words) == pytest.approx(1, abs=1e-4), history

    (folder / "text").write_text("A B\nA A B\n\nB B\nA B\nA B A\n")
    prepare_lm(folder / "lang", folder / "lang_y", texts=[folder / "text"], order=2)
    g, ids = FstArrays.read(folder / "lang_y" / "G.fst"), Lang.load(folder / "lang_y").words
    assert g_cost(g, [ids["A"], ids["B"]], ids["#0"]) < g_cost(g, [ids["B"], ids["A"]], ids["#0"])


def test_a_unigram_has_the_relative_frequencies(folder):
    (folder / "text").write_text("u1 A B A\nu2\nu3 <s> A </s>\n")
    train_arpa([folder / "text"], folder / "x.arpa", order=1, skip_id=True)
    assert check_arpa(folder / "x.arpa") == [4]
    found = {words[0]: value for words, value in read_ngrams(folder / "x.arpa").items()}
    probabilities = {w: 10 ** (v[0] if isinstance(v, tuple) else v) for w, v in found.items() if w != "<s>"}
    assert probabilities == pytest.approx({"A": 3 / 6, "B": 1 / 6, "</s>": 2 / 6}, rel=1e-5)
    prepare_lm(folder / "lang", folder / "lang_1", texts=[folder / "text"], order=1, skip_id=True)
    assert len(FstArrays.read(folder / "lang_1" / "G.fst").final) == 1
    with pytest.raises(UserError, match="a unigram cannot be pruned"):
        train_arpa([folder / "text"], folder / "x.arpa", order=1, skip_id=True, prune=1e-5)


def test_lang_files_are_complete_and_finished_stage_is_skipped(folder, capsys):
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    names = {p.relative_to(folder / "lang") for p in (folder / "lang").rglob("[!.]*")}
    assert {p.relative_to(folder / "lang_x") for p in (folder / "lang_x").rglob("[!.]*")} - names == {
        (folder / "lang_x" / "G.fst").relative_to(folder / "lang_x")}
    before = (folder / "lang_x" / "G.fst").read_bytes()
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert "lm is done" in capsys.readouterr().out
    (folder / "lang_x" / "words.txt").unlink()
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert (folder / "lang_x" / "words.txt").is_file() and (folder / "lang_x" / "G.fst").read_bytes() == before


@pytest.mark.parametrize("old, new, message", [
    ("\\data\\", "\\daten\\", "lm.arpa: this is not an ARPA file: it has no \\data\\ line"),
    ("ngram 2=4", "ngram 2=5", "lm.arpa:21: 4 2-grams, but \\data\\ says 5"),
    ("ngram 2=4\n", "", "expected `ngram 2=count`, found ngram 3=2"),
    ("ngram 1=5\nngram 2=4\nngram 3=2\n", "", "\\data\\ gives no counts"),
    ("ngram 1=5", "ngram 1=five", "lm.arpa:4: expected `ngram 1=count`"),
    ("\\2-grams:\n", "", "lm.arpa:15: expected a log-probability, 1 words"),
    ("\\end\\\n", "", "the file ends before \\end\\"),
    (ARPA[ARPA.index("-0.35"):], "", "lm.arpa:22: the file ends before \\end\\"),
    ("-0.8 B", "nan B", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.8 B -0.4", "-0.8 B nan", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.8 B", "0.8 B", "lm.arpa:12: the log-probability 0.8 is above 0"),
    ("-0.8 B", "-inf B", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.8 B", "-\u0661 B", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.8 B", "-0_8 B", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.8 B", "x B", "lm.arpa:12: the log-probability or back-off weight is not a number"),
    ("-0.4 A B -0.25", "-0.4 A", "lm.arpa:17: expected a log-probability, 2 words"),
    ("-0.1 <s> A B", "-0.1 <s> A B -1", "lm.arpa:22: a 3-gram, the highest order, must not have"),
    ("-0.7 </s>", "-0.7 C", "the 1-grams lack <s> or </s>"),
    ("ngram 3=2", "ngram 3=0", "\\data\\ says 0"),
    ("-0.8 B -0.4", "-0.8 #0 -0.4", "lm.arpa:12: #0 is a special symbol of words.txt"),
    ("-0.8 B -0.4", "-0.8 <eps> -0.4", "lm.arpa:12: <eps> is a special symbol of words.txt"),
    ("-0.9 B B", "-0.4 A B", "lm.arpa:18: the 2-gram `A B` is given twice"),
    ("-1.2 ZZ", "-1.2 A", "lm.arpa:13: the 1-gram `A` is given twice"),
    ("made by hand", "mmap lm http://kheafield.com/code", "lm.arpa:1: this is a binary language model"),
    (ARPA, "", "not an ARPA file"),
])
def test_bad_arpa_is_an_error(folder, capsys, old, new, message):
    path = folder / "lm.arpa"
    assert old in ARPA
    path.write_text(ARPA.replace(old, new, 1))
    with pytest.raises(SystemExit) as e:
        main(["--lang", str(folder / "lang"), "--arpa", str(path), "--out", str(folder / "lang_x")])
    error = capsys.readouterr().err
    assert e.value.code == 1 and message in error and error.count("\n") == 1
    assert not (folder / "lang_x" / "G.fst").exists()


DIALECTS = {
    "IRSTLM": lambda s: "iARPA\n\n" + s.replace("ngram 1=5", "ngram 1=\t5").replace("ngram 2=", "ngram  2 = "),
    "tabs": lambda s: s.replace(" A", "\tA").replace(" B", "\tB").replace("\\1-grams:", "\\1-grams: \t"),
    "blanks at the margin": lambda s: "".join(f" {line}\n" for line in s.split("\n")),
    "Windows": lambda s: "\ufeff" + s.replace("\n", "\r\n"),
    "Mac": lambda s: s.replace("\n", "\r"),
    "exponents": lambda s: s.replace("-0.9 A", "-9.0e-01 A").replace("-0.7 ", "-.7 "),
    "a no-break space in the unknown word": lambda s: s.replace("ZZ", "Z\u00a0Z"),
    "a probability of <s> that is 0": lambda s: s.replace("-99 <s>", "-inf\t<s>"),
    "back-off in the highest order": lambda s: s.replace("<s> A B\n", "<s> A B\t0\n").replace("B ZZ\n", "B ZZ 0.0\n"),
    "an order without n-grams": lambda s: s.replace("ngram 3=2", "ngram 3=2\nngram 4=0"),
    "an empty section": lambda s: s.replace("3=2", "3=2\nngram 4=0").replace("\\end", "\\4-grams:\n\n\\end"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_of_arpa_give_the_same_g(folder, dialect):
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    (folder / "other.arpa").write_bytes(DIALECTS[dialect](ARPA).encode())
    prepare_lm(folder / "lang", folder / "lang_y", arpa=folder / "other.arpa")
    assert (folder / "lang_x/G.fst").read_bytes() == (folder / "lang_y/G.fst").read_bytes()


def test_words_in_different_unicode_forms_match(folder, tmp_path):
    """Applies to lexicon, LM and words.txt; a words.txt written by Kaldi has the Unicode form of its input."""
    (folder / "lexicon").write_text("E\u0301 AH0\nB B\n")
    prepare_dict(folder / "lexicon", folder / "dict2")
    prepare_lang(folder / "dict2", folder / "lang2")
    assert "\nÉ " in (folder / "lang2/words.txt").read_text()
    for name, words, arpa in (("one", "É", "E\u0301"), ("two", "E\u0301", "É")):
        table = (folder / "lang2/words.txt").read_text()
        (folder / "lang2/words.txt").write_text(table.replace("É", words).replace("E\u0301", words))
        (folder / f"{name}.arpa").write_text(ARPA.replace(" A", f" {arpa}"))
        prepare_lm(folder / "lang2", folder / name, arpa=folder / f"{name}.arpa")
        assert len(FstArrays.of(read_fst(folder / name / "G.fst")).ilabel) > 5, name
    assert (folder / "one/G.fst").read_bytes() == (folder / "two/G.fst").read_bytes()


def test_variants_of_text_give_the_same_model(folder, capsys):
    """Sentence marks, byte order marks and any white space are allowed; invisible characters are warned of."""
    (folder / "a").write_text("A B A\nB A\n")
    (folder / "b").write_bytes("\ufeff<s> A\u3000B\u00a0A </s>\r\nB\tA\r\n".encode())
    for name in "ab":
        train_arpa([folder / name], folder / f"{name}.lm")
    assert (folder / "a.lm").read_bytes() == (folder / "b.lm").read_bytes()
    assert "warning" not in capsys.readouterr().err
    (folder / "c").write_text("A B\nA\u200bB B\n")
    train_arpa([folder / "c"], folder / "c.lm")
    assert "c:2: a word contains a character, possibly invisible" in capsys.readouterr().err


def test_word_with_a_line_separator_is_left_out_like_any_other(folder, capsys):
    (folder / "lm.arpa").write_text(ARPA.replace("ZZ", "Z\u2028Z"))
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert "3 of 11 n-grams were left out" in capsys.readouterr().err


def test_some_words_in_a_different_spelling_are_warned_of(folder, capsys):
    """The warning appears even if most n-grams are kept."""
    (folder / "lm.arpa").write_text(ARPA.replace("ZZ", "b"))
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert ("words.txt, 100 % of these are spelled differently there, for example b as B (different letter case)"
            in capsys.readouterr().err)


def test_utterance_ids_in_text_are_warned_of(folder, capsys):
    (folder / "text").write_text("".join(f"spk1-{i:03} A B\n" for i in range(5)))
    train_arpa([folder / "text"], folder / "x.arpa")
    assert "line begins with a different word that contains digits, such as spk1-000; if" in capsys.readouterr().err
    train_arpa([folder / "text"], folder / "y.arpa", skip_id=True)
    assert capsys.readouterr().err == ""
    (folder / "text").write_text("".join(f"A B (spk1-{i:03})\n" for i in range(5)))
    train_arpa([folder / "text"], folder / "x.arpa")
    assert "each line ends with a different word that contains digits" in capsys.readouterr().err
    (folder / "text").write_text("A B\nA A\nB A\n")
    train_arpa([folder / "text"], folder / "x.arpa", skip_id=True)
    assert "A begins several lines, so the first words, which are skipped, may not be" in capsys.readouterr().err


def test_sentence_marks_in_upper_case_are_removed(folder):
    (folder / "a").write_text("A B A\nB A\n")
    (folder / "b").write_text("<S> A B A </S>\n<S> B A </S>\n")
    for name in "ab":
        train_arpa([folder / name], folder / f"{name}.lm")
    assert (folder / "a.lm").read_bytes() == (folder / "b.lm").read_bytes()


@pytest.mark.parametrize("content, message", [
    (ARPA.replace(" A", " a").replace(" B", " b").encode(), "no word of the LM is in the lexicon, 67 % of these are "
     "spelled differently there, for example "),
    (ARPA.encode().replace(b"-0.8 B", b"-0.8 \xc4"), "lm.arpa:12: not UTF-8"),
    (gzip.compress(ARPA.encode(), mtime=0)[:90], "the gzip file is cut off or damaged"),
])
def test_unreadable_arpa_is_an_error(folder, content, message):
    (folder / "lm.arpa").write_bytes(content)
    with pytest.raises(UserError) as e:
        prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    assert message in str(e.value)


def test_bad_training_text_and_options_are_errors(folder):
    text = folder / "text"
    text.write_text("\n \n")
    with pytest.raises(UserError, match="no sentence to train"):
        train_arpa([text], folder / "x.arpa")
    text.write_text("A B\nA <s> B\n")
    with pytest.raises(UserError, match="text:2: <s> is a reserved symbol"):
        train_arpa([text], folder / "x.arpa")
    for order in (0, 6):
        with pytest.raises(UserError, match="--order must be 1 to 5"):
            train_arpa([text], folder / "x.arpa", order=order)
    with pytest.raises(UserError, match="either an ARPA file, text to train from, or a grammar"):
        prepare_lm(folder / "lang", folder / "lang_x")
    with pytest.raises(UserError, match="words.txt: no such file"):
        prepare_lm(folder / "nowhere", folder / "lang_x", arpa=folder / "lm.arpa")


def test_model_of_pieces_of_words(tmp_path):
    """The model is trained on text cut into pieces, can be given as ARPA, and excludes grammars."""
    rng = random.Random(4)
    words = ["".join(rng.choices(["BA", "DE", "KI"], k=rng.randint(1, 3))) for _ in range(20)]
    (tmp_path / "text").write_text("".join(" ".join(rng.choices(words, k=5)) + "\n" for _ in range(300)))
    prepare_dict(None, tmp_path / "words", spell=[tmp_path / "text"])
    train_pieces([tmp_path / "text"], tmp_path, size=20)
    prepare_piece_dict(tmp_path / "words", tmp_path / "pieces.model", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    for name, prune in (("whole", 0.0), ("pruned", 1e-3)):
        prepare_lm(tmp_path / "lang", tmp_path / name, texts=[tmp_path / "text"], prune=prune)
    whole, pruned = (check_arpa(tmp_path / name / "lm.arpa") for name in ("whole", "pruned"))
    assert whole[0] == pruned[0] and whole[1] > pruned[1] and whole[2] > pruned[2]
    unigrams = (tmp_path / "whole/lm.arpa").read_text().split("1-grams:\n")[1].split("\n\n")[0]
    symbols = {line.split()[1] for line in unigrams.split("\n")}
    pieces = Pieces(tmp_path / "pieces.model")
    assert symbols - {"<s>", "</s>", "<unk>"} == {p for w in words for p in pieces.cut(w)}
    prepare_lm(tmp_path / "lang", tmp_path / "given", arpa=tmp_path / "whole/lm.arpa")
    assert (tmp_path / "given/G.fst").read_bytes() == (tmp_path / "whole/G.fst").read_bytes()
    with pytest.raises(UserError, match="--prune requires a model that is trained"):
        prepare_lm(tmp_path / "lang", tmp_path / "x", arpa=tmp_path / "whole/lm.arpa", prune=0.1)
    with pytest.raises(UserError, match="--prune must be at least 0"):
        prepare_lm(tmp_path / "lang", tmp_path / "x", texts=[tmp_path / "text"], prune=1.0)
    with pytest.raises(UserError, match="a grammar consists of words"):
        prepare_lm(tmp_path / "lang", tmp_path / "x", grammar=tmp_path / "text")
