"""Hybrid HMM acoustic modelling with deep LSTMP networks, from audio to word error rates.

The rooms of the package, each of which may use those before it and none after:
``corpus`` → ``features`` → ``gmm`` → ``graph`` → ``nnet`` → ``decode`` → ``score``.
The modules at this level (``errors``, ``config``, ``stage``, ``log``, ``parallel``) serve every room.
"""

import os

__version__ = "0.1.0"


def _let_mkl_use_avx2_on_amd():
    """MKL 2020.0, which torch 1.13 carries, runs SSE code on AMD unless told otherwise: GEMM is 3 to 4 times slower.

    The variable must be set before torch is imported; later MKL releases do not read it.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            head = f.read(4096)
    except OSError:
        return
    if "AuthenticAMD" in head and " avx2 " in head:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


_let_mkl_use_avx2_on_amd()
