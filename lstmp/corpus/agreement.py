"""Checks that the tables of a data directory agree. Each error is a UserError that names the file and the line."""

import os
from pathlib import Path

from lstmp.corpus.textlines import composed, number
from lstmp.errors import UserError


def check_same_utterances(path: Path, tables: dict[str, dict[str, str]]):
    """Check that every table lists the same utterances.

    Raises:
        UserError: an utterance is in one table but not in another; names the first such utterance and its line.
    """
    missing_part = {"wav.scp": "no audio", "text": "no transcript", "utt2spk": "no speaker", "segments": "no segment"}
    for name, table in tables.items():
        for other, others in tables.items():
            missing = [n for n, utt in enumerate(table, 1) if utt not in others]
            if missing:
                utt = list(table)[missing[0] - 1]
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise UserError(f"`{utt}`{more} has {missing_part[other]}: it is not in {other}", file=path / name,
                                line=missing[0], hint=_other_spelling(utt, others) or
                                f"add it to {other} or delete this line")


def _other_spelling(utt: str, others) -> str | None:
    """A hint for the user if ``others`` contain the id in a different spelling; None if they do not."""
    if composed(utt) in map(composed, others):
        return "there it uses another Unicode normalization form; write it with the same bytes"
    for other in others:
        if other.casefold() == utt.casefold():
            return f"there it is `{other}`; use the same letter case"
        if utt in (os.path.splitext(other)[0], os.path.splitext(os.path.basename(other))[0]):
            return f"there it is `{other}`; write it without the file extension"
    return None


def check_spk2utt(path: Path, spk2utt: dict[str, str], expected: dict[str, list[str]]):
    """Check the table ``spk2utt`` against ``expected``: speaker → sorted utterances, made from ``utt2spk``.

    Raises:
        UserError: they disagree; names the line.
    """
    hint = "delete it and run stage 1 again; it is made from utt2spk"
    for n, (speaker, utts) in enumerate(spk2utt.items(), 1):
        if speaker not in expected:
            raise UserError(f"speaker `{speaker}` is not in utt2spk", file=path, line=n, hint=hint)
        if sorted(utts.split()) != expected[speaker]:
            raise UserError(f"the utterances of speaker `{speaker}` differ from utt2spk's", file=path, line=n,
                            hint=hint)
    missing = sorted(set(expected) - set(spk2utt))
    if missing:
        raise UserError(f"speaker `{missing[0]}` of utt2spk is missing", file=path, hint=hint)


def parse_durations(path: Path, table: dict[str, str], utts) -> dict[str, float]:
    """Parse the table ``utt2dur``: utterance → seconds.

    Raises:
        UserError: a value is not a duration, or the table does not list exactly ``utts``.
    """
    durations = {}
    for n, (utt, text) in enumerate(table.items(), 1):
        seconds = number(text)
        if not seconds or not 0 < seconds < float("inf"):
            raise UserError(f"`{text}` is not a duration in seconds", file=path, line=n, hint="run stage 1 again")
        durations[utt] = seconds
    missing = [u for u in utts if u not in durations]
    if missing or len(durations) > len(utts):
        unmatched = missing[0] if missing else next(u for u in durations if u not in utts)
        raise UserError(f"`{unmatched}` is in one of utt2dur and utt2spk only", file=path, hint="run stage 1 again")
    return durations
