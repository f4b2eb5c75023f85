"""Writes transcripts as text, CTM, subtitles (SRT) or JSON."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FORMATS = {"text": "", "ctm": "confidences", "srt": "times", "json": "confidences"}  # → what they need besides words
_MAX_SECONDS, _MAX_LETTERS, _MIN_PAUSE = 6.0, 84, 0.8  # limits of a subtitle: two lines of 42 letters


@dataclass(frozen=True)
class Word:
    """A recognized word: begin and end in seconds since the start of the recording, and confidence from 0 to 1."""

    word: str
    begin: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """The transcript of a recording: its name, its length in seconds, and its words in order."""

    name: str
    seconds: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(w.word for w in self.words)


def names(files: list[str]) -> list[str]:
    """Short names of files, unique for each file: without folder and ending if possible, or with parts of the path.

    Blanks are replaced, because they separate columns.
    """
    def forms():
        paths = [Path("stdin" if f == "-" else f) for f in files]
        yield [p.stem for p in paths]
        absolute = [Path(os.path.abspath(p)) for p in paths]
        root = os.path.commonpath([p.parent for p in absolute])
        within = [p.relative_to(root) for p in absolute]
        yield [str(p.with_suffix("")) for p in within]
        yield [str(p) for p in within]
        yield [f"{n}-{p}" for n, p in enumerate(within, 1)]

    different = len(set(files))
    return next(named for form in forms() if len(set(named := ["_".join(n.split()) or "-" for n in form])) >= different)


def write(transcript: Transcript, form: str, name: str | None = None) -> str:
    """Format a transcript as one of FORMATS, with a line feed at its end unless it is empty.

    Args:
        transcript: the transcript.
        form: text, ctm, srt or json.
        name: name of the recording in a CTM, and before its words in a text. None: a CTM has the name of the file, a
            text has no name.
    """
    if form == "text":
        return f"{name} {transcript.text}".rstrip() + "\n" if name else transcript.text + "\n"
    if form == "ctm":
        return _ctm(transcript, name or names([transcript.name])[0])
    return {"srt": _srt, "json": _json}[form](transcript)


def _ctm(t: Transcript, name: str) -> str:
    return "".join(f"{name} 1 {w.begin:.2f} {w.end - w.begin:.2f} {w.word} {w.confidence:.3f}\n" for w in t.words)


def _json(t: Transcript) -> str:
    rounded = [{k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(w).items()} for w in t.words]
    return json.dumps({"name": t.name, "seconds": round(t.seconds, 3), "text": t.text, "words": rounded},
                      ensure_ascii=False) + "\n"


def _srt(t: Transcript) -> str:
    blocks = [f"{n}\n{_clock(words[0].begin)} --> {_clock(words[-1].end)}\n{' '.join(w.word for w in words)}\n"
              for n, words in enumerate(subtitles(t.words), 1)]
    return "\n".join(blocks)


def subtitles(words: tuple[Word, ...]) -> list[list[Word]]:
    """Group words into subtitles with limited letters and duration, none of which spans a pause."""
    out: list[list[Word]] = []
    for w in words:
        line = out[-1] if out else None
        if line and w.begin - line[-1].end < _MIN_PAUSE and w.end - line[0].begin <= _MAX_SECONDS and (
                sum(len(x.word) + 1 for x in line) + len(w.word) <= _MAX_LETTERS):
            line.append(w)
        else:
            out.append([w])
    return out


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
