"""On every machine, all C++ sources compile for x86-64 with and without AVX2 and AVX-512, and for aarch64."""

import ctypes
import platform
import shutil
import subprocess

import pytest

from lstmp.paths import PACKAGE

SOURCES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.cpp"))
# For ARM: the base instruction set, and one whose vector length is unknown to the compiler.
TARGETS = [("x86_64", "-march=x86-64-v2"), ("x86_64", "-march=x86-64-v3"), ("x86_64", "-march=skylake-avx512"),
           ("aarch64", "-march=armv8-a"), ("aarch64", "-march=armv8.2-a+sve")]
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-Wall", "-Werror",
         "-Wno-unknown-pragmas",  # GCC's, which Clang does not know
         "-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # GCC 12's own headers for AVX-512 have such variables


def compiler_for(machine: str, flag: str) -> str:
    """Find a compiler for a processor; skip the test if there is none."""
    here = platform.machine() == machine
    command = next(filter(shutil.which, ["c++", "g++"] if here else [f"{machine}-linux-gnu-g++"]), None)
    if command is None:
        pytest.skip(f"no C++ compiler for {machine}" + ("" if here else f": install g++-{machine.replace('_', '-')}"
                                                        "-linux-gnu, or your system's like"))
    if subprocess.run([command, flag, "-x", "c++", "-fsyntax-only", "-"], input=b"", capture_output=True).returncode:
        pytest.skip(f"{command} does not know {flag}")
    return command


@pytest.mark.parametrize("machine,flag", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_it_compiles_without_a_warning(source, machine, flag, tmp_path):
    command = compiler_for(machine, flag)
    done = subprocess.run([command, flag, *FLAGS, "-c", str(PACKAGE / source), "-o", str(tmp_path / "part.o")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_sources_are_found():
    wanted = {"nnet/kernels/fused.cpp", "nnet/kernels/kernels.cpp", "gmm/viterbi.cpp", "decode/search.cpp"}
    assert wanted <= set(SOURCES)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="not x86-64")
@pytest.mark.parametrize("flag,ready", [("-march=x86-64-v2", 0), ("-march=x86-64-v3", 1), ("-march=skylake-avx512", 1)])
def test_the_fused_kernels_report_whether_they_can_run(flag, ready, tmp_path):
    made = tmp_path / "fused.so"
    command = compiler_for("x86_64", flag)
    subprocess.run([command, flag, *FLAGS, "-shared", str(PACKAGE / "nnet/kernels/fused.cpp"), "-o", str(made)],
                   check=True)
    assert ctypes.CDLL(str(made)).lstmp_fused_ready() == ready  # which runs on any processor
