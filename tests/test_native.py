"""Compiled parts: made once, remade when their text changes, and done without where that is not possible."""

import ctypes

import pytest

from lstmp import native


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A function that writes a source of one function and loads it, in a cache of its own."""
    monkeypatch.setattr(native, "ROOT", tmp_path)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))

    def load(body):
        (tmp_path / "part.cpp").write_text(f'extern "C" int answer() {{ {body} }}\n')
        native.library.cache_clear()
        return native.library("part.cpp")

    yield load
    native.library.cache_clear()


def test_it_is_compiled_once_and_again_when_its_text_changes(part, capsys):
    first = part("return 41;")
    if first is None:
        pytest.skip("no C++ compiler")
    assert isinstance(first, ctypes.CDLL) and first.answer() == 41
    assert capsys.readouterr().out.count("compiling part.cpp, once") == 1
    assert part("return 41;").answer() == 41 and not capsys.readouterr().out
    assert part("return 42;").answer() == 42
    assert capsys.readouterr().out.count("compiling part.cpp, once") == 1


def test_what_cannot_be_compiled_is_said_and_done_without(part, capsys):
    assert part("this is no C++;") is None
    assert "part.cpp is not compiled, going on without it, slower: " in capsys.readouterr().err


def test_without_a_compiler(part, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert part("return 1;") is None
    assert "part.cpp is not compiled" in capsys.readouterr().err


def test_it_can_be_turned_off(part, monkeypatch):
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    assert part("return 1;") is None
