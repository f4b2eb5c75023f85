"""Recognizes files that are not audio, such as archives, pictures, web pages and raw samples, and says what to do."""

from pathlib import Path

from lstmp.corpus.truthful import REFETCH
from lstmp.errors import UserError

_UNPACK, _GIVE_AUDIO = "unpack it first", "give the recording"
_BY_MAGIC = (
    (b"\x1f\x8b", "packed with gzip", "unpack it first: `gunzip`"),
    (b"BZh", "packed with bzip2", "unpack it first: `bunzip2`"), (b"\xfd7zXZ\0", "packed with xz", "unpack it: `unxz`"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first: `unzstd`"), (b"PK\3\4", "a ZIP archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK), (b"Rar!", "a RAR archive", _UNPACK),
    (b"%PDF", "a PDF", _GIVE_AUDIO), (b"\x89PNG", "a picture", _GIVE_AUDIO),
    (b"\xff\xd8\xff", "a picture", _GIVE_AUDIO), (b"GIF8", "a picture", _GIVE_AUDIO),
    (b"MThd", "MIDI: notes, no sound", _GIVE_AUDIO), (b"\x7fELF", "a program", _GIVE_AUDIO),
    (b"\x93NUMPY", "an array of NumPy", "make a WAV file of it"),
    (b"\0\5\x16\7", "a macOS metadata file (`._` before the name)", "leave it out"))
_RAW = {".vox": "-t vox -r 8000", ".ulaw": "-t ul -r 8000", ".ul": "-t ul -r 8000", ".alaw": "-t al -r 8000",
        ".al": "-t al -r 8000"}  # options for sox
_PCM = (".raw", ".pcm", ".sw", ".s16", ".s16le")  # 16-bit samples


def describe_non_audio(path: Path, start: bytes) -> UserError | None:
    """Describe a file that no audio decoder can read; None if it is of unknown type.

    Args:
        path: the file.
        start: its first bytes, about 1,000.
    """
    if not any(start):
        return UserError("cannot be read as audio: it begins with zeros", file=path, hint=REFETCH)
    for magic, what, hint in _BY_MAGIC:
        if start.startswith(magic):
            return UserError(f"cannot be read as audio: it is {what}", file=path, hint=hint)
    if text := _text(start):
        what = "a web page" if "<html" in text.lower() else "text"
        return UserError(f"cannot be read as audio: it is {what}", file=path, hint=REFETCH)
    extension = path.suffix.lower()
    if extension in _PCM:
        wav = f"sox -t raw -e signed -b 16 -c 1 -r 16000 {path.name} {path.stem}.wav"
        return UserError("raw PCM: it has no header with its sampling rate and format", file=path, hint="transcribe "
                         f"it as `- --rate 16000 < {path.name}`, or make a WAV of it: `{wav}`")
    if extension in _RAW:
        return UserError("raw samples: it has no header with its sampling rate and format", file=path, hint="if its "
                         f"extension is right, make a WAV of it: `sox {_RAW[extension]} -c 1 {path.name} "
                         f"{path.stem}.wav`")
    return None


def _text(start: bytes) -> str:
    """Decode ``start`` as text; an empty string if it is not text."""
    try:
        text = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as e:
        text = start[:e.start].decode() if e.start > len(start) - 4 else ""
    return text if all(c.isprintable() or c.isspace() for c in text) else ""
