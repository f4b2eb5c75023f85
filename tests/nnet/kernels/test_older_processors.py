"""Older x86 processors: the fused kernels for AVX2, and PyTorch without AVX2, compute the same; nothing is an error."""

import platform

import pytest
import torch
from helpers.lstmp_chunk import make

from lstmp import native
from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.kernels import fused
from lstmp.nnet.loss import FrameCrossEntropy

PRECISIONS = ("fp32", "bf16x6", "bf16x3", "bf16")


@pytest.fixture(params=["x86-64-v2", "x86-64-v3"])
def older_processor(request, tmp_path, monkeypatch):
    """Compile the C++ parts for an older processor; the tests need one that can run them."""
    if platform.machine() != "x86_64" or " avx2 " not in open("/proc/cpuinfo").read():
        pytest.skip("not x86-64 with AVX2")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", ("-O2", f"-march={request.param}", "-std=c++17"))
    native.library.cache_clear()
    yield request.param
    native.library.cache_clear()


def results(bf16):
    args = make(3, 16, 5, 7, 4, 2, True, dtype=torch.float32)
    out = LstmpChunk.apply(*args, 50.0, bf16)
    y, w, b = (torch.randn(*s, generator=torch.Generator().manual_seed(1)).requires_grad_() for s in
               ((20, 30), (40, 30), (40,)))
    loss, hits = FrameCrossEntropy.apply(y, w, b, torch.arange(20), 20, bf16)
    return [*out, *torch.autograd.grad([o.sum() for o in out], args), loss, hits,
            *torch.autograd.grad(loss, [y, w, b])]


@pytest.mark.parametrize("bf16", [False, True])
def test_pytorch_computes_the_same(older_processor, bf16, monkeypatch, capsys):
    got = results(bf16)
    has_avx2 = older_processor == "x86-64-v3"
    assert [bool(fused.kernels(precision)) for precision in PRECISIONS] == [has_avx2, False, False, False]
    assert fused.current_precision(False) == "fp32" and fused.fits(torch.zeros(16, 16), bf16) == (has_avx2 and not bf16)
    assert not capsys.readouterr().err
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    native.library.cache_clear()
    for a, b in zip(got, results(bf16), strict=True):
        torch.testing.assert_close(a, b, rtol=0.03 if bf16 else 1e-5, atol=0.01 if bf16 else 2e-5)


def test_auto_selects_float32(older_processor, small_config):
    assert fused.resolve_precision(small_config(precision="auto"), "cpu").precision == "fp32"
    assert fused.training_precision(small_config(precision="fp32"), "cpu") == "fp32"
