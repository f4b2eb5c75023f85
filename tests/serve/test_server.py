"""Live recognition over WebSockets, with a real client."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from helpers import ROOT
from helpers.client import Running, pcm, recognized, refusal
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from lstmp.serve.access import why_refused
from lstmp.serve.limits import Limits
from lstmp.serve.server import main

BEGIN = json.dumps({"rate": 16000})
END = json.dumps({"end": True})


def finals(messages):
    return [(m["begin"], m["end"], m["words"]) for m in messages if m.get("final")]


@pytest.fixture(scope="session")
def expected(recognizer, speech):
    """The segments of one who calls from Python."""
    with recognizer.stream() as stream:
        found = stream.accept((speech * 32768).astype(np.int16), 16000) + stream.finish()
    found = [(s.begin, s.end, list(s.words)) for s in found if s.final]
    assert sum(len(words) for *_, words in found) >= 2
    return found


@pytest.mark.parametrize("options", [{}, {"encoding": "f32"}, {"encoding": "s16", "blocks": 2}, {"blocks": 97}])
def test_the_words_are_those_of_a_stream_in_python(running, speech, expected, options):
    encoded = speech * 32768 / 32767 if options.get("encoding", "s16") == "s16" else speech
    messages = recognized(running, encoded, **options)
    assert messages[0] == {"ready": True}
    assert messages[-1] == {"done": True, "seconds": 9.0}
    assert finals(messages) == expected
    assert options.get("blocks") == 2 or any(m.get("final") is False for m in messages)


def test_many_at_once_and_some_that_break(running, speech, expected):
    """Connections that end at any point take nothing from the others, and leave nothing behind."""
    found = []

    def whole():
        found.append(finals(recognized(running, speech * 32768 / 32767)))

    def broken(number):
        with running.open() as connection:
            if number % 4:
                connection.send(BEGIN)
                connection.send(pcm(speech[:4000 * (number % 5)]))
            if number % 3:
                connection.socket.shutdown(socket.SHUT_RDWR)

    others = [threading.Thread(target=whole) for _ in range(4)]
    for thread in others:
        thread.start()
    for number in range(40):
        while running.server.connections > 10:
            time.sleep(0.01)
        broken(number)
    for thread in others:
        thread.join(120)
    assert found == [expected] * 4
    end = time.monotonic() + 30
    while running.server.connections:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("messages", "code", "words"), [
    (["hello"], 1007, "not JSON"), (["[" * 100_000], 1007, "not JSON"), ([b"abc"], 1008, "first message"),
    (["{}"], 1008, "first message"), (['{"rate": 16000, "token": 1}'], 1008, "first message"),
    (['{"rate": 0}'], 1008, "`rate`"), (['{"rate": "16000"}'], 1008, "`rate`"), (['{"rate": true}'], 1008, "`rate`"),
    (['{"rate": 16000, "encoding": "mp3"}'], 1008, "`encoding`"), (['{"rate": 16000, "encoding": []}'], 1008, "`enc"),
    ([BEGIN, b"abc"], 1007, "3 bytes"), ([BEGIN, "{}"], 1008, '{"end": true}'),
    (['{"rate": 16000, "encoding": "f32"}', np.full(9, np.nan, "<f4").tobytes()], 1008, "not numbers"),
])
def test_wrong_messages_are_answered_with_a_reason(running, messages, code, words):
    closed, error = refusal(running, *messages)
    assert closed == code and words in error


def test_limits(recognizer, speech, expected):
    limited = Running(recognizer, Limits(connections=1, seconds=2.0, idle_seconds=0.5, message_bytes=40_000))
    try:
        assert refusal(limited, BEGIN)[1] == "nothing came, or nothing was taken, for 0.5 s"
        code, error = refusal(limited, BEGIN, pcm(speech[:16000]), pcm(speech[16000:33000]))
        assert (code, error) == (1009, "the recording is longer than 2 s")
        with limited.open() as first:
            first.send(BEGIN)
            assert json.loads(first.recv()) == {"ready": True}
            with limited.open() as second:
                with pytest.raises(Exception, match="1 others are connected"):
                    second.recv(timeout=10)
                assert second.protocol.close_code == 1013
            first.send(b"\0" * 50_000)
            with pytest.raises(Exception, match="1009"):
                first.recv(timeout=10)
    finally:
        limited.close()


def test_a_client_that_takes_nothing_does_not_fill_the_memory(recognizer, speech):
    """The server stops reading from it, and ends the connection; the others go on."""
    server = Running(recognizer, Limits(idle_seconds=2.0))
    try:
        greedy = socket.create_connection(("127.0.0.1", server.port))
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        greedy.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        greedy.settimeout(0.5)
        frame = b"\x82\xfe" + (3200).to_bytes(2, "big") + b"\0\0\0\0"  # a binary message with a mask of zeros
        first = BEGIN.encode()
        greedy.sendall(b"\x81" + bytes([0x80 | len(first)]) + b"\0\0\0\0" + first)
        sent, samples = 0, pcm(np.tile(speech, 200))
        with pytest.raises(OSError):  # no room for more, or the connection is closed
            while sent < 200_000_000:  # a busy machine makes fewer partial results, which fill the buffers later
                begin = sent % (len(samples) // 3200 * 3200)
                greedy.sendall(frame + samples[begin:begin + 3200])
                sent += 3200
        assert sent < 100_000_000
        assert finals(recognized(server, speech))
        end = time.monotonic() + 20
        while server.server.connections:
            assert time.monotonic() < end
            time.sleep(0.05)
        greedy.close()
    finally:
        server.close()


def get(running, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


def test_the_page_and_nothing_else(running):
    status, headers, text = get(running, "/?token=x")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and "page.js" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("/page.js", "/page.css", "/recorder.js"):
        assert get(running, path)[0] == 200
    for path in ("/index.html", "/../server.py", "/%2e%2e/server.py", "/x", "//etc/passwd"):
        assert get(running, path)[0] == 404
    assert get(running, "/stream")[0] == 426


@pytest.mark.parametrize(("headers", "status"), [
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Host": "evil.example"}, 403),
    ({"Host": "evil.example", "Origin": "http://evil.example"}, 403), ({"Origin": "http://127.0.0.1:{port}"}, 101),
])
def test_pages_of_other_sites_are_refused(running, headers, status):
    lines = {"Host": f"127.0.0.1:{running.port}"} | {k: v.format(port=running.port) for k, v in headers.items()}
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        text = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        connection.sendall(f"GET /stream HTTP/1.1\r\n{text}Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_token(recognizer, speech):
    secret = "a-secret-of-some-length"
    server = Running(recognizer, token=secret)
    try:
        for path, headers in (("/stream", {}), ("/stream?token=wrong", {}),
                              ("/stream", {"Authorization": "Bearer wrong"}), ("/stream", {"Authorization": secret})):
            with pytest.raises(InvalidStatus, match="401"):
                server.open(path, additional_headers=headers)
        for path, headers in ((f"/stream?token={secret}", {}), ("/stream", {"Authorization": f"Bearer {secret}"})):
            with server.open(path, additional_headers=headers) as connection:
                connection.send(BEGIN)
                assert json.loads(connection.recv()) == {"ready": True}
    finally:
        server.close()


@pytest.mark.parametrize(("path", "headers", "status"), [
    ("/stream?token=right", {"Host": "a.example"}, None), ("/stream", {"Host": "a.example"}, 401),
    ("/stream?token=right&token=wrong", {"Host": "a.example"}, None), ("/stream?token=", {"Host": "a.example"}, 401),
    ("/stream?token=r\u00edght", {"Host": "a.example"}, 401), ("/stream?token=right", {}, None),
    ("/stream", {"Host": "a.example", "Authorization": "bearer right"}, None),
    ("/stream?token=right", {"Host": "a.example", "Authorization": "Bearer wrong"}, 401),
    ("/stream?token=right", {"Host": "a.example", "Authorization": "Basic x"}, None),
    ("/stream?token=right", {"Host": "a.example", "Origin": "https://a.example"}, None),
    ("/stream?token=right", {"Host": "a.example:1", "Origin": "https://a.example"}, 403),
])
def test_who_has_the_token(path, headers, status):
    refused = why_refused(path, Headers(headers), "right")
    assert (refused and refused[0]) == status


def test_a_header_that_is_given_twice():
    for name in ("Host", "Origin", "Authorization"):
        headers = Headers([("Host", "localhost"), (name, "localhost"), (name, "x")])
        assert why_refused("/stream", headers, None)[0] == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_after_a_signal(recognizer, speech, number, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "lstmp.serve.server", "--model", str(recognizer.model.path),
                                    "--port", "0"], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                                   env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        end = time.monotonic() + 60
        while "listening: " not in (text := log.read_text()):
            assert process.poll() is None and time.monotonic() < end, text
            time.sleep(0.05)
        running = type("Address", (), {"port": int(text.split("listening: ")[1].split(":")[2].split("/")[0]),
                                       "open": Running.open})()
        with running.open() as connection:
            connection.send(BEGIN)
            connection.send(pcm(speech[:80_000]))
            assert json.loads(connection.recv()) == {"ready": True}
            process.send_signal(number)
            with pytest.raises(Exception, match="1001"):
                while True:
                    connection.recv(timeout=30)
        assert process.wait(30) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()


def test_errors_are_one_line(recognizer, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LSTMP_TOKEN", raising=False)

    def error(*options, model=recognizer.model.path):
        with pytest.raises(SystemExit) as e:
            main(["--model", str(model), *options])
        assert e.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "cert").write_text("no certificate\n")
    assert "there is no token" in error("--host", "0.0.0.0") and "there is no token" in error("--host", "::")
    assert "fewer than 16" in error("--token-file", str(tmp_path / "short"))
    assert str(tmp_path / "absent") in error("--token-file", str(tmp_path / "absent"))
    assert "belong together" in error("--certificate", "x")
    assert "not a certificate" in error("--certificate", str(tmp_path / "cert"), "--key", str(tmp_path / "cert"))
    assert "connections" in error("--connections", "0")
    assert "--threads must be 1 or more" in error("--threads", "0")
    assert "not a model" in error(model=tmp_path) or "export" in error(model=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen on 127.0.0.1" in error("--port", str(taken.getsockname()[1]))
    assert "cannot listen" in error("--port", "70000")
