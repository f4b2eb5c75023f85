"""A browser, and a page with made-up data."""

from pathlib import Path

import pytest
from helpers import browser, report_sample


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; skips where there is none."""
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("no Chromium with its driver")
    started = browser.Browser()
    yield started
    started.close()


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    """The page of a finished experiment with 1,000 utterances of a set."""
    return report_sample.write(tmp_path_factory.mktemp("finished"))
