"""Reads lexicon files with lines ``WORD PHONE PHONE …`` in the formats of several tools.

* CMUdict: a variant ``WORD(2)`` is another pronunciation of WORD, if the file also contains some word both with and
  without a number, or with two numbers. Lines that begin with ``;;`` or ``#``, and text after `` #``, are comments. An
  entry of old versions such as ``#HASH HH AE1 SH`` is recognized by its phones.
* Kaldi's ``lexiconp.txt``: a probability after the word, either in all lines or in none.
* The Montreal Forced Aligner, and Kaldi's ``lexiconp_silprob.txt``: a probability and three numbers about silence,
  which are ignored. A line may also have only the probability, or no number.
* Sequitur's n-best lists and HTK's dictionaries: see :mod:`lstmp.corpus.lexicon_dialects`.
"""

import re
from collections import Counter
from pathlib import Path

from lstmp.corpus.lexicon_dialects import (
    DECIMAL,
    check_separators,
    count_numbers,
    take_output_symbols,
    take_probability,
    take_short_pauses,
)
from lstmp.corpus.textlines import columns, number, numbered_lines, odd_characters
from lstmp.errors import UserError
from lstmp.log import say, warn

RESERVED = re.compile(r"#[0-9]+|<eps>|<s>|</s>")
_NO_PHONE = re.compile(rf"{DECIMAL.pattern}|\d*[.,\u066b]\d+")  # also with a decimal comma or with non-ASCII digits
_COMMENT = re.compile(r";;.*|#(?![0-9]+$).*")  # at the position of a phone
_VARIANT = re.compile(r"(.+)\([0-9]{1,2}\)")
_STRANGE_SPACE = re.compile(r"[^\S \t]")
_POSITION_MARK = re.compile(r".*_[BIES]")
_MANY = 1000  # pronunciations; in a lexicon of this size, each phone should occur in several of them

Entry = tuple[str, float, tuple[str, ...]]
Row = tuple[int, str, list[str]]  # line number, word, other fields


def read_lexicon(path, phones: set[str] | None = None) -> list[Entry]:
    """Read a lexicon file.

    Args:
        path: plain text or gzip, UTF-8, columns separated by blanks or tabs.
        phones: the allowed phones, if the file is that of a Kaldi dictionary folder, which has neither comments nor
            variants; None: any phones.

    Returns:
        The entries sorted by word, probability and phones, without duplicates.

    Raises:
        UserError: a word has no phones, a symbol is reserved, a probability is outside (0, 1], or a phone is unknown.
    """
    rows, comments = _rows(path, dialects=phones is None)
    if not rows:
        raise UserError("the lexicon is empty", file=path, hint="write one entry `WORD PHONE PHONE …` per line")
    outputs = pauses = 0
    if phones is None:
        check_separators(rows, path)
        outputs = take_output_symbols(rows, path)
    numbers = count_numbers(rows, optional=outputs > 0)
    bases = _variants({word for _, word, _ in rows}) if phones is None else {}
    entries: dict[tuple[str, tuple[str, ...]], float] = {}
    checked: Counter[str] = Counter()
    variants = 0
    probs = [take_probability(word, rest, numbers, path, n, outputs > 0) for n, word, rest in rows]
    if phones is None:
        pauses = take_short_pauses(rows)
    for (n, word, rest), prob in zip(rows, probs, strict=True):
        if not rest:
            raise UserError(f"word {word} has no phones", file=path, line=n, hint="write `WORD PHONE PHONE …`, "
                            "with blanks or tabs between the fields, or remove the line")
        for phone in rest:
            if phone not in checked:
                check_phone(phone, path, n)
                if phones is not None and phone not in phones:
                    raise UserError(f"phone {phone} is in no phone list", file=path, line=n,
                                    hint="add it to nonsilence_phones.txt, or correct the entry")
        checked.update(set(rest))
        variants += word in bases
        word = bases.get(word, word)
        key = (word, tuple(rest))
        entries[key] = max(prob, entries.get(key, 0.0))
    if notes := [f"{what}: {n}" for what, n in (("ignored comments", comments),
                                                ("words WORD(2) read as pronunciations of WORD", variants),
                                                ("ignored [output symbols] of HTK", outputs)) if n]:
        say(f"{path}: {'; '.join(notes)}")
    if pauses:
        warn(f"{path}: {pauses} pronunciations end in sp or sil, HTK's pause between words; it is removed, because "
             "silence between words is added automatically")
    if numbers == 4:
        warn(f"{path}: of the four numbers after a word, only the first, its probability, is used; "
             "local/add_pron_probs.sh estimates the others (silence)")
    _warn_of_oddities(path, rows, checked if phones is None else Counter())  # phones of a list are known to be phones
    return sorted((word, prob, pronunciation) for (word, pronunciation), prob in entries.items())


def check_phone(phone: str, path, n: int):
    """Raise a UserError if a name cannot be the name of a phone."""
    if RESERVED.fullmatch(phone) or phone.startswith("#"):
        raise UserError(f"{phone} is a reserved symbol and cannot be a phone", file=path, line=n, hint="rename it")
    if _POSITION_MARK.fullmatch(phone):
        raise UserError(f"phone {phone} ends in a position mark", file=path, line=n,
                        hint="give phones without _B _I _E _S; prepare_lang adds these marks")
    if _NO_PHONE.fullmatch(phone):
        raise UserError(f"{phone} is a number where a phone should be", file=path, line=n,
                        hint="give all lines a probability or none, with a decimal point and ASCII digits")


def _rows(path, dialects: bool) -> tuple[list[Row], int]:
    """Return the entries, not yet interpreted, and the number of comments, which exist only in ``dialects``."""
    rows: list[Row] = []
    ambiguous: list[Row] = []
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
            raise UserError(f"{word} is a reserved symbol and cannot be a word", file=path, line=n,
                            hint="remove the line")
        (ambiguous if dialects and word[0] == "#" else rows).append((n, word, rest))
    if ambiguous:  # an entry such as `#HASH HH AE1 SH`, or a comment such as `#made by hand`
        phones = {x for _, _, rest in rows for x in rest}
        entries = [row for row in ambiguous if row[2] and phones.issuperset(row[2])]
        rows, comments = sorted(rows + entries), comments + len(ambiguous) - len(entries)
    return rows, comments


def _variants(words: set[str]) -> dict[str, str]:
    """Map ``WORD(2)`` to ``WORD`` if numbers in brackets mark variants, otherwise return an empty dictionary.

    They mark variants if some word also occurs without a number, or with two different numbers.
    """
    bases = {word: match[1] for word in words if (match := _VARIANT.fullmatch(word))}
    return bases if len(set(bases.values())) < len(bases) or not words.isdisjoint(bases.values()) else {}


def _check_spaces(line: str, fields: list[str], path, n: int):
    if strange := _STRANGE_SPACE.search(" ".join(fields)):
        raise UserError(f"the line has a space that is neither a blank nor a tab, {odd_characters([strange[0]])[0]}",
                        file=path, line=n, hint="separate the fields by blanks or tabs")
    first_column, tab, rest = line.partition("\t")
    if tab and rest.split() and len(before_tab := first_column.split()) > 1 and len(fields) > len(before_tab) and (
            not any(number(x) is not None for x in before_tab[1:])):
        raise UserError(f"`{' '.join(before_tab)}` before the tab contains a blank, but a word cannot contain blanks",
                        file=path, line=n, hint="write the word without blanks, or the line without tabs")


def _warn_of_oddities(path, rows: list[Row], phones: Counter):
    odd = [(n, word) for n, word, _ in rows if odd_characters([word])]
    if odd:
        n, word = odd[0]
        warn(f"{Path(path)}:{n}: {odd_characters([word])[0]} in the word {word} ({len(odd)} such words): words with "
             "this invisible character differ from words that look the same; remove it")
    odd = [(n, phone) for n, _, rest in rows for phone in rest if odd_characters([phone])]
    if odd:
        n, phone = odd[0]
        warn(f"{Path(path)}:{n}: {odd_characters([phone])[0]} in the phone {phone} ({len(odd)} such phones): "
             "phones with this invisible character differ from phones that look the same; remove it")
    once = sorted(p for p, count in phones.items() if count == 1)
    if once and len(rows) >= _MANY:
        warn(f"{path}: {len(once)} phones occur in only one pronunciation: {' '.join(once[:10])}; check that they are "
             "phones")
