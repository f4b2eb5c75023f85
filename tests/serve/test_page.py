"""The page that sends the microphone, in headless Chromium with a recording as its microphone."""

import pytest
from helpers import browser
from helpers.client import Running
from helpers.five_words import babble

from lstmp.corpus.audio import write_wav


@pytest.fixture
def chromium(tmp_path):
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("no Chromium with its driver")
    write_wav(tmp_path / "microphone.wav", babble(6.0))
    started = browser.Browser("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                              f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}")
    yield started
    started.close()


def test_words_of_the_microphone_are_shown(running, chromium):
    address = f"http://127.0.0.1:{running.port}/"
    chromium.driver.get(address)
    chromium.wait("return document.documentElement.dataset.ready")
    assert chromium.texts("#state") == ["Press Start and speak."]
    chromium.click("#start")
    chromium.wait("return document.querySelector('#state').textContent === 'Listening.'")
    assert running.server.connections == 1
    chromium.wait("return document.querySelector('main p.open')")
    assert chromium.wait("return document.querySelector('main p:not(.open) span')?.textContent")
    chromium.click("#start")
    chromium.wait("return document.querySelector('#start').textContent === 'Start'")
    assert chromium.texts("#state") == ["Press Start and speak."] and not chromium.all("main p.open")
    assert all(url.startswith(address) for url in chromium.requests() if browser.is_remote(url) and "://" in url)
    assert chromium.console() == []


def test_a_refused_connection_says_why(recognizer, chromium):
    server = Running(recognizer, token="a-secret-of-some-length")
    try:
        for query, state in (("", "No connection"), ("?token=a-secret-of-some-length", "Listening.")):
            chromium.driver.get(f"http://127.0.0.1:{server.port}/{query}")
            chromium.wait("return document.documentElement.dataset.ready")
            chromium.click("#start")
            chromium.wait("return document.querySelector('#state').textContent.startsWith(arguments[0])", state)
    finally:
        server.close()
