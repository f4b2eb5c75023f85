"""Lexicon files: ``WORD PHONE PHONE …`` lines, in the dialects in which they are found.

* CMUdict: variants ``WORD(2)`` are pronunciations of WORD, where any word is there without its number too, or with
  two; lines that begin with ``;;`` or ``#`` and what follows `` #`` are comments. An old entry such as
  ``#HASH HH AE1 SH`` is no comment, which its phones tell.
* Kaldi's ``lexiconp.txt``: a probability after the word, in every line or in none.
* The Montreal Forced Aligner's, and Kaldi's ``lexiconp_silprob.txt``: the probability and three numbers about silence,
  which are left out; a line may also have the probability alone, or no number.
"""

import re
from collections import Counter
from pathlib import Path

from lstmp.corpus.textlines import columns, number, numbered_lines, odd_characters
from lstmp.errors import UserError
from lstmp.log import say, warn

RESERVED = re.compile(r"#[0-9]+|<eps>|<s>|</s>")
_DECIMAL = re.compile(r"(?:[0-9]*\.[0-9]+|[0-9]+\.)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+][0-9]+")
_NO_PHONE = re.compile(rf"{_DECIMAL.pattern}|\d*[.,\u066b]\d+")  # also with a comma, and in other digits than ASCII's
_COMMENT = re.compile(r";;.*|#(?![0-9]+$).*")  # where a phone may stand
_VARIANT = re.compile(r"(.+)\([0-9]{1,2}\)")
_STRANGE_SPACE = re.compile(r"[^\S \t]")
_POSITION_MARK = re.compile(r".*_[BIES]")
_MANY = 1000  # pronunciations, of which each phone should stand in several

Entry = tuple[str, float, tuple[str, ...]]
Row = tuple[int, str, list[str]]  # line, word, the rest


def read_lexicon(path, phones: set[str] | None = None) -> list[Entry]:
    """Read a lexicon file.

    Args:
        path: plain text or gzip, UTF-8, columns separated by blanks or tabs.
        phones: the phones that may be used, of a Kaldi dictionary folder, which has neither comments nor variants;
            None: any.

    Returns:
        entries sorted by word, probability and phones, duplicates removed.

    Raises:
        UserError: a word without phones, a symbol that is reserved, a probability outside (0, 1], an unknown phone.
    """
    rows, comments = _rows(path, dialects=phones is None)
    if not rows:
        raise UserError("the lexicon is empty", file=path, hint="write `WORD PHONE PHONE …`, one a line")
    bases = _variants({word for _, word, _ in rows}) if phones is None else {}
    numbers = _numbers(rows)
    entries: dict[tuple[str, tuple[str, ...]], float] = {}
    checked: Counter[str] = Counter()
    variants = 0
    for n, word, rest in rows:
        prob = _take_probability(word, rest, numbers, path, n)
        if not rest:
            raise UserError(f"word {word} has no phones", file=path, line=n, hint="write `WORD PHONE PHONE …`, "
                            "the fields separated by blanks or tabs, or remove the line")
        for phone in rest:
            if phone not in checked:
                check_phone(phone, path, n)
                if phones is not None and phone not in phones:
                    raise UserError(f"phone {phone} is in no phone list", file=path, line=n,
                                    hint="add it to nonsilence_phones.txt or correct the entry")
        checked.update(set(rest))
        variants += word in bases
        word = bases.get(word, word)
        key = (word, tuple(rest))
        entries[key] = max(prob, entries.get(key, 0.0))
    if told := [f"{what}: {n}" for what, n in (("comments left out", comments),
                                               ("WORD(2) taken for a pronunciation of WORD", variants)) if n]:
        say(f"{path}: {'; '.join(told)}")
    if numbers == 4:
        warn(f"{path}: of four numbers after a word the first is its probability, the others (silence) are left out; "
             "local/add_pron_probs.sh estimates them")
    _warn_of_oddities(path, rows, checked if phones is None else Counter())  # those of a list are phones
    return sorted((word, prob, pronunciation) for (word, pronunciation), prob in entries.items())


def check_phone(phone: str, path, n: int):
    """Raise a UserError for what cannot be the name of a phone."""
    if RESERVED.fullmatch(phone) or phone.startswith("#"):
        raise UserError(f"{phone} is a reserved symbol, it cannot be a phone", file=path, line=n, hint="rename it")
    if _POSITION_MARK.fullmatch(phone):
        raise UserError(f"phone {phone} ends in a position mark", file=path, line=n,
                        hint="give phones without _B _I _E _S; they are added by prepare_lang")
    if _NO_PHONE.fullmatch(phone):
        raise UserError(f"{phone} is a number where a phone should be", file=path, line=n,
                        hint="give every line a probability or none, with a point and ASCII digits")


def _rows(path, dialects: bool) -> tuple[list[Row], int]:
    """The entries as they stand, and how many comments there are, which are looked for in ``dialects``."""
    rows: list[Row] = []
    unsure: list[Row] = []
    comments = 0
    for n, line in numbered_lines(path):
        fields = columns(line)
        if not fields:
            continue
        if dialects and (fields[0].startswith((";;", "##")) or fields[0] == "#"):
            comments += 1
            continue
        end = next((i for i, x in enumerate(fields) if i and _COMMENT.fullmatch(x)), None) if dialects else None
        comments += end is not None
        _check_spaces(line, fields[:end], path, n)
        word, rest = fields[0], fields[1:end]
        if RESERVED.fullmatch(word):
            raise UserError(f"{word} is a reserved symbol, it cannot be a word", file=path, line=n,
                            hint="remove the line")
        (unsure if dialects and word[0] == "#" else rows).append((n, word, rest))
    if unsure:  # such as `#HASH HH AE1 SH`, or `#made by hand`
        phones = {x for _, _, rest in rows for x in rest}
        entries = [row for row in unsure if row[2] and phones.issuperset(row[2])]
        rows, comments = sorted(rows + entries), comments + len(unsure) - len(entries)
    return rows, comments


def _variants(words: set[str]) -> dict[str, str]:
    """``WORD(2)`` → ``WORD``, if numbers in brackets mean that: there is the word itself, or it with two numbers."""
    bases = {word: found[1] for word in words if (found := _VARIANT.fullmatch(word))}
    return bases if len(set(bases.values())) < len(bases) or not words.isdisjoint(bases.values()) else {}


def _check_spaces(line: str, fields: list[str], path, n: int):
    if strange := _STRANGE_SPACE.search(" ".join(fields)):
        raise UserError(f"a space that is neither a blank nor a tab, {odd_characters([strange[0]])[0]}", file=path,
                        line=n, hint="separate the fields by blanks or tabs")
    word, tab, rest = line.partition("\t")
    if tab and rest.split() and len(before := word.split()) > 1 and len(fields) > len(before) and not any(
            number(x) is not None for x in before[1:]):
        raise UserError(f"`{' '.join(before)}` stands before the tab, but a word has no blank in it", file=path, line=n,
                        hint="write the word without blanks, or the line without tabs")


def _numbers(rows: list[Row]) -> int:
    """How many numbers stand between word and phones: 4, 1 or 0."""
    if any(len(rest) >= 4 and number(rest[0]) is not None and all(map(_DECIMAL.fullmatch, rest[1:4]))
           for _, _, rest in rows):
        return 4
    if rows[0][2] and _DECIMAL.fullmatch(rows[0][2][0]):
        return 1
    first = [rest[0] if len(rest) > 1 else "" for _, _, rest in rows]
    whole = len(rows) > 1 and set(first) == {"1"}  # each has the probability 1, without a point
    return int(whole or all(number(x) is not None for x in first) and any(map(_DECIMAL.fullmatch, first)))


def _take_probability(word: str, rest: list[str], numbers: int, path, n: int) -> float:
    """The probability, taken off ``rest`` with the other numbers."""
    if numbers == 0:
        return 1.0
    if numbers == 4:
        found = next((i for i, x in enumerate(rest) if not _DECIMAL.fullmatch(x)), len(rest))
        found = 4 if found == 0 and len(rest) > 4 and all(map(_DECIMAL.fullmatch, rest[1:4])) else found
        if found not in (0, 1, 4):
            raise UserError(f"{found} numbers after the word {word}", file=path, line=n,
                            hint="write the probability, and all three numbers about silence or none")
        if found == 0:
            return 1.0
        prob, rest[:] = rest[0], rest[found:]
    else:
        prob = rest.pop(0) if rest else ""
    value = number(prob)
    if value is None or not 0 < value <= 1:
        raise UserError(f"expected a pronunciation probability in (0, 1], found {prob or 'nothing'}", file=path, line=n,
                        hint="give every line a probability or none")
    return value


def _warn_of_oddities(path, rows: list[Row], phones: Counter):
    odd = [(n, word) for n, word, _ in rows if odd_characters([word])]
    if odd:
        n, word = odd[0]
        warn(f"{Path(path)}:{n}: {odd_characters([word])[0]} in the word {word} ({len(odd)} such words): invisible, so "
             "words that look the same are not; remove it")
    once = sorted(p for p, count in phones.items() if count == 1)
    if once and len(rows) >= _MANY:
        warn(f"{path}: {len(once)} phones stand in one pronunciation only: {' '.join(once[:10])}; are they phones?")
