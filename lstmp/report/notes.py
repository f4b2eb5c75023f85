"""What is missing in a report, and why: each note is printed as a warning and shown on the page."""

from lstmp.errors import UserError
from lstmp.log import warn


class Notes:
    """Collects the notes of a report."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Add a note and print it as a warning; the same note is added once."""
        if text not in self.texts:
            self.texts.append(text)
            warn(text)

    def add_failures(self, what: str, reasons: dict[str, str]) -> None:
        """Add one note for all utterances that ``what`` could not be done for: utterance → reason."""
        if reasons:
            self.add(failures(what, reasons))


def failures(what: str, reasons: dict[str, str]) -> str:
    """The note for all utterances that ``what`` could not be done for; ``reasons`` must have one at least."""
    utt, why = min(reasons.items())
    more = f" (and {len(reasons) - 1} more utterance{'s' * (len(reasons) > 2)})" if len(reasons) > 1 else ""
    return f"{what}: {utt}: {why}{more}"


def reason(e: Exception) -> str:
    """The message of an error in input files, for a note."""
    return str(e) if isinstance(e, (UserError, OSError)) else f"{type(e).__name__}: {e}"
