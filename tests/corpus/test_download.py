"""Downloads from a local server are verified, resumed and unpacked safely."""

import gzip
import hashlib
import http.server
import io
import random
import tarfile
import threading
import types

import pytest

from lstmp.corpus import download
from lstmp.errors import UserError


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves bytes of ``server.files``, with ranges; ``server.cut``: the first response stops after that many bytes."""

    def do_GET(self):
        body = self.server.files.get(self.path)
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if body is None:
            return self.send_error(404)
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body[start:start + cut if cut else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    s.files, s.asked, s.cut, s.ranges = {}, [], None, True
    s.url = f"http://127.0.0.1:{s.server_address[1]}"
    thread = threading.Thread(target=s.serve_forever, daemon=True)
    thread.start()
    yield s
    s.shutdown()
    s.server_close()


BODY = bytes(range(256)) * 5000
MD5 = hashlib.md5(BODY).hexdigest()


def test_file_is_downloaded_once(server, tmp_path):
    server.files["/f"] = BODY
    for _ in range(2):
        download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == BODY and len(server.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connection_is_resumed(server, tmp_path, ranges):
    server.files["/f"], server.cut, server.ranges = BODY, 400_000, ranges
    download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == BODY
    assert [r for _, r in server.asked] == [None, "bytes=400000-"]


def test_partial_download_of_a_killed_run_is_resumed(server, tmp_path):
    server.files["/f"] = BODY
    (tmp_path / "f.part").write_bytes(BODY[:1000])
    download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert server.asked == [("/f", "bytes=1000-")] and (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("part", [BODY, BODY + b"more"])
def test_partial_download_that_is_complete_or_too_long(server, tmp_path, part):
    server.files["/f"] = BODY
    (tmp_path / "f.part").write_bytes(part)
    download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == BODY


def test_download_with_wrong_md5_is_removed(server, tmp_path):
    server.files["/f"] = BODY[:-1] + b"!"
    with pytest.raises(UserError, match="damaged during download"):
        download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert not list(tmp_path.iterdir())


def test_damaged_file_is_downloaded_again(server, tmp_path):
    server.files["/f"] = BODY
    (tmp_path / "f").write_bytes(b"half")
    download.fetch(f"{server.url}/f", tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == BODY


def test_error_without_network_says_what_to_do(tmp_path, capsys):
    with pytest.raises(SystemExit):
        download.main(["--out", str(tmp_path), "--url", "http://127.0.0.1:1", "--splits", "dev-clean-2"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--corpus DIR" in error and "127.0.0.1:1/31/dev-clean-2.tar.gz" in error


def test_file_missing_on_the_server(server, tmp_path):
    with pytest.raises(UserError, match="404.*--corpus"):
        download.fetch(f"{server.url}/f", tmp_path / "f", MD5)


def archive(members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


GOOD = {"LibriSpeech/SPEAKERS.TXT": b"x", "LibriSpeech/dev-clean-2/1/2/1-2.trans.txt": b"1-2-0000 A\n"}


def serve_split(server, monkeypatch, body):
    server.files["/31/dev-clean-2.tar.gz"] = body
    monkeypatch.setitem(download.SPLITS, "dev-clean-2", (31, hashlib.md5(body).hexdigest()))


def test_split_command(server, tmp_path, monkeypatch):
    serve_split(server, monkeypatch, archive(GOOD))
    server.files["/11/librispeech-lexicon.txt"] = b"A AH0\n"
    monkeypatch.setitem(download.FILES, "librispeech-lexicon.txt", (11, hashlib.md5(b"A AH0\n").hexdigest()))
    for _ in range(2):
        download.main(["--out", str(tmp_path), "--url", server.url, "--splits", "dev-clean-2",
                       "--files", "librispeech-lexicon.txt"])
    assert len(server.asked) == 2
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "LibriSpeech/SPEAKERS.TXT", "LibriSpeech/dev-clean-2/1/2/1-2.trans.txt", "librispeech-lexicon.txt"]


@pytest.mark.parametrize("members", [
    {**GOOD, "../evil": b"x"}, {**GOOD, "/evil": b"x"}, {**GOOD, "LibriSpeech/link": None}, {"other/file": b"x"}])
def test_harmful_or_unrelated_archive_is_rejected(server, tmp_path, monkeypatch, members):
    serve_split(server, monkeypatch, archive(members))
    with pytest.raises(UserError, match="dev-clean-2.tar.gz: "):
        download.get_split("dev-clean-2", tmp_path / "in" / "out", server.url)
    assert not list(tmp_path.rglob("evil")) and not (tmp_path / "in/out/LibriSpeech").exists()
    assert not list((tmp_path / "in/out").glob(".*"))


@pytest.mark.parametrize("damage", [lambda b: b[:-40], lambda b: b[:len(b) // 2] + b"\0\0\0\0\0" + b[len(b) // 2 + 5:],
                                    lambda b: b"not gzip"])
def test_damaged_archive_is_rejected(tmp_path, damage):
    body = archive({f"LibriSpeech/dev/{i}": hashlib.sha512(bytes(i)).digest() * 9 for i in range(50)})
    (tmp_path / "a.tar.gz").write_bytes(damage(body))
    with pytest.raises(UserError, match="cannot be unpacked"):
        download.unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_decompression_bomb_is_rejected(tmp_path, monkeypatch):
    """Zeros, compressed a thousandfold: as one file, many files, a header's size, or after the last file."""
    monkeypatch.setattr(download, "_MIN_LIMIT", 1 << 20)
    zeros, path = bytes(3 << 20), tmp_path / "a.tar.gz"
    path.write_bytes(archive({"LibriSpeech/zeros": zeros}))
    with pytest.raises(UserError, match="a.tar.gz: member `LibriSpeech/zeros` has 3145728 bytes; all of the "
                                        "archive may have 1 MB; do not trust"):
        download.unpack(path, tmp_path / "out")
    assert not list(tmp_path.rglob("zeros"))
    header = tarfile.TarInfo("LibriSpeech/" + "x" * (3 << 20))  # a name that tarfile reads into memory
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        tar.addfile(header)
    for body in (archive({f"LibriSpeech/{i}": bytes(1000) for i in range(2000)}), raw.getvalue(),
                 gzip.compress(gzip.decompress(archive(GOOD)) + zeros)):
        path.write_bytes(body)
        with pytest.raises(UserError, match="a.tar.gz: cannot be unpacked: it unpacks to more than 1 MB; delete it"):
            download.unpack(path, tmp_path / "out")
    path.write_bytes(archive({"LibriSpeech/noise": random.Random(0).randbytes(3 << 20)}))
    download.unpack(path, tmp_path / "out")
    assert (tmp_path / "out/LibriSpeech/noise").stat().st_size == 3 << 20


def test_full_disk_is_detected_before_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=40 << 20))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive({"LibriSpeech/more": bytes(30 << 20)}))
    with pytest.raises(UserError, match="a.tar.gz: disk full: `LibriSpeech/more` needs 30 MB, but only 40 MB are "
                                        "free; free some"):
        download.unpack(path, tmp_path / "out")


def test_unknown_names_are_rejected(tmp_path):
    with pytest.raises(UserError, match="no split `dev`.*dev-clean-2"):
        download.get_split("dev", tmp_path)
    with pytest.raises(UserError, match="unknown file"):
        download.get_file("lexicon", tmp_path)
    with pytest.raises(SystemExit):
        download.main(["--out", str(tmp_path)])
