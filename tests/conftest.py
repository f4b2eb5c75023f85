"""Fixtures for several tests: the corpus pack of real speech, if there is one; and the list of skipped tests."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import ROOT, skips
from hypothesis import settings

# The same examples in every run; HYPOTHESIS_PROFILE=random tries new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(scope="session")
def corpus_pack() -> Path:
    """The folder of the corpus pack (``LibriSpeech/`` and ``lm/``), named by LSTMP_CORPUS; skips without it."""
    place = os.environ.get("LSTMP_CORPUS") or ROOT.parent / "shared" / "corpus"
    place = Path(place)
    if not (place / "LibriSpeech").is_dir():
        pytest.skip("no corpus pack: set LSTMP_CORPUS to its folder")
    return place


@pytest.fixture(autouse=True)
def denormals_not_flushed():
    """Commands make the processor flush denormals; this must not affect the next test."""
    torch.set_flush_denormal(False)


def _skipped(config) -> Counter | None:
    """How many tests were skipped for each reason; None in a worker of pytest-xdist, which reports to another."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(config, "workerinput"):
        return None
    return Counter(skips.reason_of(report) for report in terminal.stats.get("skipped", []))


def pytest_sessionfinish(session, exitstatus):
    """A reason that tests/allowed_skips.txt does not have makes the run fail."""
    counts = _skipped(session.config)
    if counts and exitstatus == pytest.ExitCode.OK and skips.not_allowed(counts, skips.read_allowed()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """The skipped tests by reason; also added to the file that LSTMP_SKIPS names, for the end of .ci/run."""
    counts = _skipped(config)
    if not counts:
        return
    lines = skips.table(counts)
    terminalreporter.section(f"{counts.total()} skipped, by reason")
    for line in lines:
        terminalreporter.write_line(line)
    for reason in skips.not_allowed(counts, skips.read_allowed()):
        terminalreporter.write_line(f"error: not among the reasons of tests/allowed_skips.txt: {reason}", red=True)
    if path := os.environ.get("LSTMP_SKIPS"):
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
