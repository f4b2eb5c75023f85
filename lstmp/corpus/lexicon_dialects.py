"""What stands between a word and its phones in the lexicons of other tools, and what separates them.

* Numbers: a probability; it and three numbers about silence (the Montreal Forced Aligner, Kaldi); or the rank and the
  probability of Sequitur's n-best lists, ``HELLO 0 0.91 HH AH0 L OW1``.
* HTK's output symbol, ``HELLO [HELLO] hh ah l ow sp``: what HTK writes for the word. It is left out, as is the pause
  that HTK's dictionaries have at the end of each pronunciation.
"""

import re

from lstmp.corpus.textlines import number
from lstmp.errors import UserError

Row = tuple[int, str, list[str]]  # line, word, the rest
DECIMAL = re.compile(r"(?:[0-9]*\.[0-9]+|[0-9]+\.)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+][0-9]+")
RANKED = 2  # numbers of an n-best list
_OUTPUT = re.compile(r"\[([^\[\]]*)\]")
_PAUSES = ("sp", "sil")
_MOST_PAUSES = 0.9  # of the pronunciations; no phone of a language ends so many


def check_separators(rows: list[Row], path):
    """Raise a UserError where commas or the like separate what blanks should, which would make a word of both.

    Args:
        rows: the lines, not empty; their numbers have not been taken yet.
        path: of the file, for messages.
    """
    n = rows[0][0]
    for mark in ",;|:":
        if len(rows) > 1 and all(word.strip(mark).count(mark) for _, word, _ in rows):
            raise UserError(f"`{mark}` stands within the first field of each line, such as {rows[0][1]}", file=path,
                            line=n, hint="separate word and phones by blanks or tabs")
    for begin, end in ("//", "[]"):
        if all(rest and rest[0][0] == begin and rest[-1][-1] == end for _, _, rest in rows) and any(
                len(rest) > 1 and rest[0][-1] != end for _, _, rest in rows):  # else phones are named so, as [a] may be
            raise UserError(f"each pronunciation stands between {begin} and {end}", file=path, line=n,
                            hint="leave these marks out, they would be parts of phones")


def take_output_symbols(rows: list[Row], path) -> int:
    """Take HTK's ``[output symbol]`` off the rows, and the backslash before a quotation mark that begins a word.

    A file has such symbols if one is its own word, in whatever letter case, or empty; phones come after it.

    Returns:
        how many there were.

    Raises:
        UserError: a word between quotation marks has a blank in it; with its line of the file ``path``.
    """
    def output(rest: list[str]):
        return _OUTPUT.fullmatch(rest[0]) if len(rest) > 1 else None

    if not any((found := output(rest)) and found[1].casefold() in (word.strip("\\").casefold(), "")
               for _, word, rest in rows):
        return 0
    taken = 0
    for i, (n, word, rest) in enumerate(rows):
        if output(rest):
            taken += 1
            del rest[0]
        elif word[0] == '"' and (end := next((k for k, x in enumerate(rest) if x[-1] == '"'), None)) is not None:
            raise UserError(f"the word {' '.join((word, *rest[:end + 1]))} has a blank in it", file=path, line=n,
                            hint="write it without, such as with _ in its place, here and in the texts")
        if word[:1] == "\\" and word[1:2] in ("'", '"'):
            rows[i] = n, word[1:], rest
    return taken


def take_short_pauses(rows: list[Row]) -> int:
    """Take the phone ``sp`` or ``sil`` off the ends of pronunciations, if hardly any lacks it.

    Returns:
        how many had it.
    """
    ends = [rest for _, _, rest in rows if len(rest) > 1 and rest[-1] in _PAUSES]
    if len(ends) < _MOST_PAUSES * sum(len(rest) > 1 for _, _, rest in rows):
        return 0
    for rest in ends:
        rest.pop()
    return len(ends)


def count_numbers(rows: list[Row], optional: bool = False) -> int:
    """How many numbers stand between word and phones: 4, 2 (rank and probability), 1 or 0.

    Args:
        optional: a line may lack the one that others have.
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
    whole = len(rows) > 1 and set(first) == {"1"}  # each has the probability 1, without a point
    return int(whole or all(number(x) is not None for x in first) and any(map(DECIMAL.fullmatch, first)))


def take_probability(word: str, rest: list[str], numbers: int, path, n: int, optional: bool = False) -> float:
    """The probability of a row, taken off ``rest`` with the other numbers; 1 where there is none.

    Args:
        numbers: of :func:`count_numbers`.
        path, n: file and line, for messages.
        optional: a line may also have none.

    Raises:
        UserError: another count of numbers, or none in (0, 1].
    """
    if numbers == 0 or optional and numbers == 1 and rest and number(rest[0]) is None:
        return 1.0
    if numbers == 4:
        found = next((i for i, x in enumerate(rest) if not DECIMAL.fullmatch(x)), len(rest))
        found = 4 if found < 4 < len(rest) and all(number(x) is not None for x in rest[:4]) else found
        if found not in (0, 1, 4):
            raise UserError(f"{found} numbers after the word {word}", file=path, line=n,
                            hint="write the probability, and all three numbers about silence or none")
        if found == 0:
            return 1.0
        prob, rest[:] = rest[0], rest[found:]
    else:
        prob = rest[numbers - 1] if len(rest) >= numbers else ""
        del rest[:numbers]
    value = number(prob)
    if value is None or not 0 < value <= 1:
        raise UserError(f"expected a pronunciation probability in (0, 1], found {prob or 'nothing'}", file=path, line=n,
                        hint="give every line a probability or none")
    return value
