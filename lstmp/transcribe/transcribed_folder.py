"""Finds the recordings and transcripts in a folder that is laid out as is usual for forced aligners.

The transcript of ``a.wav`` is ``a.txt`` or ``a.lab``, in the same folder or subfolder. The recordings of a subfolder
are from one speaker; each recording in the folder itself has a separate speaker. Files that cannot be used are left
out, with the reason.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from lstmp.errors import UserError

# what libsndfile or ffmpeg reads; of two files with the same name, the one whose ending comes first here is taken
AUDIO = (".wav", ".flac", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".wv", ".ogg",
         ".opus", ".oga", ".mp3", ".m4a", ".aac", ".wma", ".amr", ".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm",
         ".avi", ".3gp", ".mp2")
TEXT = (".txt", ".lab")
_MAX_ID = 150  # bytes of an id, which is also used in file names


@dataclass(frozen=True)
class Recording:
    """A recording with its transcript.

    Attributes:
        utt, speaker: ids without blanks, unique for each recording and each speaker of the folder.
        audio: the audio file.
        name: its path relative to the folder, without the ending.
        text: the transcript as read from its file.
    """

    utt: str
    speaker: str
    audio: Path
    name: Path
    text: str


def find_recordings(folder) -> tuple[list[Recording], dict[str, str]]:
    """Find the recordings and transcripts of a folder.

    Returns:
        (the recordings, sorted by name; path relative to the folder → why it is left out)

    Raises:
        UserError: no such folder, or it contains no audio file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError("no such folder", file=folder, hint="give the folder with the recordings and transcripts")
    audio, texts = _files(folder, AUDIO), _files(folder, TEXT)
    if not audio:
        raise UserError("it contains no audio files", file=folder, hint="put recordings (.wav, .mp3 …) and their "
                        "transcripts (.txt) there")
    left_out = {str(path): f"there is no audio file with this name ({path.stem}.wav, or another format)"
                for key in texts.keys() - audio.keys() for path in texts[key]}
    ids, speakers, recordings = _Ids(), _Ids(), []
    for key in sorted(audio):
        path, *others = audio[key]
        left_out |= {str(other): f"{path.name}, which has the same name, is used instead" for other in others}
        if key not in texts:
            left_out[str(path)] = f"it has no transcript ({path.stem}.txt or {path.stem}.lab)"
            continue
        left_out |= {str(other): f"{texts[key][0].name} is used instead" for other in texts[key][1:]}
        try:
            text = read_transcript(folder / texts[key][0])
        except UserError as e:
            left_out[str(path)] = f"its transcript cannot be read: {e.what}; {e.hint}"
            continue
        name = path.with_suffix("")
        utt = ids(str(name), name)
        speaker = speakers(str(path.parent), ("folder", path.parent)) if len(path.parts) > 1 else \
            speakers(utt, ("recording", utt))
        recordings.append(Recording(utt, speaker, folder / path, name, text))
    return recordings, left_out


def read_transcript(path: Path) -> str:
    """Read the text of a file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        UserError: another encoding, or the text contains no letter or digit.
    """
    data = path.read_bytes()
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[:e.start].count(b"\n") + 1
        raise UserError(f"line {line} is not UTF-8 text", file=path, hint="save it as UTF-8") from None
    if not any(c.isalnum() for c in text):
        raise UserError("it contains no words", file=path, hint="write down what is said")
    return text


def _files(folder: Path, endings: tuple[str, ...]) -> dict[tuple[str, str], list[Path]]:
    """Find files: (subfolder, name without ending) → paths relative to ``folder``, in the order of ``endings``."""
    files: dict[tuple[str, str], list[Path]] = {}
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        within = [Path(parent), *(p for p in Path(parent).parents if p.is_relative_to(folder))]
        if len({os.path.realpath(p) for p in within}) < len(within):  # a link to one of its parent folders
            subfolders.clear()
            continue
        subfolders[:] = sorted(d for d in subfolders if not d.startswith("."))
        for name in names:
            path = Path(parent, name).relative_to(folder)
            if path.suffix.lower() in endings and not name.startswith("."):
                files.setdefault((str(path.parent), unicodedata.normalize("NFC", path.stem)), []).append(path)
    for paths in files.values():
        paths.sort(key=lambda p: (endings.index(p.suffix.lower()), p.name))
    return files


class _Ids:
    """Makes unique ids from names; characters that are not allowed in the first column of a table are replaced."""

    def __init__(self):
        self._ids: dict = {}  # key → id
        self._used: set[str] = set()

    def __call__(self, name: str, key) -> str:
        if key not in self._ids:
            plain = re.sub(r"[^\w.+-]", "_", name.replace(os.sep, "-")) or "_"
            plain = plain.encode()[:_MAX_ID].decode(errors="ignore")
            new, n = plain, 1
            while new in self._used:
                new, n = f"{plain}-{n + 1}", n + 1
            self._ids[key] = new
            self._used.add(new)
        return self._ids[key]
