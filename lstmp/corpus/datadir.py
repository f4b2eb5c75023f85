"""Reads, validates and writes Kaldi data directories.

A data directory holds ``wav.scp`` (utterance, path), ``text`` (utterance, words), ``utt2spk`` (utterance, speaker),
``spk2utt`` (speaker, utterances) and ``utt2dur`` (utterance, seconds). Every file is sorted by its first column in
the C locale's order, which is Python's order of strings. If utterances are parts of longer recordings, ``segments``
(utterance, recording, begin, end) lists them, and the first column of ``wav.scp`` is the recording.

A relative path in ``wav.scp`` is resolved against the current folder, as in Kaldi, or, if there is no such file,
against the data directory. An entry may be a command that ends in ``|``; :mod:`lstmp.corpus.utterance_audio` runs it if
that is allowed.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from lstmp import config
from lstmp.corpus import ids
from lstmp.corpus.agreement import check_same_utterances, check_spk2utt, parse_durations
from lstmp.corpus.segments import Segment, parse_channels, parse_segments
from lstmp.corpus.textlines import columns, composed, numbered_lines, odd_characters
from lstmp.errors import UserError

SORT = "sort it with `LC_ALL=C sort -u`"
# What each line must contain after its first column: (number of fields or None for any, form of a line).
FORMS = {
    "wav.scp": (None, "`utterance path`"),
    "text": (None, "`utterance word word …`"),
    "utt2spk": (1, "`utterance speaker`"),
    "spk2utt": (None, "`speaker utterance utterance …`"),
    "utt2dur": (1, "`utterance seconds`"),
}

AUDIO = ("wav.scp", "utt2spk", "segments", "reco2file_and_channel")  # tables of audio files and speakers
TABLES = (*AUDIO, "text", "spk2utt", "utt2dur")


@dataclass(frozen=True)
class Utterance:
    """One utterance.

    Attributes:
        id: utterance id.
        speaker: speaker id, the unit of CMVN and adaptation.
        wav: audio file, or a command that ends in ``|``.
        words: the transcript.
        segment: which part of the audio the utterance is; None: all of it.
        channel: channel of the audio, from 0; None: the audio is mono.
    """

    id: str
    speaker: str
    wav: str
    words: tuple[str, ...]
    segment: Segment | None = None
    channel: int | None = None

    @property
    def recording(self) -> str:
        """Recording id: the key of the utterance's audio in ``wav.scp``."""
        return self.segment.recording if self.segment else self.id


@dataclass(frozen=True)
class DataDir:
    """A validated data directory.

    Attributes:
        path: the directory.
        utts: utterance id → :class:`Utterance`, sorted by id.
        speakers: speaker → utterance ids, both sorted.
        durations: utterance id → seconds, from ``utt2dur``; empty if there is no such file.
    """

    path: Path
    utts: dict[str, Utterance]
    speakers: dict[str, list[str]]
    durations: dict[str, float] = field(default_factory=dict)


def read_lines(path) -> list[str]:
    """Read the lines of a text file without Unicode normalization, since ids and paths are compared byte by byte.

    Raises:
        UserError: see :func:`lstmp.corpus.textlines.numbered_lines`.
    """
    return [line for _, line in numbered_lines(path, compose=False)]


def read_table(path) -> dict[str, str]:
    """Read a Kaldi table: first column → the rest of the line, stripped.

    In ``text``, white space between words becomes one space, and words are normalized to Unicode's NFC.

    Raises:
        UserError: the file is not UTF-8 or not sorted, a line is blank or has one field only, or an id contains an
            invisible character or occurs twice. The error names the line.
    """
    path = Path(path)
    fields, line_form = FORMS.get(path.name, (None, "an id and its value"))
    table, previous = {}, ""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            raise UserError("blank line", file=path, line=number, hint="delete it")
        if line[0].isspace():
            raise UserError("the line begins with a space", file=path, line=number, hint="delete the space")
        key = columns(line)[0]
        if odd := odd_characters([key]):
            raise UserError(f"the id `{key}` has {odd[0]} in it", file=path, line=number,
                            hint="write a space after the id, and remove invisible characters")
        rest = line[len(key):].strip()
        if path.name == "text":
            rest = " ".join(composed(rest).split())
        if not rest:
            empty = "has an empty transcript" if path.name == "text" else "has nothing after it"
            raise UserError(f"`{key}` {empty}", file=path, line=number,
                            hint=f"a line is {line_form}; complete it, or delete it here and in the other tables")
        if fields is not None and len(rest.split()) != fields:
            raise UserError(f"{1 + len(rest.split())} fields, not {1 + fields}", file=path, line=number,
                            hint=f"a line is {line_form}")
        if key in table:
            raise UserError(f"`{key}` is given twice", file=path, line=number, hint="delete one of the two lines")
        if key < previous:
            raise UserError(f"not sorted, `{key}` comes after `{previous}`", file=path, line=number, hint=SORT)
        table[key] = rest
        previous = key
    if not table:
        raise UserError("the file is empty", file=path, hint="make it again, or leave this set out")
    return table


def read_data_dir(path, *, need=("wav.scp", "text", "utt2spk")) -> DataDir:
    """Read and validate a data directory. The audio itself is not opened; ``lstmp.corpus.validate`` does that.

    Args:
        path: the directory.
        need: the tables that must exist. The others of these three are read if they exist; without ``text`` utterances
            have no words, without ``utt2spk`` each utterance is its own speaker.

    Raises:
        UserError: a table is missing or malformed, tables do not list the same utterances, or an id is not allowed.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError("no such data directory", file=path, hint="run stage 1, or check the path")
    tables: dict[str, dict] = {name: read_table(path / name) for name in ("wav.scp", "text", "utt2spk")
                               if name in need or (path / name).exists()}
    if not tables:
        raise UserError("no wav.scp, text or utt2spk in it", file=path, hint="run stage 1, or check the path")
    wavs = tables.get("wav.scp", {})
    segments, channels = {}, {}
    if (table := path / "segments").exists():
        segments = tables["segments"] = parse_segments(table, read_table(table), wavs)
        tables.pop("wav.scp", None)
    if (table := path / "reco2file_and_channel").exists():
        channels = parse_channels(table, read_table(table))
    for name, table in tables.items():
        _check_ids(path / name, table)
        if name == "utt2spk":
            _check_ids(path / name, table.values())
    check_same_utterances(path, tables)
    texts, speakers = (tables.get(name, {}) for name in ("text", "utt2spk"))
    wavs = {recording: _resolve(wav, path) for recording, wav in wavs.items()}
    utts = {}
    for u in next(iter(tables.values())):
        part = segments.get(u)
        channel = part.channel if part and part.channel is not None else channels.get(part.recording if part else u)
        wav = wavs.get(part.recording if part else u, "")
        utts[u] = Utterance(u, speakers.get(u, u), wav, tuple(texts.get(u, "").split()), part, channel)
    spk2utt = by_speaker(utts.values())
    if (table := path / "spk2utt").exists():
        check_spk2utt(table, read_table(table), spk2utt)
    durations = parse_durations(table, read_table(table), utts) if (table := path / "utt2dur").exists() else {}
    return DataDir(path, utts, spk2utt, durations)


def _resolve(wav: str, folder: Path) -> str:
    """Resolve a relative path of ``wav.scp``; commands and absolute paths are returned unchanged."""
    if wav.endswith("|") or os.path.isabs(wav):
        return wav
    path, _, offset = wav.rpartition(":")  # `archive:offset`
    for name in (wav, path if offset.isdigit() else ""):
        if name and (os.path.exists(name) or os.path.exists(folder / name)):
            return wav if os.path.exists(name) else str(folder / wav)
    return wav


def write_data_dir(path, utts: Iterable[Utterance], durations: dict[str, float] | None = None):
    """Write ``wav.scp``, ``text``, ``utt2spk`` and ``spk2utt``, and with ``durations`` (seconds) ``utt2dur``.

    ``segments`` and ``reco2file_and_channel`` are written if utterances have segments and channels, otherwise removed.
    Each file is replaced atomically. ``utt2spk``, which every reader needs, is written last.

    Raises:
        UserError: there is no utterance, an id occurs twice, an id or speaker is not allowed (:mod:`lstmp.corpus.ids`),
            or an utterance has no words, or no audio although others have some.
    """
    path = Path(path)
    ordered = sorted(utts, key=lambda u: u.id)
    if not ordered:
        raise UserError("no utterance to write", file=path, hint="check the corpus that it is prepared from")
    for u in ordered:
        for name in (u.id, u.speaker):
            if why := ids.id_error(name):
                raise UserError(f"utterance or speaker {name[:60]!r} of `{u.wav}` {why}", file=path, hint="rename it")
        if not u.words:
            raise UserError(f"`{u.id}` has an empty transcript", file=path, hint="give it one or leave it out")
        if not u.wav and any(other.wav for other in ordered):
            raise UserError(f"`{u.id}` has no audio", file=path, hint="give it a file or leave it out")
    for first, second in pairwise(ordered):
        if first.id == second.id:
            raise UserError(f"`{first.id}` is given twice: {first.wav} and {second.wav}", file=path, hint="rename one")
    _write_audio(path, ordered)
    write_table(path / "text", {u.id: " ".join(u.words) for u in ordered})
    if durations is not None:
        write_table(path / "utt2dur", {u.id: f"{durations[u.id]:.3f}" for u in ordered})
    write_table(path / "spk2utt", {s: " ".join(ids) for s, ids in by_speaker(ordered).items()})
    write_table(path / "utt2spk", {u.id: u.speaker for u in ordered})


def _write_audio(path: Path, utts: list[Utterance]):
    """Write wav.scp and, if needed, segments or reco2file_and_channel; none of them if no utterance has audio."""
    wavs, segments, channels = path / "wav.scp", path / "segments", path / "reco2file_and_channel"
    if not any(u.wav for u in utts):
        for table in (wavs, segments, channels):
            table.unlink(missing_ok=True)
        return
    write_table(wavs, {u.recording: u.wav for u in utts})
    if any(u.segment for u in utts):
        parts = {u.id: u.segment or Segment(u.id, 0.0, None, None) for u in utts}
        write_table(segments, {u.id: f"{(s := parts[u.id]).recording} {s.begin!r} {-1 if s.end is None else s.end!r}"
                                     + ("" if u.channel is None else f" {u.channel}") for u in utts})
        channels.unlink(missing_ok=True)
        return
    segments.unlink(missing_ok=True)
    if any(u.channel is not None for u in utts):
        write_table(channels, {u.id: f"{u.id} {1 + (u.channel or 0)}" for u in utts})
    else:
        channels.unlink(missing_ok=True)


def existing_tables(path) -> list[Path]:
    """List the tables that exist in a data directory."""
    return [table for name in TABLES if (table := Path(path) / name).is_file()]


def copy_tables(data: DataDir, out) -> list[Path]:
    """Copy the tables to the folder ``out`` and return the copies; [] if ``out`` is the data directory itself."""
    out, tables = Path(out), existing_tables(data.path)
    if out.resolve() == data.path.resolve():
        return []
    for table in tables:
        if table.name == "wav.scp":  # its paths may be relative to the data directory
            write_table(out / table.name, {u.recording: u.wav for u in data.utts.values()})
        else:
            config.copy_file(table, out / table.name)
    return [out / table.name for table in tables]


def write_table(path, table: dict[str, str]):
    """Write ``key value`` lines sorted by key. The file is replaced atomically."""
    config.write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table)))


def by_speaker(utts: Iterable[Utterance]) -> dict[str, list[str]]:
    """Speaker → utterance ids, both sorted."""
    speakers: dict[str, list[str]] = {}
    for u in utts:
        speakers.setdefault(u.speaker, []).append(u.id)
    return {s: sorted(speakers[s]) for s in sorted(speakers)}


def _check_ids(path: Path, names: Iterable[str]):
    for number, name in enumerate(names, 1):
        if why := ids.id_error(name):
            raise UserError(f"the id {name[:60]!r} {why}", file=path, line=number, hint="rename it in all files")
