"""Hybrid HMM acoustic modelling with deep LSTMP networks, from audio to word error rates.

Other programs can use these names, which docs/python.md explains; everything else may change between versions:

    Recognizer       transcribe recordings, or speech as it comes in, with a trained model
    align            align recordings with their transcripts
    read_alignment   read an alignment folder
    fbank, mfcc      compute features from samples
    LstmpNetwork     LSTM with peepholes and projections, a torch.nn.Module
    UserError        raised for errors that the caller can fix

Each is imported at its first use: ``import lstmp`` itself takes milliseconds and does not import torch.

The subpackages, which we call rooms, are ordered. Each may import the rooms to its left, but none to its right:
`corpus` → `features` → `gmm` → `kaldi` → `alignment` → `graph` → `nnet` → `decode` → `sequence` → `score` → `report` →
`transcribe` → `serve` → `recipe` → `experiment`. Every room may use the modules at this level (``errors``,
``config``, ``stage``, ``log``, …).
"""

import importlib
import os
import sys

__version__ = "0.1.0"

_MODULE_OF = {
    "LstmpNetwork": "lstmp.nnet.lstmp_network",
    "Recognizer": "lstmp.transcribe.recognizer",
    "UserError": "lstmp.errors",
    "align": "lstmp.transcribe.align_folder",
    "fbank": "lstmp.features.functions",
    "mfcc": "lstmp.features.functions",
    "read_alignment": "lstmp.gmm.align",
}
__all__ = ["LstmpNetwork", "Recognizer", "UserError", "align", "fbank", "mfcc", "read_alignment"]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _let_mkl_use_avx2_on_amd():
    """Make MKL 2020.0, which torch 1.13 contains, use AVX2 on AMD processors.

    By default it runs SSE code there, and GEMM is 3 to 4 times slower. The variable must be set before torch is
    imported; later MKL releases do not read it.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            cpu_info = f.read(4096)
    except OSError:
        return
    if "AuthenticAMD" in cpu_info and " avx2 " in cpu_info:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


def _report_out_of_memory(exception_type, e, trace):
    """An exception hook: print one line instead of a traceback if there is too little memory even to import torch."""
    if isinstance(e, MemoryError) or isinstance(e, ImportError) and "failed to map segment" in str(e):
        print("error: out of memory while packages are loaded; a process needs 3 GB of address space, raise "
              "`ulimit -v`", file=sys.stderr)
    else:
        sys.__excepthook__(exception_type, e, trace)


_let_mkl_use_avx2_on_amd()
if sys.argv[:1] == ["-m"]:  # a command, `python -m lstmp.…`: its modules have not been imported yet
    sys.excepthook = _report_out_of_memory
