"""Data directories: what is written is read back, and every malformed file is named with its line."""

import pytest
from corpora import TEXT, data_dir
from hypothesis import given
from hypothesis import strategies as st

from lstmp.corpus.datadir import Utterance, read_data_dir, read_table, write_data_dir
from lstmp.errors import UserError

NAME = st.text(st.characters(whitelist_categories=("L", "N"), whitelist_characters="-_'"), min_size=1, max_size=8)


def test_reads_what_is_there(tmp_path):
    data = read_data_dir(data_dir(tmp_path / "d"))
    assert list(data.utts) == sorted(TEXT)
    utt = data.utts["26-495-0001"]
    assert (utt.speaker, utt.words) == ("26-495", ("AND", "RUN"))
    assert utt.wav == f"{tmp_path}/d/26-495-0001.wav"
    assert data.speakers == {"19-198": ["19-198-0000", "19-198-0001"], "26-495": ["26-495-0000", "26-495-0001"]}
    assert data.durations["19-198-0001"] == 0.6


@given(st.dictionaries(NAME, st.tuples(NAME, st.lists(NAME, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_written_is_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("d")
    utts = [Utterance(u, speaker, f"/a b/{u}.wav", tuple(words)) for u, (speaker, words) in table.items()]
    write_data_dir(path, reversed(utts), {u.id: 1.5 for u in utts})
    data = read_data_dir(path)
    assert data.utts == {u.id: u for u in utts} and list(data.utts) == sorted(table)
    assert data.durations == {u.id: 1.5 for u in utts}
    assert (path / "spk2utt").exists() and not list(path.glob(".*"))


def change(path, name, line, new):
    lines = (path / name).read_bytes().split(b"\n")
    lines[line - 1:line] = [] if new is None else [new]
    (path / name).write_bytes(b"\n".join(lines))


BAD = [  # file, line to change, what it becomes (None: deleted), file and line of the message, part of it
    ("text", 2, b"19-198-0001", "text:2", "empty transcript"),
    ("text", 2, b"19-198-0000 AGAIN", "text:2", "given twice"),
    ("text", 2, b"27-1-0000 MAT", "text:3", "not sorted"),
    ("text", 2, b"19-198-0001 CAF\xe9", "text:2", "UTF-8"),
    ("text", 1, b"\xef\xbb\xbf19-198-0000 THE", "text:1", "byte order mark"),
    ("text", 2, b"", "text:2", "blank line"),
    ("text", 2, b" 19-198-0001 ON", "text:2", "begins with a space"),
    ("text", 2, None, "wav.scp:2", "no transcript"),
    ("wav.scp", 2, None, "text:2", "no audio"),
    ("utt2spk", 4, b"26-495-0001 26\x07495", "utt2spk:4", "control character, U+0007"),
    ("utt2spk", 4, b"26-495-0001 " + b"s" * 300, "utt2spk:4", "300 bytes"),
    ("wav.scp", 4, b"26-495-0001\0 a.wav", "wav.scp:4", "U+0000"),
    ("wav.scp", 2, b"19-198-0001", "wav.scp:2", "nothing after it"),
    ("wav.scp", 2, b"19-198-0001 sox a.wav -t wav - |", "wav.scp:2", "pipe"),
    ("utt2spk", 3, None, "wav.scp:3", "no speaker"),
    ("utt2spk", 3, b"26-495-0000 26 495", "utt2spk:3", "3 fields"),
    ("utt2spk", 3, b"26-495-0000", "utt2spk:3", "nothing after it"),
    ("utt2dur", 3, b"26-495-0000 long", "utt2dur:3", "not a duration"),
    ("utt2dur", 3, b"26-495-0000 -1", "utt2dur:3", "not a duration"),
    ("utt2dur", 3, None, "utt2dur", "26-495-0000"),
    ("spk2utt", 1, b"19-198 19-198-0000\n26-495 26-495-0000 26-495-0001", "spk2utt:1", "differ"),
    ("spk2utt", 1, b"19-198 19-198-0000 19-198-0001", "spk2utt", "`26-495` of utt2spk is missing"),
    ("spk2utt", 1, b"19-198 19-198-0000 19-198-0001\n26 26-495-0000 26-495-0001", "spk2utt:2", "not in utt2spk"),
]


@pytest.mark.parametrize(("name", "line", "new", "where", "what"), BAD)
def test_bad_line(tmp_path, name, line, new, where, what):
    path = data_dir(tmp_path / "d")
    if name == "spk2utt":
        (path / name).write_bytes(new + b"\n")
    else:
        change(path, name, line, new)
    with pytest.raises(UserError) as e:
        read_data_dir(path)
    message = str(e.value)
    assert message.startswith(f"{path}/{where}: ") and what in message and "\n" not in message
    assert e.value.mend


def test_more_of_the_same_are_counted(tmp_path):
    path = data_dir(tmp_path / "d")
    for name in ("wav.scp", "text"):
        lines = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(lines[:1] if name == "text" else lines))
    with pytest.raises(UserError, match=r"wav\.scp:2: `19-198-0001` \(and 2 more\) has no transcript"):
        read_data_dir(path)


def test_missing_file_directory_and_segments(tmp_path):
    path = data_dir(tmp_path / "d")
    (path / "text").unlink()
    with pytest.raises(UserError, match="text: no such file"):
        read_data_dir(path)
    assert read_data_dir(path, need=("wav.scp", "utt2spk")).utts["19-198-0000"].words == ()
    with pytest.raises(UserError, match="no such data directory"):
        read_data_dir(tmp_path / "nowhere")
    (path / "segments").write_text("a b 0 1\n")
    with pytest.raises(UserError, match="segments"):
        read_data_dir(path)


def test_empty_table(tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(UserError, match="empty"):
        read_table(tmp_path / "text")


GOOD = Utterance("a", "s", "a.wav", ("A",))


@pytest.mark.parametrize("utts", [
    [], [GOOD, GOOD], [Utterance("a b", "s", "a.wav", ("A",))], [Utterance("a", "", "a.wav", ("A",))],
    [Utterance("a\x1b", "s", "a.wav", ("A",))], [Utterance("a", "s" * 300, "a.wav", ("A",))],
    [Utterance("a", "s", "a.wav", ())], [Utterance("a", "s", "", ("A",))]])
def test_refuses_to_write(tmp_path, utts):
    with pytest.raises(UserError):
        write_data_dir(tmp_path / "d", utts)
    assert not (tmp_path / "d").exists()
