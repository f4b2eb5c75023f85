"""Endless work is stopped by limits of time and memory; other work behaves as if it ran in the same process."""

import os
import signal

import numpy as np
import pytest
import torch

from lstmp.errors import UserError
from lstmp.graph import bounded as module
from lstmp.graph.bounded import bounded

ERROR = UserError("too much", file="lang", hint="make less of it")


def test_what_it_returns_and_raises(capfd):
    def work():
        print("at work")
        return np.arange(3), os.getpid()

    numbers, process = bounded(work, 1, ERROR)
    assert numbers.tolist() == [0, 1, 2] and process != os.getpid()
    assert capfd.readouterr().out == "at work\n"
    for error, raised, text in ((UserError("bad", file="G.fst"), UserError, "G.fst: bad"),
                                (ValueError("ours"), RuntimeError, "ours"),
                                (FileNotFoundError(2, "gone", "G.fst"), FileNotFoundError, "gone: 'G.fst'")):
        def fails(error=error):
            raise error
        with pytest.raises(raised, match=text):
            bounded(fails, 1, ERROR)


def test_torch_is_not_waited_for():
    """The parent's threads are not there in the process that is forked."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    numbers = torch.ones(1 << 20)
    try:
        assert float((numbers + 1).sum()) == 1 << 21
        assert bounded(lambda: float((numbers + 1).sum()), 1, ERROR) == 1 << 21
    finally:
        torch.set_num_threads(before)


def test_time(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 1.0)

    def forever():
        while True:
            pass

    with pytest.raises(UserError, match="lang: too much; make less of it"):
        bounded(forever, 1, ERROR)


def test_memory():
    with pytest.raises(UserError, match="too much"):
        bounded(lambda: np.ones(2 * module._BYTES // 8), 100, ERROR)
    assert bounded(lambda: len(np.ones(module._BYTES // 8)), 20_000, ERROR) == module._BYTES // 8


def test_a_library_that_gives_up():
    def gives_up():
        raise RuntimeError("looped more than 500000 times")

    with pytest.raises(UserError, match="too much"):
        bounded(gives_up, 1, ERROR)


def test_a_killed_process():
    with pytest.raises(UserError, match="lang: the process that builds the graph was killed"):
        bounded(lambda: os.kill(os.getpid(), signal.SIGKILL), 1, ERROR)


def test_a_slow_machine_has_more_time(monkeypatch):
    assert 1 <= module._slowness() < 100
    monkeypatch.setattr(module, "_LOOP_SECONDS", module._LOOP_SECONDS / 100)
    assert module._slowness() > 20
