"""Reads ``data/<recipe>/lang/``: symbol tables, phone classes, pronunciations and topology.

:mod:`lstmp.corpus.prepare_lang` writes the folder. Its files have Kaldi's formats, which docs/formats.md describes.
Lang folders written by Kaldi, which have no ``lexiconp.txt``, can be read as well.
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus.kaldi_lang import is_kaldi_lang, read_l_fst
from lstmp.corpus.pieces import Names, borders
from lstmp.corpus.silence_model import SENTENCE, SilenceModel
from lstmp.corpus.textlines import columns, composed, numbered_lines
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError

HINT = "run stage 2 (dictionary and lang) again"


@dataclass(frozen=True)
class Lang:
    """Phones, words and pronunciations.

    Attributes:
        dir: the folder; ``dir / "L.fst"`` and ``dir / "L_disambig.fst"`` are the lexicon transducers.
        phones, words: symbol → id; 0 is ``<eps>``.
        silence, nonsilence: phone ids, position variants included.
        optional_silence: id of the phone that may occur between words and at both ends.
        disambig: ids of the phone symbols ``#0 #1 …``.
        sets: one list of phone ids per base phone, with all its stress and position variants.
        roots: (shared, split, phone ids) of each root of the decision tree.
        extra_questions: sets of phone ids for questions of the tree, in addition to those clustered from data.
        lexicon: word id → [(probability, phone ids with position marks), …].
        oov: id of the word that replaces unknown words.
        topology: the HMM of each phone.
        sil_prob: probability of the optional silence.
        silence_model: silence probabilities of each pronunciation (word id, phone ids); None: ``sil_prob`` everywhere.
    """

    dir: Path
    phones: dict[str, int]
    words: dict[str, int]
    silence: list[int]
    nonsilence: list[int]
    optional_silence: int
    disambig: list[int]
    sets: list[list[int]]
    roots: list[tuple[bool, bool, list[int]]]
    extra_questions: list[list[int]]
    lexicon: dict[int, list[tuple[float, tuple[int, ...]]]]
    oov: int
    topology: Topology
    sil_prob: float
    silence_model: SilenceModel | None = None

    @classmethod
    def load(cls, directory, pronunciations: bool = True) -> "Lang":
        """Read the folder.

        Args:
            directory: the lang folder.
            pronunciations: whether to read the pronunciations, which takes some time. If False, ``lexicon`` is empty
                and ``sil_prob`` is nan.

        Raises:
            UserError: a file is missing or damaged, or contains a phone or word that is not in the symbol tables.
        """
        d = Path(directory)
        if not d.is_dir():
            raise UserError("no such lang folder", file=d, hint=HINT)
        phones, words = read_symbols(d / "phones.txt"), read_symbols(d / "words.txt")
        known = set(phones.values())

        def groups(name: str) -> list[list[int]]:
            return [_ids(fields, known, d / "phones" / name, n) for n, fields in _rows(d / "phones" / name)]

        def ids(name: str) -> list[int]:
            return [i for group in groups(name) for i in group]

        oov = d / "oov.int"
        lexicon: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
        sil_prob, silence_model = math.nan, None
        optional = _one(ids("optional_silence.int"), d / "phones" / "optional_silence.int")
        if pronunciations and is_kaldi_lang(d):
            lexicon, sil_prob = read_l_fst(d / "L.fst", optional)
            _check_symbols(d / "L.fst", lexicon, words, phones)
        elif pronunciations:
            lexicon = _read_lexicon(d / "lexiconp.txt", words, phones)
            sil_prob, silence_model = _read_silence(d, lexicon, words, phones)
        return cls(
            dir=d, phones=phones, words=words, silence=ids("silence.int"), nonsilence=ids("nonsilence.int"),
            optional_silence=optional, disambig=ids("disambig.int"), sets=groups("sets.int"),
            roots=_read_roots(d / "phones" / "roots.int", known),
            extra_questions=groups("extra_questions.int"), lexicon=lexicon,
            oov=_one([i for n, f in _rows(oov) for i in _ids(f, set(words.values()), oov, n)], oov),
            topology=Topology.read(d / "topo"), sil_prob=sil_prob, silence_model=silence_model)

    @functools.cached_property
    def phone_names(self) -> dict[int, str]:
        """Phone id → symbol."""
        return {i: s for s, i in self.phones.items()}

    @functools.cached_property
    def word_names(self) -> Names:
        """Word id → symbol."""
        return Names((i, s) for s, i in self.words.items())

    def borders(self, word: int) -> tuple[bool, bool]:
        """Whether a word begins, and whether it ends, with this entry of words.txt, which may be a piece of a word."""
        return borders(self.word_names[word]) if self.word_names.pieces else (True, True)

    def word_ids(self, words: Iterable[str]) -> tuple[list[int], int]:
        """Return the ids of ``words``, with ``oov`` for unknown words, and the number of unknown words."""
        ids = [self.words.get(w, self.oov) for w in words]
        # a symbol such as <s> or #0 has an id but no pronunciation, so as a spoken word it is unknown too
        ids = [i if i in self.lexicon else self.oov for i in ids]
        return ids, sum(i == self.oov for i in ids)


def read_symbols(path) -> dict[str, int]:
    """Read a symbol table (``symbol id`` lines), with symbols in Unicode's composed form (NFC).

    Raises:
        UserError: a line is malformed, ``<eps>`` does not have the id 0, or a symbol or id occurs twice.
    """
    table: dict[str, int] = {}
    rows = list(_rows(path, compose=False))
    not_ascii = {fields[0] for _, fields in rows if not fields[0].isascii()}
    for n, fields in rows:
        if len(fields) != 2 or not config.is_count(fields[1]):
            raise UserError("expected `symbol id`, with at most nine digits in the id", file=path, line=n, hint=HINT)
        if fields[0] in table:
            raise UserError(f"symbol {fields[0]} is given twice", file=path, line=n, hint=HINT)
        symbol = composed(fields[0])
        table[fields[0] if symbol in not_ascii else symbol] = int(fields[1])  # a table may have both forms of a word
    if table.get("<eps>") != 0:
        raise UserError("the symbol <eps> with the id 0 is missing", file=path, hint=HINT)
    if len(set(table.values())) != len(table):
        raise UserError("an id is given twice", file=path, hint=HINT)
    return table


def read_names(path) -> Names:
    """Read a symbol table as id → symbol. The result is cached for the next call, so do not modify it."""
    path = Path(path)
    state = path.stat() if path.is_file() else None
    return _names(path, state and (state.st_mtime_ns, state.st_size, state.st_ino))


@functools.lru_cache(maxsize=1)
def _names(path: Path, _state) -> Names:
    """Read the names. ``_state`` is a key of the cache only, which changes if the file changes."""
    return Names((i, symbol) for symbol, i in read_symbols(path).items())


def _check_symbols(path, lexicon, words: dict[str, int], phones: dict[str, int]):
    """Raise a UserError if L.fst has a word or phone that is not in the symbol tables of its folder."""
    used_phones = {phone for prons in lexicon.values() for _, pronunciation in prons for phone in pronunciation}
    for what, unknown in (("word", lexicon.keys() - words.values()), ("phone", used_phones - {*phones.values()})):
        if unknown:
            raise UserError(f"{what} {min(unknown)} is not in {what}s.txt", file=path,
                            hint="use files that were created together")


def _rows(path, compose: bool = True):
    for n, line in numbered_lines(path, compose=compose):
        if fields := columns(line):
            yield n, fields


def _ids(fields, known, path, n) -> list[int]:
    try:
        ids = [int(x) for x in fields]
    except ValueError:
        raise UserError("expected ids (whole numbers)", file=path, line=n, hint=HINT) from None
    for i in ids:
        if i not in known:
            raise UserError(f"id {i} is not in the symbol table", file=path, line=n, hint=HINT)
    return ids


def _one(values, path):
    if len(values) != 1:
        raise UserError(f"expected one entry, found {len(values)}", file=path, hint=HINT)
    return values[0]


def _probability(text: str, path, n: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise UserError(f"expected a probability, found {text}", file=path, line=n, hint=HINT)
    return value


def _read_roots(path, known) -> list[tuple[bool, bool, list[int]]]:
    roots = []
    for n, fields in _rows(path):
        if len(fields) < 3 or fields[0] not in ("shared", "not-shared") or fields[1] not in ("split", "not-split"):
            raise UserError("expected `shared|not-shared split|not-split phones`", file=path, line=n, hint=HINT)
        roots.append((fields[0] == "shared", fields[1] == "split", _ids(fields[2:], known, path, n)))
    return roots


def _read_lexicon(path, words, phones) -> dict[int, list[tuple[float, tuple[int, ...]]]]:
    lexicon: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
    for n, fields in _rows(path):
        try:
            pronunciation = tuple([phones[p] for p in fields[2:]])
            word = words[fields[0]]
        except KeyError as e:
            raise UserError(f"{e.args[0]} is not in the symbol table", file=path, line=n, hint=HINT) from None
        if not pronunciation:
            raise UserError("expected `word probability phones`", file=path, line=n, hint=HINT)
        lexicon.setdefault(word, []).append((_probability(fields[1], path, n), pronunciation))
    return lexicon


def _read_silence(directory: Path, lexicon, words, phones) -> tuple[float, SilenceModel | None]:
    """Read the silence probabilities.

    ``silprob.txt`` contains either one number, or in Kaldi's format lines of a name and a number. In the second case
    the folder also has ``lexiconp_silprob.txt``.
    """
    path = directory / SENTENCE
    rows = list(_rows(path))
    if all(len(fields) == 1 for _, fields in rows):
        return _one([_probability(fields[0], path, n) for n, fields in rows], path), None
    prons = {(word, p): prob for word, spellings in lexicon.items() for prob, p in spellings}
    model = SilenceModel.read(directory, prons, lambda word, p: (words[word], tuple([phones[x] for x in p])))
    return model.overall, model
