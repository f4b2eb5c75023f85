"""Other x86 processors than this one: the fused kernels for AVX2 and for AVX512_BF16, which is emulated, and PyTorch
without AVX2, compute the same; nothing is an error."""

import platform
from pathlib import Path

import pytest
import torch
from helpers.lstmp_chunk import make

from lstmp import native
from lstmp.nnet.cell import LstmpChunk, factor_cast
from lstmp.nnet.kernels import fused, scoring
from lstmp.nnet.layers import LstmpLayer
from lstmp.nnet.loss import FrameCrossEntropy

PRECISIONS = ("fp32", "bf16x6", "bf16x3", "bf16")


PROCESSORS = {"x86-64-v2": ["-march=x86-64-v2"], "x86-64-v3": ["-march=x86-64-v3"],
              "AVX512_BF16": ["-march=skylake-avx512", "-include",
                              str(Path(__file__).with_name("emulated_avx512_bf16.h"))]}


@pytest.fixture(params=PROCESSORS)
def processor(request, tmp_path, monkeypatch):
    """Compile the C++ parts for another processor; the tests need one that can run them."""
    instructions = open("/proc/cpuinfo").read()
    if platform.machine() != "x86_64" or " avx2 " not in instructions:
        pytest.skip("not x86-64 with AVX2")
    if request.param == "AVX512_BF16" and " avx512dq " not in instructions:
        pytest.skip("no AVX-512")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", ("-O2", *PROCESSORS[request.param], "-std=c++17"))
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
def test_pytorch_computes_the_same(processor, bf16, monkeypatch, capsys):
    got = results(bf16)
    has_fp32, has_bf16 = processor != "x86-64-v2", processor == "AVX512_BF16"
    assert [bool(fused.kernels(precision)) for precision in PRECISIONS] == [has_fp32, False, False, has_bf16]
    assert fused.current_precision(False) == "fp32"
    assert fused.fits(torch.zeros(16, 16), bf16) == (has_bf16 if bf16 else has_fp32)
    assert not fused.fits(torch.zeros(7, 16), bf16)
    assert not capsys.readouterr().err
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    native.library.cache_clear()
    for a, b in zip(got, results(bf16), strict=True):
        torch.testing.assert_close(a, b, rtol=0.03 if bf16 else 1e-5, atol=0.01 if bf16 else 2e-5)


@pytest.mark.parametrize("weights", scoring.WEIGHTS)
def test_scores_with_packed_weights(processor, weights):
    layer = LstmpLayer(11, 40, 17, 5, True, 50.0)
    layer.initialize(torch.Generator().manual_seed(1))
    layer.pack(weights)
    assert (layer.packed is None) == (processor == "x86-64-v2")
    x, r, c = torch.randn(6, 13, 11), torch.randn(13, 17), torch.randn(13, 40)
    with torch.no_grad():
        layers = layer(x, r, c)  # by the fused kernels, if they are faster
        packed = layer.packed(x, r, c) if layer.packed else layers
        layer.packed, layer.bf16 = None, False
        for a, b, exact in zip(packed, layers, layer(x, r, c), strict=True):
            torch.testing.assert_close(a, exact, rtol=1e-4, atol=1e-5)
            assert torch.equal(a, b) != (processor == "AVX512_BF16" and weights == "bf16")
            torch.testing.assert_close(b, exact, rtol=0.05, atol=0.01)


def test_auto_selects_what_is_fast(processor, small_config):
    expected = "bf16" if processor == "AVX512_BF16" else "fp32"
    for kind in ({}, {"kind": "dnn", "recurrent_projection": 0}):
        assert fused.resolve_precision(small_config(precision="auto", **kind), "cpu").precision == expected
    rnn = small_config(precision="auto", kind="rnn", recurrent_projection=0)
    assert fused.resolve_precision(rnn, "cpu").precision == "fp32"
    for large, dtype in ((False, torch.float32), (True, torch.bfloat16 if expected == "bf16" else torch.float32)):
        factor = factor_cast(True, torch.device("cpu"), large)(torch.tensor([1 + 2**-12]))
        assert factor == 1 and factor.dtype == dtype
    assert fused.training_precision(small_config(precision="fp32"), "cpu") == "fp32"
