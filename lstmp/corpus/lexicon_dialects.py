"""Handles the fields between word and phones in the lexicons of other tools, and checks the separators.

* Numbers: a probability; a probability and three numbers about silence (the Montreal Forced Aligner, Kaldi); or the
  rank and the probability in Sequitur's n-best lists, ``HELLO 0 0.91 HH AH0 L OW1``.
* HTK's output symbol, ``HELLO [HELLO] hh ah l ow sp``, which is the text that HTK outputs for the word. It is removed,
  and so is the pause at the end of each pronunciation in HTK's dictionaries.
"""

import re

from lstmp.corpus.textlines import number
from lstmp.errors import UserError

Row = tuple[int, str, list[str]]  # line number, word, other fields
DECIMAL = re.compile(r"(?:[0-9]*\.[0-9]+|[0-9]+\.)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+][0-9]+")
RANKED = 2  # numbers per line of an n-best list
_OUTPUT = re.compile(r"\[([^\[\]]*)\]")
_PAUSES = ("sp", "sil")
_MIN_PAUSES = 0.9  # fraction of pronunciations that end in a pause; no phone of a language is as frequent there


def check_separators(rows: list[Row], path):
    """Raise a UserError if fields are separated by commas or similar marks, or if pronunciations are in brackets.

    Args:
        rows: the lines, at least one, which still contain their numbers.
        path: the file, for messages.
    """
    n = rows[0][0]
    for mark in ",;|:":
        if len(rows) > 1 and all(word.strip(mark).count(mark) for _, word, _ in rows):
            raise UserError(f"the first field of each line contains `{mark}`, such as {rows[0][1]}", file=path,
                            line=n, hint="separate word and phones by blanks or tabs")
    for begin, end in ("//", "[]"):
        # if the first phone also ends with the closing mark, these are names of phones such as [a]
        if all(rest and rest[0][0] == begin and rest[-1][-1] == end for _, _, rest in rows) and any(
                len(rest) > 1 and rest[0][-1] != end for _, _, rest in rows):
            raise UserError(f"each pronunciation is enclosed in {begin} and {end}", file=path, line=n,
                            hint="remove these marks, which would become parts of phones")


def take_output_symbols(rows: list[Row], path) -> int:
    """Remove HTK's ``[output symbol]`` from the rows, and the backslash before a quotation mark that begins a word.

    A file has output symbols if at least one of them is empty or equals its word in any letter case, and is followed
    by phones.

    Args:
        rows: the lines, which are modified.
        path: the file, for messages.

    Returns:
        The number of output symbols.

    Raises:
        UserError: a word in quotation marks contains a blank.
    """
    def output(rest: list[str]):
        return _OUTPUT.fullmatch(rest[0]) if len(rest) > 1 else None

    if not any((match := output(rest)) and match[1].casefold() in (word.strip("\\").casefold(), "")
               for _, word, rest in rows):
        return 0
    removed = 0
    for i, (n, word, rest) in enumerate(rows):
        if output(rest):
            removed += 1
            del rest[0]
        elif word[0] == '"' and (end := next((k for k, x in enumerate(rest) if x[-1] == '"'), None)) is not None:
            raise UserError(f"the word {' '.join((word, *rest[:end + 1]))} contains a blank", file=path, line=n,
                            hint="replace the blank, for example by _, here and in the texts")
        if word[:1] == "\\" and word[1:2] in ("'", '"'):
            rows[i] = n, word[1:], rest
    return removed


def take_short_pauses(rows: list[Row]) -> int:
    """Remove the phone ``sp`` or ``sil`` at the ends of pronunciations if almost all of them have it.

    Returns:
        The number of pronunciations from which it was removed.
    """
    ends = [rest for _, _, rest in rows if len(rest) > 1 and rest[-1] in _PAUSES]
    if len(ends) < _MIN_PAUSES * sum(len(rest) > 1 for _, _, rest in rows):
        return 0
    for rest in ends:
        rest.pop()
    return len(ends)


def count_numbers(rows: list[Row], optional: bool = False) -> int:
    """Return how many numbers there are between word and phones: 4, 2 (rank and probability), 1 or 0.

    Args:
        rows: the lines.
        optional: whether some lines may have a probability and others none.
    """
    if optional and any(len(rest) > 1 and DECIMAL.fullmatch(rest[0]) for _, _, rest in rows):
        return 1
    if any(len(rest) >= 4 and all(number(x) is not None for x in rest[:4]) and any(map(DECIMAL.fullmatch, rest[1:4]))
           for _, _, rest in rows):
        return 4
    if all(len(rest) > 2 and rest[0].isdecimal() and DECIMAL.fullmatch(rest[1]) for _, _, rest in rows):
        return RANKED
    if rows[0][2] and DECIMAL.fullmatch(rows[0][2][0]):
        return 1
    first = [rest[0] if len(rest) > 1 else "" for _, _, rest in rows]
    all_ones = len(rows) > 1 and set(first) == {"1"}  # each line has the probability 1, written without a point
    return int(all_ones or all(number(x) is not None for x in first) and any(map(DECIMAL.fullmatch, first)))


def take_probability(word: str, rest: list[str], numbers: int, path, n: int, optional: bool = False) -> float:
    """Remove the numbers from ``rest`` and return the probability among them; 1 if there is none.

    Args:
        word: the word, for messages.
        rest: fields after the word, which are modified.
        numbers: the result of :func:`count_numbers`.
        path, n: file and line number, for messages.
        optional: whether the line may have no probability.

    Raises:
        UserError: the line has a different count of numbers, or its probability is not in (0, 1].
    """
    if numbers == 0 or optional and numbers == 1 and rest and number(rest[0]) is None:
        return 1.0
    if numbers == 4:
        count = next((i for i, x in enumerate(rest) if not DECIMAL.fullmatch(x)), len(rest))
        count = 4 if count < 4 < len(rest) and all(number(x) is not None for x in rest[:4]) else count
        if count not in (0, 1, 4):
            raise UserError(f"the word {word} is followed by {count} numbers", file=path, line=n,
                            hint="write the probability, with all three numbers about silence or without them")
        if count == 0:
            return 1.0
        prob, rest[:] = rest[0], rest[count:]
    else:
        prob = rest[numbers - 1] if len(rest) >= numbers else ""
        del rest[:numbers]
    value = number(prob)
    if value is None or not 0 < value <= 1:
        raise UserError(f"expected a pronunciation probability in (0, 1], found {prob or 'nothing'}", file=path, line=n,
                        hint="give all lines a probability, or none")
    return value
