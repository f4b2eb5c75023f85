"""One bad utterance among thousands is reported, counted and left out; too many are fatal."""

import argparse

from lstmp.errors import UserError
from lstmp.log import say, warn

SHOWN = 20  # warnings printed in full; the rest are counted


class BadUtterances:
    """Collects bad utterances of one set.

    Args:
        where: the set or directory, for the messages.
        max_bad: a fraction of all utterances (below 1), of which at least one utterance is allowed unless it is 0;
            or a count (1 and above).
    """

    def __init__(self, where, max_bad: float):
        self.where, self.max_bad = where, max_bad
        self.errors: dict[str, str] = {}

    def __len__(self):
        return len(self.errors)

    def add(self, utt: str, error):
        """Report and count a bad utterance."""
        self.errors[utt] = str(error)
        if len(self.errors) <= SHOWN:
            warn(f"left out {utt}: {error}")

    def check(self, total: int):
        """After the last one: say how many were left out of ``total``, good and bad.

        Raises:
            UserError: more than the limit.
        """
        if not self.errors:
            return
        allowed = self.max_bad if self.max_bad >= 1 or self.max_bad == 0 else max(1, int(self.max_bad * total))
        first = next(iter(self.errors.values()))
        if len(self.errors) > allowed:
            raise UserError(f"{len(self.errors)} of {total} utterances are bad, more than {allowed:g}; the first: "
                            f"{first}", file=self.where, hint="mend them, or raise --max-bad")
        say(f"{self.where}: left out {len(self.errors)} of {total} utterances")


def limit(text: str) -> float:
    """For argparse: ``0.01`` or ``1%`` is a fraction, ``5`` a count."""
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
    parser.add_argument("--max-bad", type=limit, default=0.01, metavar="N|F",
                        help="bad utterances that are reported and left out before it is fatal: a count, or a "
                             "fraction of the set such as 0.01 or 1%% (then at least one; default: 1%%)")
