"""The fused kernels give the same results on each instruction set: AVX-512 and AVX2 here, NEON here or under QEMU."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lstmp.paths import PACKAGE

# with and without whole tiles; many streams, where W_x x is computed frame by frame
SIZES = [(3, 5, 7, 11, 6, 3, 9), (4, 80, 40, 48, 32, 16, 37), (2, 16, 32, 64, 32, 32, 64)]
TARGETS = {"AVX2": "-march=x86-64-v3", "AVX-512": "-march=skylake-avx512", "NEON": "-march=armv8-a"}


def runner(name: str, folder: Path) -> list[str]:
    """Compile the program for an instruction set; the command that runs it. Skips the test if there is none."""
    machine, flag = ("aarch64" if name == "NEON" else "x86_64"), TARGETS[name]
    here = platform.machine() == machine
    compiler = next(filter(shutil.which, ["c++", "g++"] if here else [f"{machine}-linux-gnu-g++"]), None)
    emulator = [] if here else [shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")]
    if compiler is None or None in emulator:
        pytest.skip(f"no C++ compiler for {machine}: install one, and qemu-user to run its programs")
    if here and machine == "x86_64" and not runs_here(name):
        pytest.skip("no AVX-512" if name == "AVX-512" else "not x86-64 with AVX2")
    program = folder / "program"
    subprocess.run([compiler, flag, "-std=c++17", "-O2", "-fno-math-errno", "-static", f"-I{PACKAGE}",
                    str(Path(__file__).with_name("fused_main.cpp")), "-o", str(program)], check=True)
    return [*emulator, str(program)]


def runs_here(name: str) -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return False
    return {"AVX2": {"avx2", "fma"}, "AVX-512": {"avx512f", "avx512bw", "avx512vl", "avx512dq"}}[name] <= set(flags)


def results(command: list[str], sizes) -> dict[str, np.ndarray]:
    done = subprocess.run([*command, *map(str, sizes)], check=True, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: np.array(values, dtype=np.float64) for name, *values in lines}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The program for AVX2, or for NEON on ARM."""
    return runner("NEON" if platform.machine() == "aarch64" else "AVX2", tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("name", ["AVX-512", "NEON"])
def test_results_are_equal(reference, name, tmp_path):
    command = runner(name, tmp_path)
    for sizes in SIZES:
        expected, got = results(reference, sizes), results(command, sizes)
        assert len(expected) == 15 and expected.keys() == got.keys()
        for key, x in expected.items():
            assert np.isfinite(x).all() and np.abs(x).max() > 0
            np.testing.assert_allclose(got[key], x, rtol=2e-4, atol=2e-5 * np.abs(x).max(), err_msg=f"{key} of {sizes}")
