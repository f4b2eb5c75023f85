"""Reading and writing Kaldi archives (ark, scp), checked against kaldi_io; malformed files are reported."""

import gzip
import os
import subprocess
import sys
import tracemalloc

import kaldi_io
import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.features import ark


def write_two(folder):
    mats = {"a-1": np.arange(12, dtype=np.float32).reshape(4, 3), "b-2": -np.ones((2, 3), dtype=np.float32)}
    with ark.ArkWriter(folder / "x.ark", folder / "x.scp") as writer:
        for key, mat in mats.items():
            writer.write(key, mat)
    return mats


def test_matrices_are_read_back_and_kaldi_io_reads_them(tmp_path):
    mats = write_two(tmp_path)
    scp = ark.read_scp(tmp_path / "x.scp")
    assert list(scp) == ["a-1", "b-2"]
    for key, mat in mats.items():
        got = ark.read_mat(scp[key])
        assert got.dtype == np.float32 and np.array_equal(got, mat)
        got[0, 0] = 7  # a copy that may be written to
    theirs = dict(kaldi_io.read_mat_ark(str(tmp_path / "x.ark")))
    assert theirs.keys() == mats.keys() and all(np.array_equal(theirs[k], mats[k]) for k in mats)


def test_statistics_keep_double_precision(tmp_path):
    stats = np.array([[1e10 + 0.25, 3.0], [1 / 3, 0.0]])
    with ark.ArkWriter(tmp_path / "c.ark", tmp_path / "c.scp") as writer:
        writer.write("s", stats)
    assert np.array_equal(ark.read_mat(ark.read_scp(tmp_path / "c.scp")["s"], dtype=np.float64), stats)


def test_relative_paths_are_found_next_to_the_scp(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with ark.ArkWriter("data/x.ark", "data/x.scp") as writer:
        writer.write("a", np.ones((2, 2), dtype=np.float32))
    assert (tmp_path / "data/x.scp").read_text() == "a data/x.ark:2\n"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ark.read_mat(ark.read_scp(tmp_path / "data/x.scp")["a"]).shape == (2, 2)


def test_ranges_and_gz_archives_in_an_scp(tmp_path, monkeypatch):
    mats = write_two(tmp_path)
    (tmp_path / "x.ark.gz").write_bytes(gzip.compress((tmp_path / "x.ark").read_bytes()))
    at = {key: rx.rpartition(":")[2] for key, rx in ark.read_scp(tmp_path / "x.scp").items()}
    (tmp_path / "r.scp").write_text(f"a-1 {tmp_path}/x.ark:{at['a-1']}[1:2]\nb-2 no/x.ark.gz:{at['b-2']}[:,0:1]\n")
    monkeypatch.chdir(tmp_path)
    scp = ark.read_scp(tmp_path / "r.scp")
    assert np.array_equal(ark.read_mat(scp["a-1"]), mats["a-1"][1:3])
    assert np.array_equal(ark.read_mat(scp["b-2"], dim=2), mats["b-2"][:, :2])  # found next to the .scp, with its range
    assert [ark.archives_of([rx]) for rx in scp.values()] == [[tmp_path / "x.ark"], [tmp_path / "x.ark.gz"]]
    with pytest.raises(UserError, match=r"x.ark: the range of .*\[2:9\]: rows 2 to 9 of a matrix with rows 0 to 3"):
        ark.read_mat(f"x.ark:{at['a-1']}[2:9]")
    (tmp_path / "v.scp").write_text("a x.ark:2[0:1]\n")
    with pytest.raises(UserError, match=r"v\.scp: `a` has a range, \[0:1\], of a vector"):
        list(ark.read_int_vectors(tmp_path / "v.scp"))


def test_gzipped_archive_with_any_name(tmp_path):
    mats = write_two(tmp_path)
    (tmp_path / "x.ark").write_bytes(gzip.compress((tmp_path / "x.ark").read_bytes()))
    for key, rx in ark.read_scp(tmp_path / "x.scp").items():
        assert np.array_equal(ark.read_mat(rx), mats[key])


@pytest.mark.parametrize("utt", ["a", "é-1", "à", "日本"])  # bytes of `à` hold what is a space in Latin-1
def test_int_vectors_are_read_back(tmp_path, utt):
    vectors = [(utt, np.array([3, -1, 2**31 - 1], dtype=np.int32)), (utt + "2", np.zeros(0, dtype=np.int32))]
    ark.write_int_vectors(tmp_path / "ali.ark", vectors)
    for name in ("ali.ark", "ali.scp"):
        got = list(ark.read_int_vectors(tmp_path / name))
        assert [k for k, _ in got] == [k for k, _ in vectors]
        assert all(g.dtype == np.int32 and np.array_equal(g, v) for (_, g), (_, v) in zip(got, vectors, strict=True))


def test_int_vectors_as_text_with_tabs(tmp_path):
    (tmp_path / "ali").write_text("u1 1 2 3\nu2\t4 5\nu3\t6\n")
    assert [(k, v.tolist()) for k, v in ark.read_int_vectors(tmp_path / "ali")] == [
        ("u1", [1, 2, 3]), ("u2", [4, 5]), ("u3", [6])]


@pytest.mark.parametrize("text, vectors", [
    ("u1 1\nu2 2\n2 3 4\n", {"u1": [1], "u2": [2], "2": [3, 4]}),  # a line of one number ends there
    ("\ufeffu1 1 2\r\n u2  3\t4\r\n\n\tu3 5", {"u1": [1, 2], "u2": [3, 4], "u3": [5]}),
    ("u1 [ 1 +2 -3 ]\nu2 \nu3 [ ]\n", {"u1": [1, 2, -3], "u2": [], "u3": []})])
@pytest.mark.parametrize("packed", [False, True])
def test_int_vectors_in_other_text_forms(tmp_path, text, vectors, packed):
    """Gzip is detected whatever the file's name."""
    (tmp_path / "ali").write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert {k: v.tolist() for k, v in ark.read_int_vectors(tmp_path / "ali")} == vectors


def test_truncated_gzip_file_of_vectors(tmp_path):
    packed = gzip.compress("".join(f"u{i} {i} {i * i}\n" for i in range(1000)).encode())
    for size in (12, len(packed) // 2, len(packed) - 4):
        (tmp_path / "ali.gz").write_bytes(packed[:size])
        with pytest.raises(UserError, match=r"ali\.gz: the archive is cut off or damaged"):
            list(ark.read_int_vectors(tmp_path / "ali.gz"))


def test_duplicate_utterance_is_an_error(tmp_path):
    (tmp_path / "ali").write_text("u1 1\nu2 2\nu1 3\n")
    with pytest.raises(UserError, match="ali: `u1` occurs twice, again at byte 10; remove one"):
        list(ark.read_int_vectors(tmp_path / "ali"))


@pytest.mark.parametrize("text, message", [
    ("u1 1\nu2 1.5\n", "at byte 5: `1.5` is not a whole number"), ("u1 1 nan\n", "`nan` is not a whole"),
    ("u1 3000000000\n", "`3000000000` is not a whole number of 32 bits"), ("u1 1_0\n", "`1_0` is not"),
    ("u1 \u0661\n", "`\u0661` is not"), ("u1 1 ; 2\n", "`;` is not"), ("u1\u00a01 2\n", "has U\\+00A0 NO-BREAK SPACE"),
    ("u1\nu2 1\n", "`u1` has nothing after it"), ("u1 [ 1 2\n", "`\\[` is not")])
def test_malformed_text_vectors_are_rejected(tmp_path, text, message):
    (tmp_path / "ali").write_text(text)
    with pytest.raises(UserError, match=f"ali: the archive is cut off or damaged .*{message}"):
        list(ark.read_int_vectors(tmp_path / "ali"))


def test_int_vectors_are_compatible_with_kaldi(tmp_path):
    vector = np.array([1, 5, -7], dtype=np.int32)
    ark.write_int_vectors(tmp_path / "ours.ark", [("u", vector)])
    with open(tmp_path / "theirs.ark", "wb") as f:
        kaldi_io.write_vec_int(f, vector, key="u")
    assert (tmp_path / "ours.ark").read_bytes() == (tmp_path / "theirs.ark").read_bytes()
    (tmp_path / "ours.ark.gz").write_bytes(gzip.compress((tmp_path / "ours.ark").read_bytes()))
    assert np.array_equal(dict(ark.read_int_vectors(tmp_path / "ours.ark.gz"))["u"], vector)
    (tmp_path / "text.ark").write_text("u 1 5 -7 \nv 2 \n")
    assert [v.tolist() for _, v in ark.read_int_vectors(tmp_path / "text.ark")] == [[1, 5, -7], [2]]


def test_truncation_anywhere_is_one_line_that_names_the_file(tmp_path):
    ark.write_int_vectors(tmp_path / "ali.ark", [("utt", np.arange(3))])
    whole = (tmp_path / "ali.ark").read_bytes()
    for size in range(1, len(whole)):
        (tmp_path / "cut.ark").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.ark: the archive is cut off or damaged at byte 0"):
            list(ark.read_int_vectors(tmp_path / "cut.ark"))
    write_two(tmp_path)
    whole = (tmp_path / "x.ark").read_bytes()
    rx = ark.read_scp(tmp_path / "x.scp")["b-2"]
    offset = int(rx.rpartition(":")[2])
    for size in range(offset, len(whole)):
        (tmp_path / "x.ark").write_bytes(whole[:size])
        with pytest.raises(UserError, match=rf"x\.ark: the archive is cut off or damaged at byte {offset}"):
            ark.read_mat(rx)


@pytest.mark.parametrize("damage", [b"\0BFM \4\xff\xff\xff\xff\4\3\0\0\0", b"\0BXM \4\1", b"\xff\xfe\xfd",
                                    b"\0BFM \4\xff\xff\xff\x7f"])
def test_damaged_headers_are_rejected(tmp_path, damage):
    (tmp_path / "x.ark").write_bytes(b"a " + damage)
    with pytest.raises(UserError, match="cut off or damaged"):
        ark.read_mat(f"{tmp_path}/x.ark:2")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_rejected_with_its_frame(tmp_path, value):
    mat = np.ones((5, 2), dtype=np.float32)
    mat[3, 1] = value
    with ark.ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a", mat)
    with pytest.raises(UserError, match=r"x\.ark: NaN or infinity in frame 3 "):
        ark.read_mat(ark.read_scp(tmp_path / "x.scp")["a"])


def test_wrong_width_missing_archive_and_pipes(tmp_path):
    write_two(tmp_path)
    rx = ark.read_scp(tmp_path / "x.scp")["a-1"]
    with pytest.raises(UserError, match="3 columns, 5 expected"):
        ark.read_mat(rx, dim=5)
    with pytest.raises(UserError, match="no such archive"):
        ark.read_mat(f"{tmp_path}/y.ark:3")
    (tmp_path / "p.scp").write_text("a gunzip -c x.gz |\n")
    with pytest.raises(UserError, match=r"p\.scp:1: `a` is a command, 'gunzip -c x.gz \|', and commands are not run"):
        ark.read_scp(tmp_path / "p.scp")


@pytest.mark.parametrize("offset", ["9" * 17, "9" * 20, "9" * 200, "-1", "²", "3\0"])
def test_impossible_offsets_and_names(tmp_path, offset):
    write_two(tmp_path)
    (tmp_path / "x.scp").write_text(f"a-1 {tmp_path}/x.ark:{offset}\n")
    with pytest.raises(UserError, match=r"x\.ark.*(cut off or damaged|no such archive)|x\.scp:1: a NUL byte"):
        ark.read_mat(ark.read_scp(tmp_path / "x.scp")["a-1"])


@pytest.mark.parametrize("head", [b"\0B\4\xff\xff\xff\x7f", b"\0B\4\xff\xff\xff\xff", b"\0B\4\1\0\0\0\3abcd"])
def test_impossible_vector_length_takes_no_memory(tmp_path, head):
    (tmp_path / "x.ark").write_bytes(b"a " + head + bytes(100))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"x\.ark: the archive is cut off or damaged at byte 0"):
        list(ark.read_int_vectors(tmp_path / "x.ark"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 26


def test_file_without_spaces_is_not_an_archive(tmp_path):
    (tmp_path / "x.ark").write_bytes(b"x" * 5000 + b" 1 2\n")  # the id would be longer than any
    with pytest.raises(UserError, match=r"x\.ark: the archive is cut off or damaged at byte 0"):
        list(ark.read_int_vectors(tmp_path / "x.ark"))


def test_failing_writer_keeps_existing_files(tmp_path):
    write_two(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RuntimeError), ark.ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("new", np.zeros((1, 1), dtype=np.float32))
        raise RuntimeError
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".x.ark.{gone.pid}.tmp").write_bytes(b"half")
    (tmp_path / ".x.ark.1.tmp").write_bytes(b"of a running process")
    write_two(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".x.ark.1.tmp", "x.ark", "x.scp"]


@pytest.mark.parametrize("key", ["", "a b", "a\n", "a-1"])
def test_ids_that_would_corrupt_the_archive_are_rejected(tmp_path, key):
    with pytest.raises(UserError), ark.ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as writer:
        writer.write("a-1", np.zeros((1, 1), dtype=np.float32))
        writer.write(key, np.zeros((1, 1), dtype=np.float32))


def test_importing_is_quiet_and_leaves_the_environment():
    code = "import os; p = os.environ['PATH']; import lstmp.features.ark; assert os.environ['PATH'] == p; " \
           "assert 'KALDI_ROOT' not in os.environ"
    environment = {k: v for k, v in os.environ.items() if k != "KALDI_ROOT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
