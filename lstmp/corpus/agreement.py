"""Whether the tables of a data directory agree with each other; each fault is a UserError that names file and line."""

from pathlib import Path

from lstmp.corpus.textlines import composed
from lstmp.errors import UserError


def same_utterances(path: Path, tables: dict[str, dict[str, str]]):
    """Every table lists the same utterances; the first that one has and another lacks is named with its line."""
    lacks = {"wav.scp": "no audio", "text": "no transcript", "utt2spk": "no speaker", "segments": "no segment"}
    for name, table in tables.items():
        for other, others in tables.items():
            missing = [number for number, utt in enumerate(table, 1) if utt not in others]
            if missing:
                utt = list(table)[missing[0] - 1]
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                alike = composed(utt) in map(composed, others)
                raise UserError(f"`{utt}`{more} has {lacks[other]}: it is not in {other}", file=path / name,
                                line=missing[0], hint="there its letters are composed in another way; write it with "
                                "the same bytes" if alike else f"add it to {other} or delete this line")


def check_spk2utt(path: Path, found: dict[str, str], expected: dict[str, list[str]]):
    """``spk2utt``, as ``found``, says what ``utt2spk`` does."""
    hint = "delete it and run stage 1 again; utt2spk is what counts"
    for number, (speaker, utts) in enumerate(found.items(), 1):
        if speaker not in expected:
            raise UserError(f"speaker `{speaker}` is not in utt2spk", file=path, line=number, hint=hint)
        if sorted(utts.split()) != expected[speaker]:
            raise UserError(f"the utterances of speaker `{speaker}` differ from utt2spk's", file=path, line=number,
                            hint=hint)
    missing = sorted(set(expected) - set(found))
    if missing:
        raise UserError(f"speaker `{missing[0]}` of utt2spk is missing", file=path, hint=hint)


def durations_of(path: Path, table: dict[str, str], utts) -> dict[str, float]:
    """Seconds of each of ``utts``, from the table ``utt2dur``."""
    durations = {}
    for number, (utt, text) in enumerate(table.items(), 1):
        try:
            seconds = float(text)
        except ValueError:
            seconds = float("nan")
        if not 0 < seconds < float("inf"):
            raise UserError(f"`{text}` is not a duration in seconds", file=path, line=number, hint="run stage 1 again")
        durations[utt] = seconds
    missing = [u for u in utts if u not in durations]
    if missing or len(durations) > len(utts):
        odd = missing[0] if missing else next(u for u in durations if u not in utts)
        raise UserError(f"`{odd}` is in one of utt2dur and utt2spk only", file=path, hint="run stage 1 again")
    return durations
