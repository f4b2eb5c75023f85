"""Kaldi data directories: who said what, and in which file. Read with every check, written sorted and whole.

A data directory holds ``wav.scp`` (utterance, path), ``text`` (utterance, words), ``utt2spk`` (utterance, speaker),
``spk2utt`` (speaker, utterances) and ``utt2dur`` (utterance, seconds). Every file is sorted by its first column in
the C locale's order, which is Python's order of strings. Unlike Kaldi's, ``wav.scp`` names files only, no pipes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from lstmp import config
from lstmp.corpus import ids
from lstmp.errors import UserError

SORT = "sort it with `LC_ALL=C sort -u`"
# What a line of each file must hold after its first column: (number of fields or None for any, in words).
FORMS = {
    "wav.scp": (None, "`utterance path`"),
    "text": (None, "`utterance word word …`"),
    "utt2spk": (1, "`utterance speaker`"),
    "spk2utt": (None, "`speaker utterance utterance …`"),
    "utt2dur": (1, "`utterance seconds`"),
}


@dataclass(frozen=True)
class Utterance:
    """One utterance: its id, its speaker (the unit of CMVN and adaptation), its audio file and its words."""

    id: str
    speaker: str
    wav: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class DataDir:
    """A validated data directory.

    Attributes:
        path: the directory.
        utts: utterance id → :class:`Utterance`, sorted by id.
        speakers: speaker → its utterance ids, both sorted.
        durations: utterance id → seconds, from ``utt2dur``; empty where that file is absent.
    """

    path: Path
    utts: dict[str, Utterance]
    speakers: dict[str, list[str]]
    durations: dict[str, float] = field(default_factory=dict)


def read_lines(path) -> list[str]:
    """The lines of a UTF-8 text file without their ends; what is not UTF-8 is named with its line.

    Raises:
        UserError: no such file, not UTF-8, a byte order mark.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, mend="run the stage that makes it, or check the path")
    raw = path.read_bytes()
    if raw.startswith(b"\xef\xbb\xbf"):
        raise UserError("begins with a byte order mark", file=path, line=1, mend="save it as UTF-8 without one")
    lines = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8").rstrip("\r"))
        except UnicodeDecodeError:
            raise UserError("not UTF-8 text", file=path, line=number,
                            mend="convert the file, such as by `iconv -f latin1 -t utf-8`") from None
    if lines[-1] == "":
        lines.pop()
    return lines


def read_table(path) -> dict[str, str]:
    """Read a Kaldi table: first column → the rest of the line, spaces at its ends removed.

    Raises:
        UserError: not UTF-8, a blank line, a line of one field, an id given twice, lines not sorted; with its line.
    """
    path = Path(path)
    fields, form = FORMS.get(path.name, (None, "an id and its value"))
    table, previous = {}, ""
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split(maxsplit=1)
        if not parts:
            raise UserError("blank line", file=path, line=number, mend="delete it")
        key, rest = parts[0], parts[1].strip() if len(parts) == 2 else ""
        if line[0].isspace():
            raise UserError("the line begins with a space", file=path, line=number, mend="delete the space")
        if not rest:
            empty = "has an empty transcript" if path.name == "text" else "has nothing after it"
            raise UserError(f"`{key}` {empty}", file=path, line=number,
                            mend=f"a line is {form}; complete it, or delete it here and in the files beside it")
        if fields is not None and len(rest.split()) != fields:
            raise UserError(f"{1 + len(rest.split())} fields, not {1 + fields}", file=path, line=number,
                            mend=f"a line is {form}")
        if key in table:
            raise UserError(f"`{key}` is given twice", file=path, line=number, mend="delete one of the two lines")
        if key < previous:
            raise UserError(f"not sorted, `{key}` comes after `{previous}`", file=path, line=number, mend=SORT)
        table[key] = rest
        previous = key
    if not table:
        raise UserError("the file is empty", file=path, mend="make it again, or leave this set out")
    return table


def read_data_dir(path, *, need=("wav.scp", "text", "utt2spk")) -> DataDir:
    """Read and validate a data directory. The audio itself is not opened; ``lstmp.corpus.validate`` does that.

    Args:
        path: the directory.
        need: the files that must be there. Another of the three is read where it is there; without ``text`` an
            utterance has no words, without ``utt2spk`` each utterance is its own speaker.

    Raises:
        UserError: a file is missing or malformed, two files do not list the same utterances, or an id can be none.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError("no such data directory", file=path, mend="run stage 1, or check the path")
    if (path / "segments").exists():
        raise UserError("segments of longer recordings are not read", file=path / "segments",
                        mend="cut the recordings into one file per utterance and delete this file")
    tables = {name: read_table(path / name) for name in ("wav.scp", "text", "utt2spk")
              if name in need or (path / name).exists()}
    if not tables:
        raise UserError("neither wav.scp, text nor utt2spk is here", file=path, mend="run stage 1, or check the path")
    for name, table in tables.items():
        _check_ids(path / name, table)
        if name == "utt2spk":
            _check_ids(path / name, table.values())
    _same_utterances(path, tables)
    wavs, texts, speakers = (tables.get(name, {}) for name in ("wav.scp", "text", "utt2spk"))
    for number, wav in enumerate(wavs.values(), 1):
        if wav.endswith("|"):
            raise UserError("a pipe in place of a path", file=path / "wav.scp", line=number,
                            mend="write the pipe's output to a file and name that file")
    first = next(iter(tables.values()))
    utts = {u: Utterance(u, speakers.get(u, u), wavs.get(u, ""), tuple(texts.get(u, "").split())) for u in first}
    spk2utt = by_speaker(utts.values())
    if (path / "spk2utt").exists():
        _check_spk2utt(path / "spk2utt", spk2utt)
    return DataDir(path, utts, spk2utt, _read_durations(path / "utt2dur", utts))


def write_data_dir(path, utts: Iterable[Utterance], durations: dict[str, float] | None = None):
    """Write ``wav.scp``, ``text``, ``utt2spk`` and ``spk2utt``, and with ``durations`` (seconds) ``utt2dur``.

    Each file is written under a temporary name and renamed; ``utt2spk``, which every reader needs, comes last.

    Raises:
        UserError: no utterance, an id twice, an id or speaker that can be none (:mod:`lstmp.corpus.ids`), an utterance
            without words or audio.
    """
    path = Path(path)
    ordered = sorted(utts, key=lambda u: u.id)
    if not ordered:
        raise UserError("no utterance to write", file=path, mend="check the corpus that it is made from")
    for u in ordered:
        for name in (u.id, u.speaker):
            if why := ids.why_not(name):
                raise UserError(f"utterance or speaker {name[:60]!r} of `{u.wav}` {why}", file=path, mend="rename it")
        if not u.words:
            raise UserError(f"`{u.id}` has an empty transcript", file=path, mend="give it one or leave it out")
        if not u.wav:
            raise UserError(f"`{u.id}` has no audio", file=path, mend="give it a file or leave it out")
    for first, second in pairwise(ordered):
        if first.id == second.id:
            raise UserError(f"`{first.id}` is given twice: {first.wav} and {second.wav}", file=path, mend="rename one")
    write_table(path / "wav.scp", {u.id: u.wav for u in ordered})
    write_table(path / "text", {u.id: " ".join(u.words) for u in ordered})
    if durations is not None:
        write_table(path / "utt2dur", {u.id: f"{durations[u.id]:.3f}" for u in ordered})
    write_table(path / "spk2utt", {s: " ".join(ids) for s, ids in by_speaker(ordered).items()})
    write_table(path / "utt2spk", {u.id: u.speaker for u in ordered})


def write_table(path, table: dict[str, str]):
    """Write ``key value`` lines sorted by key, by a temporary name and a rename."""
    config.write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table)))


def by_speaker(utts: Iterable[Utterance]) -> dict[str, list[str]]:
    """Speaker → utterance ids, both sorted."""
    speakers: dict[str, list[str]] = {}
    for u in utts:
        speakers.setdefault(u.speaker, []).append(u.id)
    return {s: sorted(speakers[s]) for s in sorted(speakers)}


def _check_ids(path: Path, names: Iterable[str]):
    for number, name in enumerate(names, 1):
        if why := ids.why_not(name):
            raise UserError(f"the id {name[:60]!r} {why}", file=path, line=number, mend="rename it in all files")


def _same_utterances(path: Path, tables: dict[str, dict[str, str]]):
    """Every table lists the same utterances; the first that one has and another lacks is named with its line."""
    lacks = {"wav.scp": "no audio", "text": "no transcript", "utt2spk": "no speaker"}
    for name, table in tables.items():
        for other, others in tables.items():
            missing = [number for number, utt in enumerate(table, 1) if utt not in others]
            if missing:
                utt = list(table)[missing[0] - 1]
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise UserError(f"`{utt}`{more} has {lacks[other]}: it is not in {other}", file=path / name,
                                line=missing[0], mend=f"add it to {other} or delete this line")


def _check_spk2utt(path: Path, expected: dict[str, list[str]]):
    mend = "delete it and run stage 1 again; utt2spk is what counts"
    found = read_table(path)
    for number, (speaker, utts) in enumerate(found.items(), 1):
        if speaker not in expected:
            raise UserError(f"speaker `{speaker}` is not in utt2spk", file=path, line=number, mend=mend)
        if sorted(utts.split()) != expected[speaker]:
            raise UserError(f"the utterances of speaker `{speaker}` differ from utt2spk's", file=path, line=number,
                            mend=mend)
    missing = sorted(set(expected) - set(found))
    if missing:
        raise UserError(f"speaker `{missing[0]}` of utt2spk is missing", file=path, mend=mend)


def _read_durations(path: Path, utts) -> dict[str, float]:
    if not path.exists():
        return {}
    durations = {}
    for number, (utt, text) in enumerate(read_table(path).items(), 1):
        try:
            seconds = float(text)
        except ValueError:
            seconds = float("nan")
        if not 0 < seconds < float("inf"):
            raise UserError(f"`{text}` is not a duration in seconds", file=path, line=number, mend="run stage 1 again")
        durations[utt] = seconds
    missing = [u for u in utts if u not in durations]
    if missing or len(durations) > len(utts):
        odd = missing[0] if missing else next(u for u in durations if u not in utts)
        raise UserError(f"`{odd}` is in one of utt2dur and utt2spk only", file=path, mend="run stage 1 again")
    return durations
