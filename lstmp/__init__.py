"""Hybrid HMM acoustic modelling with deep LSTMP networks, from audio to word error rates.

For other programs it has these names, which docs/python.md explains; all else may change from version to version:

    Recognizer       transcribe recordings, or speech as it comes in, with a trained model
    align            align recordings with their transcripts
    read_alignment   read what an alignment folder holds
    fbank, mfcc      features of samples
    LstmpNetwork     LSTM with peepholes and projections, a torch.nn.Module
    UserError        raised for errors that the caller can fix

They are imported when they are first used: ``import lstmp`` itself takes milliseconds, without torch.

The rooms of the package, each of which may use those before it and none after:
`corpus` → `features` → `gmm` → `kaldi` → `alignment` → `graph` → `nnet` → `decode` → `score` → `transcribe` →
`recipe` → `experiment`. The modules at this level (``errors``, ``config``, ``stage``, ``log``, …) serve every room.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

_PLACES = {
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
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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


def _tell_of_memory(kind, e, trace):
    """In the place of a traceback, one line where there is not even memory for torch itself."""
    if isinstance(e, MemoryError) or isinstance(e, ImportError) and "failed to map segment" in str(e):
        print("error: out of memory while packages are loaded; a process needs 3 GB of addresses, raise `ulimit -v`",
              file=sys.stderr)
    else:
        sys.__excepthook__(kind, e, trace)


_let_mkl_use_avx2_on_amd()
if sys.argv[:1] == ["-m"]:  # `python -m lstmp.…`, a command, whose modules are still to be imported
    sys.excepthook = _tell_of_memory
