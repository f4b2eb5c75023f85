"""Reports utterances that are left out.

Steps that read data from outside have a limit, ``--max-bad``, beyond which they fail (:class:`BadUtterances`); later
ones go on with what they can use (:class:`LeftOut`).
"""

import argparse

from lstmp.errors import UserError
from lstmp.log import say, warn

MAX_SHOWN = 20  # warnings printed in full; further ones are only counted
_NAMED = 5


class LeftOut:
    """Utterances that are left out, however many: the first few are named in a warning each, the others counted.

    Args:
        where: the data set or directory, named in the last warning.

    Attributes:
        first: the first one with its error, for the message of a run that cannot do without them; "" if there is none.
    """

    def __init__(self, where: object):
        self.where, self.first, self._count = where, "", 0

    def __len__(self) -> int:
        return self._count

    def add(self, utt: str, error: object) -> None:
        """Count one utterance."""
        self._count += 1
        self.first = self.first or f"{utt}: {error}"
        if self._count <= _NAMED:
            warn(f"{utt} is left out: {error}")

    def done(self) -> None:
        """After the last utterance, warn of those that were not named."""
        if self._count > _NAMED:
            warn(f"{self._count - _NAMED} more utterances of {self.where} are left out for similar reasons")


class BadUtterances:
    """Collects the bad utterances of one data set.

    Args:
        where: the data set or directory, named in messages.
        max_bad: the number of bad utterances allowed, as a count (1 or more) or as a fraction of all utterances
            (below 1). A fraction above 0 allows at least one utterance.
    """

    def __init__(self, where, max_bad: float):
        self.where, self.max_bad = where, max_bad
        self.errors: dict[str, str] = {}

    def __len__(self):
        return len(self.errors)

    def add(self, utt: str, error):
        """Report and count one bad utterance."""
        self.errors[utt] = str(error)
        if len(self.errors) <= MAX_SHOWN:
            warn(f"left out {utt}: {error}")

    def check(self, total: int):
        """After the last utterance, log how many were left out.

        Args:
            total: number of all utterances, good and bad.

        Raises:
            UserError: there are more bad utterances than allowed.
        """
        if not self.errors:
            return
        allowed = self.max_bad if self.max_bad >= 1 or self.max_bad == 0 else max(1, int(self.max_bad * total))
        first = next(iter(self.errors.values()))
        if len(self.errors) > allowed:
            raise UserError(f"{len(self.errors)} of {total} utterances are bad, more than {allowed:g}; the first: "
                            f"{first}", file=self.where, hint="fix them, or raise --max-bad")
        say(f"{self.where}: left out {len(self.errors)} of {total} utterances")


def parse_limit(text: str) -> float:
    """Parse the value of ``--max-bad`` for argparse: ``0.01`` and ``1%`` are fractions, ``5`` is a count."""
    try:
        if text.endswith("%"):
            if 0 <= float(text[:-1]) < 100:
                return float(text[:-1]) / 100
        elif 0 <= (value := float(text)) < 1 or value.is_integer() and value >= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"`{text}` is neither a count such as 5 nor a fraction such as 1% or 0.01")


def add_option(parser: argparse.ArgumentParser):
    """Add ``--max-bad`` to a command."""
    parser.add_argument("--max-bad", type=parse_limit, default=0.01, metavar="N|F",
                        help="bad utterances to skip with a warning; more of them are an error. A count, or a fraction "
                             "of the set such as 0.01 or 1%%, which allows at least one (default: 1%%)")
