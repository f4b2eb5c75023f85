"""A folder of recordings with their transcripts beside them, as users of forced aligners have it.

``a.wav`` goes with ``a.txt`` or ``a.lab``, in the folder itself or in subfolders; a subfolder is a speaker, and a
recording in the folder itself is one of its own. What cannot be used is left out, with the reason.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from lstmp.errors import UserError

# what libsndfile or ffmpeg reads; of two of one name, the one that stands first here is taken
AUDIO = (".wav", ".flac", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".wv", ".ogg",
         ".opus", ".oga", ".mp3", ".m4a", ".aac", ".wma", ".amr", ".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm",
         ".avi", ".3gp", ".mp2")
TEXT = (".txt", ".lab")
_LONGEST = 150  # bytes of an id, which names files as well


@dataclass(frozen=True)
class Recording:
    """A recording with its transcript.

    Attributes:
        utt, speaker: ids without blanks, each for one recording or speaker of the folder.
        audio: the file.
        name: its path below the folder, without the ending.
        text: the transcript as it was read.
    """

    utt: str
    speaker: str
    audio: Path
    name: Path
    text: str


def look_through(folder) -> tuple[list[Recording], dict[str, str]]:
    """Find recordings and transcripts.

    Returns:
        (the recordings by name; path below the folder → why it is left out)

    Raises:
        UserError: no such folder, or no audio file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError("no such folder", file=folder, hint="give the folder of the recordings and their transcripts")
    audio, texts = _files(folder, AUDIO), _files(folder, TEXT)
    if not audio:
        raise UserError("no audio files in it", file=folder, hint="put recordings (.wav, .mp3 …) and their transcripts "
                        "(.txt) there")
    left_out = {str(path): f"there is no audio file of this name ({path.stem}.wav, or of another kind)"
                for key in texts.keys() - audio.keys() for path in texts[key]}
    ids, speakers, found = _Ids(), _Ids(), []
    for key in sorted(audio):
        path, *others = audio[key]
        left_out |= {str(other): f"{path.name}, of the same name, is taken" for other in others}
        if key not in texts:
            left_out[str(path)] = f"it has no transcript beside it ({path.stem}.txt or {path.stem}.lab)"
            continue
        left_out |= {str(other): f"{texts[key][0].name} is taken" for other in texts[key][1:]}
        try:
            text = read_transcript(folder / texts[key][0])
        except UserError as e:
            left_out[str(path)] = f"its transcript cannot be read: {e.what}; {e.hint}"
            continue
        name = path.with_suffix("")
        utt = ids(str(name), name)
        speaker = speakers(str(path.parent), ("folder", path.parent)) if len(path.parts) > 1 else \
            speakers(utt, ("recording", utt))
        found.append(Recording(utt, speaker, folder / path, name, text))
    return found, left_out


def read_transcript(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        UserError: another encoding, or no letter or digit in it.
    """
    data = path.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[:e.start].count(b"\n") + 1
        raise UserError(f"line {line} is not UTF-8 text", file=path, hint="save it as UTF-8") from None
    if not any(c.isalnum() for c in text):
        raise UserError("there are no words in it", file=path, hint="write down what is said")
    return text


def _files(folder: Path, endings: tuple[str, ...]) -> dict[tuple[str, str], list[Path]]:
    """(subfolder, name without ending) → paths below ``folder``, in the order of ``endings``."""
    found: dict[tuple[str, str], list[Path]] = {}
    for place, below, files in os.walk(folder, followlinks=True):
        within = [Path(place), *(p for p in Path(place).parents if p.is_relative_to(folder))]
        if len({os.path.realpath(p) for p in within}) < len(within):  # a link to a folder that it lies in
            below.clear()
            continue
        below[:] = sorted(d for d in below if not d.startswith("."))
        for file in files:
            path = Path(place, file).relative_to(folder)
            if path.suffix.lower() in endings and not file.startswith("."):
                found.setdefault((str(path.parent), unicodedata.normalize("NFC", path.stem)), []).append(path)
    for paths in found.values():
        paths.sort(key=lambda p: (endings.index(p.suffix.lower()), p.name))
    return found


class _Ids:
    """Ids made from names: what may not stand in the first column of a table is replaced, and none is given twice."""

    def __init__(self):
        self._of: dict = {}
        self._given: set[str] = set()

    def __call__(self, name: str, key) -> str:
        if key not in self._of:
            plain = re.sub(r"[^\w.+-]", "_", name.replace(os.sep, "-")) or "_"
            plain = plain.encode()[:_LONGEST].decode(errors="ignore")
            new, n = plain, 1
            while new in self._given:
                new, n = f"{plain}-{n + 1}", n + 1
            self._of[key] = new
            self._given.add(new)
        return self._of[key]
