"""The settings of a program that calls the package are restored."""

import os
import threading

import pytest
import torch

from lstmp import distributed
from lstmp.log import quiet
from lstmp.transcribe.contained import contained


@pytest.fixture(autouse=True)
def two_threads():
    previous = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(previous)


def state():
    return torch.get_num_threads(), float(torch.full((1,), 1e-40)) != 0


def test_settings_are_also_restored_after_an_error():
    with pytest.raises(KeyError), contained():
        assert state() == (1, False)
        with contained():
            pass
        assert state() == (1, False)
        raise KeyError
    assert state() == (2, True)
    torch.set_flush_denormal(True)
    with contained():
        pass
    assert state() == (2, False)


def test_it_works_in_several_threads_at_once():
    entered, leave, seen = threading.Barrier(3), threading.Event(), []

    def work():
        with contained():
            entered.wait(30)
            seen.append(state())
            leave.wait(30)
        seen.append(state())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait(30)
    with contained():
        assert state() == (1, False)
    assert state() == (2, True)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == [(1, False), (1, False), (2, True), (2, True)] and state() == (2, True)


def test_a_process_group_of_the_caller_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert (distributed.rank(), distributed.world_size()) == (1, 2)
    done = []
    with contained():
        assert (distributed.rank(), distributed.world_size(), distributed.gather(3)) == (0, 1, [3])
        distributed.launch(done.append, 1, "launched")
        distributed.together(done.append, "together")
        distributed.on_first(done.append, "first")
        distributed.all_reduce(torch.ones(1))
    assert done == ["launched", "together", "first"]
    assert distributed.rank() == 1


def test_quiet_restores_the_environment(monkeypatch):
    for value in (None, "1"):
        monkeypatch.delenv("LSTMP_QUIET", raising=False)
        if value:
            monkeypatch.setenv("LSTMP_QUIET", value)
        with quiet(bars=False):
            assert os.environ["LSTMP_QUIET"] == "1"
        assert os.environ.get("LSTMP_QUIET") == value
