"""Data directories: what is written is read back, and every malformed file is named with its line."""

import pytest
from helpers.corpora import TEXT, data_dir
from hypothesis import given
from hypothesis import strategies as st

from lstmp.corpus.datadir import Utterance, read_data_dir, read_table, write_data_dir
from lstmp.corpus.segments import Segment
from lstmp.corpus.textlines import composed
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


def test_words_are_read_as_they_look(tmp_path):
    """Byte order mark, CRLF, any white space and letters in two parts; paths and ids stay as their bytes are."""
    path = data_dir(tmp_path / "d")
    wav = f"{tmp_path}/d/cafe\u0301\u00a01.wav"
    change(path, "wav.scp", 1, f"\ufeff19-198-0000 {wav}\r".encode())
    change(path, "text", 1, "\ufeff19-198-0000\tCAFE\u0301\u3000SAT\u00a0\u2003DOWN \r".encode())
    utt = read_data_dir(path).utts["19-198-0000"]
    assert utt.words == ("CAF\u00c9", "SAT", "DOWN") and utt.wav == wav
    assert read_table(path / "text")["19-198-0000"] == "CAF\u00c9 SAT DOWN"


def test_ids_composed_in_two_ways(tmp_path):
    path = data_dir(tmp_path / "d")
    for name, e in (("wav.scp", "\u00e9"), ("text", "e\u0301"), ("utt2spk", "\u00e9")):
        change(path, name, 4, (path / name).read_text().splitlines()[3].replace("26-495-0001", f"27{e}").encode())
    (path / "utt2dur").unlink()
    with pytest.raises(UserError, match="there its letters are composed in another way"):
        read_data_dir(path)


@given(st.dictionaries(NAME, st.tuples(NAME, st.lists(NAME.map(composed), min_size=1, max_size=3)), min_size=1,
                       max_size=6))
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
    ("text", 1, "19-198-0000 THE".encode("utf-16"), "text:1", "UTF-16"),
    ("text", 2, "19-198-0001\u00a0ON A MAT".encode(), "text:2", "has U+00A0 NO-BREAK SPACE in it"),
    ("text", 2, "19-198-0001\u200b ON A MAT".encode(), "text:2", "has U+200B ZERO WIDTH SPACE in it"),
    ("text", 2, b"", "text:2", "blank line"),
    ("text", 2, b" 19-198-0001 ON", "text:2", "begins with a space"),
    ("text", 2, None, "wav.scp:2", "no transcript"),
    ("wav.scp", 2, None, "text:2", "no audio"),
    ("utt2spk", 4, b"26-495-0001 26\x07495", "utt2spk:4", "control character, U+0007"),
    ("utt2spk", 4, b"26-495-0001 " + b"s" * 300, "utt2spk:4", "300 bytes"),
    ("wav.scp", 4, b"26-495-0001\0 a.wav", "wav.scp:4", "NUL byte"),
    ("wav.scp", 2, b"19-198-0001", "wav.scp:2", "nothing after it"),
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
    assert e.value.hint


def test_more_of_the_same_are_counted(tmp_path):
    path = data_dir(tmp_path / "d")
    for name in ("wav.scp", "text"):
        lines = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(lines[:1] if name == "text" else lines))
    with pytest.raises(UserError, match=r"wav\.scp:2: `19-198-0001` \(and 2 more\) has no transcript"):
        read_data_dir(path)


def test_missing_file_and_directory(tmp_path):
    path = data_dir(tmp_path / "d")
    (path / "text").unlink()
    with pytest.raises(UserError, match="text: no such file"):
        read_data_dir(path)
    assert read_data_dir(path, need=("wav.scp", "utt2spk")).utts["19-198-0000"].words == ()
    with pytest.raises(UserError, match="no such data directory"):
        read_data_dir(tmp_path / "nowhere")


def parts(path, segments, channels=None):
    """The sound data directory as parts of two recordings, the second by a command."""
    (path / "wav.scp").write_text("r1 wav/r1.wav\nr2 sph2pipe -f wav r2.sph |\n")
    (path / "segments").write_text(segments)
    if channels:
        (path / "reco2file_and_channel").write_text(channels)
    return path


SEGMENTS = "19-198-0000 r1 0 1.25\n19-198-0001 r1 1.25 -1\n26-495-0000 r2 0.5 3\n26-495-0001 r2 3 4.125 0\n"


def test_parts_of_recordings_and_channels(tmp_path, monkeypatch):
    path = parts(data_dir(tmp_path / "d"), SEGMENTS, "r1 r1 A\nr2 r2 B\n")
    (path / "wav").mkdir()
    (path / "wav" / "r1.wav").touch()  # beside the tables, not below the current folder
    utts = list(read_data_dir(path).utts.values())
    assert [u.segment for u in utts] == [Segment("r1", 0, 1.25, None), Segment("r1", 1.25, None, None),
                                         Segment("r2", 0.5, 3, None), Segment("r2", 3, 4.125, 0)]
    assert [u.channel for u in utts] == [0, 0, 1, 0] and [u.recording for u in utts] == ["r1", "r1", "r2", "r2"]
    assert [u.wav for u in utts] == [f"{path}/wav/r1.wav"] * 2 + ["sph2pipe -f wav r2.sph |"] * 2
    write_data_dir(tmp_path / "copy", utts)
    again = read_data_dir(tmp_path / "copy").utts
    assert [(u.id, u.wav, u.channel, u.recording, u.segment.begin, u.segment.end) for u in again.values()] == [
        (u.id, u.wav, u.channel, u.recording, u.segment.begin, u.segment.end) for u in utts]
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "r1.wav").touch()
    monkeypatch.chdir(tmp_path)
    assert read_data_dir(path).utts["19-198-0000"].wav == "wav/r1.wav"  # as in Kaldi, where it is there


def test_a_channel_of_whole_files_is_written_and_goes_when_it_is_not_wanted(tmp_path):
    path = data_dir(tmp_path / "d")
    (path / "reco2file_and_channel").write_text("19-198-0000 x 2\n26-495-0000 x A\n")
    utts = read_data_dir(path).utts
    assert [u.channel for u in utts.values()] == [1, None, 0, None]
    write_data_dir(tmp_path / "copy", utts.values())
    assert [u.channel for u in read_data_dir(tmp_path / "copy").utts.values()][::2] == [1, 0]
    write_data_dir(tmp_path / "copy", [GOOD])
    assert not (tmp_path / "copy" / "reco2file_and_channel").exists()


@pytest.mark.parametrize("segments,channels,where,what", [
    (SEGMENTS.replace("r2 0.5", "r3 0.5"), None, "segments:3", "recording `r3` of `26-495-0000` is not in wav.scp"),
    (SEGMENTS.replace("0 1.25\n", "0 x\n"), None, "segments:1", "is not `utterance recording begin end`"),
    (SEGMENTS.replace("0 1.25\n", "0\n"), None, "segments:1", "is not `utterance recording begin end`"),
    (SEGMENTS.replace("0 1.25\n", "0 nan\n"), None, "segments:1", "is not `utterance recording begin end`"),
    (SEGMENTS.replace("4.125 0", "4.125 -2"), None, "segments:4", "is not `utterance recording begin end`"),
    (SEGMENTS.replace("19-198-0001 r1 1.25 -1\n", ""), None, "text:2", "has no segment"),
    (SEGMENTS, "r1 r1 left\n", "reco2file_and_channel:1", "is not `recording file channel`"),
    (SEGMENTS, "r1 A\n", "reco2file_and_channel:1", "is not `recording file channel`"),
    (SEGMENTS, "r1 r1 0\n", "reco2file_and_channel:1", "is not `recording file channel`")])
def test_bad_parts_are_one_line(tmp_path, segments, channels, where, what):
    path = parts(data_dir(tmp_path / "d"), segments, channels)
    with pytest.raises(UserError) as e:
        read_data_dir(path)
    assert str(e.value).startswith(f"{path}/{where}: ") and what in str(e.value)


def test_empty_table(tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(UserError, match="empty"):
        read_table(tmp_path / "text")


GOOD = Utterance("a", "s", "a.wav", ("A",))


@pytest.mark.parametrize("utts", [
    [], [GOOD, GOOD], [Utterance("a b", "s", "a.wav", ("A",))], [Utterance("a", "", "a.wav", ("A",))],
    [Utterance("a\x1b", "s", "a.wav", ("A",))], [Utterance("a", "s" * 300, "a.wav", ("A",))],
    [Utterance("a", "s", "a.wav", ())], [GOOD, Utterance("b", "s", "", ("A",))]])
def test_refuses_to_write(tmp_path, utts):
    with pytest.raises(UserError):
        write_data_dir(tmp_path / "d", utts)
    assert not (tmp_path / "d").exists()
