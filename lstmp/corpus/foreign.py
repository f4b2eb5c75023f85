"""What a file is that is not audio, or not by itself: archives, pictures, pages, raw samples. Told with what to do."""

from pathlib import Path

from lstmp.corpus.truthful import REFETCH
from lstmp.errors import UserError

_UNPACK, _OTHER = "unpack it first", "give the recording"
_BY_MAGIC = (
    (b"\x1f\x8b", "packed with gzip", "unpack it first: `gunzip`"),
    (b"BZh", "packed with bzip2", "unpack it first: `bunzip2`"), (b"\xfd7zXZ\0", "packed with xz", "unpack it: `unxz`"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first: `unzstd`"), (b"PK\3\4", "a ZIP archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK), (b"Rar!", "a RAR archive", _UNPACK),
    (b"%PDF", "a PDF", _OTHER), (b"\x89PNG", "a picture", _OTHER), (b"\xff\xd8\xff", "a picture", _OTHER),
    (b"GIF8", "a picture", _OTHER), (b"MThd", "MIDI: notes, no sound", _OTHER), (b"\x7fELF", "a program", _OTHER),
    (b"\x93NUMPY", "an array of NumPy", "make a WAV file of it"),
    (b"\0\5\x16\7", "what macOS keeps beside a file, in `._` and its name", "leave it out"))
_RAW = {".vox": "-t vox -r 8000", ".ulaw": "-t ul -r 8000", ".ul": "-t ul -r 8000", ".alaw": "-t al -r 8000",
        ".al": "-t al -r 8000"}  # for sox; of 16 bits are:
_PCM = (".raw", ".pcm", ".sw", ".s16", ".s16le")


def not_sound(path: Path, start: bytes) -> UserError | None:
    """The fault of a file that no decoder reads, if it can be told what it is.

    Args:
        path: the file.
        start: the bytes it begins with, about 1,000.
    """
    if not any(start):
        return UserError("cannot be read as audio: it begins with zeros", file=path, hint=REFETCH)
    for magic, what, hint in _BY_MAGIC:
        if start.startswith(magic):
            return UserError(f"cannot be read as audio: it is {what}", file=path, hint=hint)
    if text := _text(start):
        what = "a web page" if "<html" in text.lower() else "text"
        return UserError(f"cannot be read as audio: it is {what}", file=path, hint=REFETCH)
    kind = path.suffix.lower()
    if kind in _PCM:
        wav = f"sox -t raw -e signed -b 16 -c 1 -r 16000 {path.name} {path.stem}.wav"
        return UserError("raw PCM: it has no header that says what it is", file=path, hint="transcribe it as "
                         f"`- --rate 16000 < {path.name}`, or make a WAV of it: `{wav}`")
    if kind in _RAW:
        return UserError("raw samples: there is no header that says what they are", file=path, hint="make a WAV of it, "
                         f"if it is what its name says: `sox {_RAW[kind]} -c 1 {path.name} {path.stem}.wav`")
    return None


def _text(start: bytes) -> str:
    """The text that a file begins with; empty: it is something else."""
    try:
        text = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as e:
        text = start[:e.start].decode() if e.start > len(start) - 4 else ""
    return text if all(c.isprintable() or c.isspace() for c in text) else ""
