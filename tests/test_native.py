"""Compiled parts: made once, made again when the source changes, and replaced if they cannot be compiled."""

import ctypes
import os
import platform
import re
import shutil
import signal
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, Popen, run
from sys import executable

import pytest

from lstmp import native
from lstmp.paths import PACKAGE


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A function that writes a source with one C++ function and loads it, with a separate cache."""
    monkeypatch.setattr(native, "PACKAGE", tmp_path)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))

    def load(body, *flags):
        (tmp_path / "part.cpp").write_text(f'extern "C" int answer() {{ {body} }}\n')
        native.library.cache_clear()
        return native.library("part.cpp", *flags)

    yield load
    native.library.cache_clear()


def test_a_part_is_compiled_once_and_again_when_its_source_changes(part, capsys):
    first = part("return 41;")
    if first is None:
        pytest.skip("no C++ compiler")
    assert isinstance(first, ctypes.CDLL) and first.answer() == 41
    assert capsys.readouterr().out.count("compiling part.cpp, once") == 1
    assert part("return 41;").answer() == 41 and not capsys.readouterr().out
    assert part("return 42;").answer() == 42
    assert capsys.readouterr().out.count("compiling part.cpp, once") == 1


def test_a_part_that_cannot_be_compiled_gives_one_warning(part, capsys):
    if part("return 1;") is None:
        pytest.skip("no C++ compiler")
    assert part("this is no C++;") is None
    message = capsys.readouterr().err
    assert "part.cpp is not compiled; continuing without it, more slowly: " in message and "error: " in message
    assert message.count("\n") == 1


def test_without_a_compiler_one_warning_says_how_to_install_one(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert part("return 1;") is None
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "no C++ compiler where CXX says, `/no/such/compiler`" in message
    assert "apt-get install g++" in message and "more slowly" in message
    (tmp_path / "other.cpp").write_text("")
    assert native.library("other.cpp") is None and not capsys.readouterr().err
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert part("return 1;") is None
    assert "no C++ compiler: continuing" in capsys.readouterr().err


def test_a_part_that_was_compiled_before_needs_no_compiler(part, monkeypatch):
    if part("return 7;") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert part("return 7;").answer() == 7


def test_cxx_may_contain_a_wrapper_and_options(part, tmp_path, monkeypatch):
    if native._compiler() is None:
        pytest.skip("no C++ compiler")
    wrapper = tmp_path / "keep"
    wrapper.write_text(f'#!/bin/sh\necho used >> "{tmp_path}/used"\nexec "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", f"{wrapper} {native._compiler()[0]} -DANSWER=5")
    assert part("return ANSWER;").answer() == 5
    assert "used" in (tmp_path / "used").read_text()


def test_nothing_but_a_compiler_is_needed(part, tmp_path, monkeypatch):
    """Neither ninja nor another program from the Python environment is used."""
    compiler = native._compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("CXX", shutil.which(compiler[0]))
    assert part("return 3;").answer() == 3
    assert [p.suffix for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != "busy"] == [".so"]


def test_loading_does_not_flush_denormals_of_the_process(part):
    """If GCC linked with -ffast-math, denormals would become zero in the whole process."""
    if part("return 1;", "-ffast-math") is None:
        pytest.skip("no C++ compiler")
    assert float("1e-310") * 0.5 > 0


def test_processes_that_load_at_the_same_time_compile_once(part, tmp_path):
    if part("return 1;") is None:
        pytest.skip("no C++ compiler")
    (tmp_path / "part.cpp").write_text('extern "C" int answer() { return 9; }\n')
    code = (f"from pathlib import Path; from lstmp import native; native.PACKAGE = Path({str(tmp_path)!r});"
            "print('answer', native.library('part.cpp').answer())")
    with ThreadPoolExecutor(3) as pool:
        message = "".join(pool.map(lambda _: run([executable, "-c", code], capture_output=True, text=True).stdout,
                                range(3)))
    assert message.count("answer 9") == 3 and message.count("compiling part.cpp") == 1


def another(tmp_path, more="", **environment):
    """Compile part.cpp in another process, which runs ``more`` first."""
    code = (f"from pathlib import Path; from lstmp import native; native.PACKAGE = Path({str(tmp_path)!r})\n{more}\n"
            "print('answer', native.library('part.cpp').answer())")
    return Popen([executable, "-c", code], stdout=PIPE, stderr=PIPE, text=True, env=os.environ | environment)


@pytest.mark.parametrize("how", ["KILL", "TERM"])
def test_a_killed_compilation_does_not_block_another_one(part, tmp_path, how):
    """The compiler even continues, but holds nothing that another process waits for. Its files are removed later."""
    compiler = native._compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    part("return 1;")
    (tmp_path / "part.cpp").write_text('extern "C" int answer() { return 9; }\n')
    cruel = tmp_path / "cruel"
    cruel.write_text(f"#!/bin/sh\nkill -{how} $PPID\nexec sleep 60\n")
    cruel.chmod(0o755)
    assert another(tmp_path, CXX=str(cruel)).wait(60) == -getattr(signal, f"SIG{how}")
    left = [p for p in (tmp_path / "cache").rglob(".*") if p.is_dir()]
    assert len(left) == 1
    message, _ = another(tmp_path).communicate(timeout=60)
    assert "answer 9" in message and not left[0].exists()


def test_a_hanging_compilation_is_not_waited_for_forever(part, tmp_path):
    if native._compiler() is None:
        pytest.skip("no C++ compiler")
    part("return 1;")
    (tmp_path / "part.cpp").write_text('extern "C" int answer() { return 9; }\n')
    halted = tmp_path / "halted"
    halted.write_text("#!/bin/sh\nkill -STOP $PPID\nexec sleep 60\n")
    halted.chmod(0o755)
    first = another(tmp_path, CXX=str(halted))
    try:
        assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
        message, _ = another(tmp_path, "native._TIMEOUT = 0.5").communicate(timeout=60)
        assert "answer 9" in message
    finally:
        first.kill()
        first.communicate()


def test_a_hanging_compiler_is_stopped(part, tmp_path, monkeypatch, capsys):
    if part("return 1;") is None:
        pytest.skip("no C++ compiler")
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr(native, "_TIMEOUT", 0.1)
    assert part("return 2;") is None and "timed out" in capsys.readouterr().err


def test_a_damaged_library_is_compiled_again(part, tmp_path):
    if part("return 4;") is None:
        pytest.skip("no C++ compiler")
    (built,) = (tmp_path / "cache").rglob("*.so")
    built.unlink()  # this process has it open
    built.write_bytes(b"")
    for compilations in (1, 0):
        message = another(tmp_path).communicate(timeout=60)[0]
        assert "answer 4" in message and message.count("compiling") == compilations


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unknown user")
def test_a_user_without_a_home_folder():
    """This does not use pytest's folders, which only root can read."""
    if native._compiler() is None:
        pytest.skip("no C++ compiler")
    become = ("import os; os.environ.pop('HOME', 0); os.environ.pop('TORCH_EXTENSIONS_DIR', 0); os.setgid(54321); "
              "os.setuid(54321)")
    with tempfile.TemporaryDirectory() as name:
        folder, place = Path(name), Path(name) / "tmp"
        (folder / "part.cpp").write_text('extern "C" int answer() { return 6; }\n')
        place.mkdir()
        folder.chmod(0o755), place.chmod(0o777)
        message = another(folder, become, TMPDIR=str(place)).communicate(timeout=60)
        assert "answer 6" in message[0] and not message[1], message
        assert [p.name for p in place.iterdir()] == ["lstmp-compiled-54321"]
        (place / "lstmp-compiled-54321").chmod(0o777)
        assert "only this user can enter" in another(folder, become, TMPDIR=str(place)).communicate(timeout=60)[1]


def test_running_out_of_memory_in_cpp_raises_memory_error(part, tmp_path):
    """A vector that is too large, or a limit on the memory, raises an exception in Python, once."""
    for body in ("return static_cast<int>(std::vector<char>(size_t(1) << 62).size());", "throw std::bad_alloc();"):
        (tmp_path / "guard.h").write_bytes((PACKAGE / "guard.h").read_bytes())
        (tmp_path / "part.cpp").write_text('#include "guard.h"\n#include <new>\n#include <vector>\n'
                                           f'extern "C" int asks() try {{ {body} }} LSTMP_GUARD(-1)\n'
                                           'extern "C" int answer() { return 3; }\n')
        native.library.cache_clear()
        found = native.library("part.cpp")
        if found is None:
            pytest.skip("no C++ compiler")
        with pytest.raises(MemoryError, match="no memory for asks"):
            found.asks()
        assert found.answer() == 3


def test_every_source_that_allocates_memory_is_guarded():
    """A C++ exception that leaves a function for ctypes would abort the process."""
    asking = {p: p.read_text() for p in PACKAGE.rglob("*.cpp")}
    asking = {p: t for p, t in asking.items() if re.search(r"std::vector|std::unique_ptr|reserve|backward.h", t)}
    assert {p.stem for p in asking} >= {"search", "lattice", "compose", "viterbi", "fused"}
    for path, text in asking.items():
        include = "../" * (len(path.relative_to(PACKAGE).parts) - 1) + "guard.h"
        assert f'#include "{include}"' in text and "LSTMP_GUARD(" in text, path


def test_all_instructions_of_the_processor_are_used():
    wanted = {"x86_64": "-march=native", "aarch64": "-mcpu=native"}
    assert wanted.get(platform.machine(), "-O3") in native.FLAGS


def test_different_processors_are_distinguished():
    assert platform.machine().encode() in native._processor() and len(native._processor()) > 20


def test_compiled_parts_can_be_disabled(part, monkeypatch):
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    assert part("return 1;") is None
