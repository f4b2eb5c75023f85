"""The fused kernels give the same results on each instruction set: AVX-512 and AVX2 here, NEON here or under QEMU.

So do those for bfloat16, on AVX512_BF16 and AMX, which are emulated where the processor has only AVX-512, and on ARM.
"""

import functools
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
NO_CLIP = 50  # with rounded factors the rounding would decide which cells are clipped
TARGETS = {"AVX2": ["-march=x86-64-v3"], "AVX-512": ["-march=skylake-avx512"], "NEON": ["-march=armv8-a"],
           "AVX512_BF16": ["-march=cooperlake", "-DLSTMP_FACTORS=Bf16Dot"],
           "AVX512_BF16 emulated": ["-march=skylake-avx512", "-DLSTMP_FACTORS=Bf16Dot",
                                    "-include", str(Path(__file__).with_name("emulated_avx512_bf16.h"))],
           "AMX emulated": ["-march=skylake-avx512", "-DLSTMP_FACTORS=Amx<1>",
                            "-include", str(Path(__file__).with_name("emulated_amx.h"))],
           "ARM BF16": ["-march=armv8.2-a+bf16", "-DLSTMP_FACTORS=Bf16Dot"]}
AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
NEEDED = {"AVX2": {"avx2", "fma"}, "AVX-512": AVX512, "AVX512_BF16": AVX512 | {"avx512_bf16", "avx512_vnni"},
          "AVX512_BF16 emulated": AVX512, "AMX emulated": AVX512, "NEON": {"asimd"}, "ARM BF16": {"bf16"}}  # of cpuinfo


def runner(name: str, folder: Path) -> list[str]:
    """Compile the program for an instruction set; the command that runs it. Skips the test if there is none."""
    machine = "aarch64" if name in ("NEON", "ARM BF16") else "x86_64"
    here = platform.machine() == machine and (machine == "x86_64" or runs_here(name))
    compiler = next(filter(shutil.which, ["c++", "g++"] if platform.machine() == machine else
                           [f"{machine}-linux-gnu-g++"]), None)
    emulator = [] if here else [shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")]
    if compiler is None or None in emulator:
        pytest.skip(f"no C++ compiler for {machine}: install one, and qemu-user to run its programs")
    if here and not runs_here(name):
        pytest.skip("not x86-64 with AVX2" if name == "AVX2" else f"no {name.split()[0]}")
    program = folder / "program"
    subprocess.run([compiler, *TARGETS[name], "-std=c++17", "-O2", "-fno-math-errno", "-static", f"-I{PACKAGE}",
                    str(Path(__file__).with_name("fused_main.cpp")), "-o", str(program)], check=True)
    return [*emulator, str(program)]


def runs_here(name: str) -> bool:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    has = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return NEEDED[name] <= set(has)


def results(command: list[str], sizes, clip: float) -> dict[str, np.ndarray]:
    done = subprocess.run([*command, *map(str, sizes), str(clip)], check=True, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: np.array(values, dtype=np.float64) for name, *values in lines}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The command of the program for an instruction set, compiled once."""
    return functools.cache(lambda name: runner(name, tmp_path_factory.mktemp("program")))


@pytest.fixture(scope="module")
def reference(program):
    """The program for AVX2, or for NEON on ARM."""
    return program("NEON" if platform.machine() == "aarch64" else "AVX2")


@pytest.mark.parametrize("name", ["AVX-512", "NEON"])
def test_results_are_equal(reference, name, program):
    command = program(name)
    for sizes in SIZES:
        compare(results(reference, sizes, 0.9), results(command, sizes, 0.9), 2e-4, 2e-5, sizes)


@pytest.mark.parametrize("name", ["AVX512_BF16", "AVX512_BF16 emulated", "AMX emulated", "ARM BF16"])
def test_bfloat16_factors(reference, name, program):
    command = program(name)
    for sizes in SIZES:
        compare(results(reference, sizes, NO_CLIP), results(command, sizes, NO_CLIP), 0.05, 0.02, sizes)


@pytest.mark.parametrize("name", ["AVX512_BF16", "AMX emulated", "ARM BF16"])
def test_bfloat16_factors_are_equal(name, program):
    """All round factors alike: the order of the sums differs, and through it, rarely, a rounded factor."""
    command, other = program("AVX512_BF16 emulated"), program(name)
    for sizes in SIZES:
        compare(results(command, sizes, NO_CLIP), results(other, sizes, NO_CLIP), 0.01, 0.004, sizes)


def compare(expected: dict[str, np.ndarray], got: dict[str, np.ndarray], rtol: float, atol: float, sizes):
    """They are equal up to ``rtol`` and ``atol``; the latter is relative to the largest number."""
    assert len(expected) == 15 and expected.keys() == got.keys()
    for key, x in expected.items():
        assert np.isfinite(x).all() and np.abs(x).max() > 0
        np.testing.assert_allclose(got[key], x, rtol=rtol, atol=atol * np.abs(x).max(), err_msg=f"{key} of {sizes}")
