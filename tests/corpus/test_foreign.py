"""Files that are not audio are recognized, and the error says what to do."""

import pytest

from lstmp.corpus.audio import read_audio
from lstmp.errors import UserError


@pytest.mark.parametrize("start, message", [
    (b"\x1f\x8b\x08\0", "it is packed with gzip; unpack it first: `gunzip`"), (b"PK\3\4", "a ZIP archive; unpack it"),
    (b"%PDF-1.4", "it is a PDF; give the recording"), (b"\x89PNG\r\n\x1a\n", "it is a picture"),
    (b"MThd\0\0\0\6", "it is MIDI: notes, no sound"),
    (b"\0\5\x16\7\0\2\0\0Mac OS X", "a macOS metadata file .*; leave it"),
    (b"{\"error\": 404}", "it is text"), (b"version https://git-lfs.github.com/spec/v1\n", "it is text")])
def test_file_type_is_named(tmp_path, start, message):
    (tmp_path / "x.wav").write_bytes(start if start[:1].isalnum() or start[:1] == b"{" else start + b"\xfa\xc3" * 300)
    with pytest.raises(UserError, match=f"x.wav: cannot be read as audio: .*{message}"):
        read_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("name, hint", [
    ("x.raw", "sox -t raw -e signed -b 16"), ("x.ul", "sox -t ul -r 8000 -c 1 x.ul x.wav"),
    ("x.al", "sox -t al -r 8000"), ("x.vox", "sox -t vox -r 8000")])
def test_raw_samples_get_a_conversion_hint(tmp_path, name, hint):
    (tmp_path / name).write_bytes(b"\x01\x93\xc8\xfe" * 500)
    with pytest.raises(UserError, match=hint):
        read_audio(tmp_path / name)


def test_unknown_file_type(tmp_path):
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + b"\xfa\xc3" * 300)
    with pytest.raises(UserError, match="x.m4a: .*; if it is audio, convert it: `ffmpeg -i x.m4a out.wav`"):
        read_audio(tmp_path / "x.m4a")
