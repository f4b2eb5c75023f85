"""The fused kernels against PyTorch: layers of any shape and the output layer, clipping, saturation, NaN."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from helpers.lstmp_chunk import make, off
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.kernels import fused
from lstmp.nnet.loss import FrameCrossEntropy
from lstmp.nnet.model import StateNetwork

KINDS = [pytest.param(kind, marks=pytest.mark.skipif(
    fused.kernels(kind) is None, reason=f"no {part}, no C++ compiler, or LSTMP_NATIVE=0"))
    for kind, part in (("fp32", "AVX-512"), ("bf16x6", "AMX"), ("bf16x3", "AMX"), ("bf16", "AMX"))]
NEAR = {"fp32": 2e-5, "bf16x6": 2e-5, "bf16x3": 3e-4, "bf16": 0.05}  # of the truth in float64, relative
by_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def kernels_of_the_kind(request, monkeypatch):
    """Where one kind is tested, float32 products as it has them."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if "kind" in params:
        monkeypatch.setenv("LSTMP_FUSED", params["kind"])
    with fused.quick_products() if params.get("kind") == "bf16x3" else nullcontext():
        yield


def results(args, clip, kind, use=None):
    """Outputs and gradients, of `fp64` or a kind of factors; with the kernels that ``use`` names."""
    dtype = torch.float64 if kind == "fp64" else torch.float32
    args = [None if a is None else a.detach().to(dtype).requires_grad_() for a in args]
    with pytest.MonkeyPatch.context() as patch:
        if use is not None:
            patch.setenv("LSTMP_FUSED", use)
        return chunk(args, kind, clip)


def chunk(args, kind, clip=50.0):
    out = LstmpChunk.apply(*args, clip, kind == "bf16")
    weight = [torch.cos(torch.arange(o.numel(), dtype=o.dtype)).view(o.shape) for o in out]
    return [*out, *torch.autograd.grad(out, [a for a in args if a is not None], weight)]


@by_kind
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(0, 70),
       st.integers(0, 40), st.booleans(), st.sampled_from([None, 50.0]), st.integers(0, 10**6))
def test_any_shape_is_near_the_truth(kind, frames, streams, inputs, cells, rec, proj, peepholes, clip, seed):
    args = make(frames, streams, inputs, cells, rec, proj if rec else 0, peepholes, seed, scale=0.3)
    plain, exact = results(args, clip, kind, ""), results(args, clip, "fp64")
    times = 100 if kind == "bf16x3" else 2  # PyTorch has no such factors: ours have 16 bits, its 24
    for a, b, c in zip(results(args, clip, kind), plain, exact, strict=True):
        assert a.dtype == torch.float32 and a.shape == c.shape
        assert off(a, c) < NEAR[kind] / 5 + times * off(b, c)


@by_kind
@pytest.mark.parametrize("frames,streams,inputs,cells,rec,proj", [
    (20, 33, 40, 160, 0, 0), (20, 33, 40, 160, 64, 0), (20, 33, 40, 160, 40, 24), (5, 63, 300, 160, 64, 0),
    (3, 145, 40, 160, 64, 0), (2, 300, 20, 160, 40, 24),  # more than 128 streams: a second band
    (2, 130, 20, 800, 290, 0), (2, 112, 20, 900, 40, 0)])  # cells' gradients are multiplied piece by piece
def test_large_layers(kind, frames, streams, inputs, cells, rec, proj):
    args = make(frames, streams, inputs, cells, rec, proj, True, 1, scale=0.1 if cells < 800 else 0.04)
    for a, c in zip(results(args, 50.0, kind), results(args, 50.0, "fp64"), strict=True):
        assert off(a, c) < NEAR[kind]


@pytest.mark.parametrize("kind", [k for k in KINDS if k.values == ("bf16x6",)])
@pytest.mark.parametrize("streams", [16, 70])
def test_six_products_of_bfloat16_are_as_exact_as_float32(kind, streams):
    args = make(20, streams, 40, 512, 256, 0, True, 1, scale=0.05)
    exact, plain = results(args, 50.0, "fp64"), results(args, 50.0, "fp32", "fp32")
    for a, b, c in zip(results(args, 50.0, "fp32"), plain, exact, strict=True):
        assert not torch.equal(a, b) and off(a, c) < 1.3 * off(b, c)


@by_kind
def test_they_are_used(kind, monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "bf16 bf16x3 fp32" if kind == "fp32" else "bf16 bf16x3 bf16x6 fp32")
    used, call = [], fused._call
    monkeypatch.setattr(fused, "_call", lambda name, *a: used.append((name, a[0])) or call(name, *a))
    args = make(2, 8, 3, 4, 2, 0, True)
    results(args, 50.0, kind)
    assert used == [("forward", kind), ("backward", kind)]
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    FrameCrossEntropy.apply(y, w, b, torch.randint(40, (20,)), 4, kind == "bf16")
    assert used.pop() == ("output", kind)
    results(args, 50.0, kind, "")
    results(args, 50.0, "fp64")
    assert len(used) == 2


@by_kind
def test_a_stream_does_not_depend_on_its_place(kind):
    args = make(3, 48, 40, 70, 40, 0, True, 1, scale=0.1)  # three tiles of streams: a pair and one
    args[:3] = [a[..., :1, :].expand_as(a).contiguous() for a in args[:3]]
    args = [None if a is None else a.detach().float().requires_grad_() for a in args]
    y, c = LstmpChunk.apply(*args, 50.0, kind == "bf16")
    d_x, = torch.autograd.grad(y.square().sum(), args[:1])
    for of_streams in (y, c[None], d_x):
        assert torch.equal(of_streams, of_streams[:, :1].expand_as(of_streams))


@by_kind
def test_infinity_stays_in_its_stream(kind):
    args = make(3, 48, 40, 70, 40, 0, True, 1, scale=0.1)
    with torch.no_grad():
        args[0][1, 5, 3] = float("inf")
        args[0][1, 40, 7] = 3.4e38  # what bfloat16 rounds to infinity
    y = results(args, 50.0, kind)[0]
    clean = [n for n in range(48) if n not in (5, 40)]
    assert y[0].isfinite().all() and y[:, clean].isfinite().all()
    if kind in ("bf16x3", "bf16x6"):
        assert y[1:, [5, 40]].isnan().all()


@pytest.mark.skipif(fused.kernels("bf16x3") is None, reason="no AMX")
def test_backward_is_of_the_kind_of_forward():
    args = [a if a is None else a.detach().requires_grad_() for a in make(3, 16, 5, 7, 4, 0, True, dtype=torch.float32)]
    given = [a for a in args if a is not None]

    def grads(y):
        return torch.autograd.grad(y.square().sum(), given)

    with fused.quick_products():
        y = LstmpChunk.apply(*args, 50.0, False)[0]
        inside = grads(LstmpChunk.apply(*args, 50.0, False)[0])
    plain = grads(LstmpChunk.apply(*args, 50.0, False)[0])
    for outside, a, b in zip(grads(y), inside, plain, strict=True):
        assert torch.equal(outside, a) and not torch.equal(a, b)


def test_quick_products_last_as_long_as_anyone_wants_them():
    now = torch.get_float32_matmul_precision
    first, second = fused.quick_products(), fused.quick_products()
    assert now() == "highest"
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert now() == "high" and (fused.kernels("bf16x3") is None or fused.kind_of(False) == "bf16x3")
    second.__exit__(None, None, None)
    assert now() == "highest" and fused.kind_of(False) == ("bf16x6" if fused.kernels("bf16x6") else "fp32")
    with pytest.raises(KeyError), fused.quick_products():
        raise KeyError
    assert now() == "highest"
    torch.set_float32_matmul_precision("medium")
    with fused.quick_products():
        assert now() == "medium"
    assert now() == "medium"
    torch.set_float32_matmul_precision("highest")


@by_kind
def test_a_clipped_cell_passes_no_gradient(kind):
    args = make(30, 18, 3, 20, 9, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][:60] = 20.0  # input, forget and cell gates open: the cell grows by 1 a frame
        args[2].fill_(60.0)
    out = results(args, 50.0, kind)
    assert torch.equal(out[1], torch.full_like(out[1], 50.0))
    assert torch.count_nonzero(out[4]) == 0  # of c_0
    assert torch.count_nonzero(results(args, None, kind)[4]) == out[4].numel()


@by_kind
def test_saturated_gates_stay_finite(kind):
    args = make(5, 17, 20, 40, 8, 8, True, scale=1e3)
    assert all(torch.isfinite(x).all() for x in results(args, 50.0, kind))


@by_kind
@pytest.mark.parametrize("which", range(9))
def test_nan_goes_through(kind, which):
    args = make(3, 17, 20, 40, 8, 8, True, scale=0.3)
    with torch.no_grad():
        args[which].view(-1)[5] = float("nan")
    assert torch.isnan(results(args, 50.0, kind)[0]).any()


@by_kind
def test_gradients_that_nobody_asks_for_are_left_out(kind):
    args = make(4, 9, 6, 7, 3, 2, True, dtype=torch.float32)
    x, r, c, *weights = (a.detach() for a in args)
    weights = [w.requires_grad_() for w in weights]
    out = LstmpChunk.apply(x, r, c, *weights, 50.0, kind == "bf16")
    grads = torch.autograd.grad(out, weights, [torch.cos(torch.arange(o.numel()).float()).view(o.shape) for o in out])
    for a, b in zip(grads, results(args, 50.0, kind)[5:], strict=True):
        assert torch.equal(a, b)


@by_kind
def test_the_same_again_and_beside_other_users_of_the_tiles(kind):
    args = make(6, 20, 30, 50, 20, 0, True)
    first = results(args, 50.0, kind)
    big = torch.randn(64, 64).bfloat16()
    product = big @ big  # oneDNN sets the tile registers its own way
    for _ in range(3):
        for a, b in zip(results(args, 50.0, kind), first, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(big @ big, product)


@by_kind
def test_gradients_that_are_not_contiguous(kind):
    args = [a.detach().requires_grad_() for a in make(20, 32, 30, 50, 24, 0, True, dtype=torch.float32)[:8]]
    y, c = LstmpChunk.apply(*args, None, 50.0, kind == "bf16")
    wide = torch.randn(20, 32, 60)
    turned = torch.randn(32, 20, 24).transpose(0, 1)
    for grad in (wide[:, :, :24], torch.tensor(0.5).expand(y.shape), turned):
        got, wanted = (torch.autograd.grad(y, args, g, retain_graph=True) for g in (grad, grad.contiguous()))
        for a, b in zip(got, wanted, strict=True):
            assert torch.equal(a, b)


@by_kind
def test_a_network_that_hears_both_ways(kind, small_config, monkeypatch):
    cfg = small_config(bidirectional=True, chunk=0, label_delay=0, cells=24, recurrent_projection=12,
                       precision="bf16" if kind == "bf16" else "fp32")
    x, targets = torch.randn(40, 16, 5), torch.randint(7, (40, 16))
    found = []
    for use in (kind, ""):
        monkeypatch.setenv("LSTMP_FUSED", use)
        model = StateNetwork(cfg, 5, 7)
        model.initialize(1)
        loss = model.loss(x, model.zero_state(16), targets, 640, None, torch.full((16,), 40))[0]
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*found, strict=True):
        assert off(a, b) < NEAR[kind]


@by_kind
@pytest.mark.parametrize("forget", [2.0, 5.0, 8.0])
def test_gradients_through_open_forget_gates_decay(kind, forget):
    args = make(400, 16, 4, 20, 0, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][20:40] = forget
        args[5][60:] = 6.5  # output gates nearly open: their slope is small, but not 0
        args[4].zero_()  # nothing but the cell remembers
    got, exact = (results(args, None, how) for how in (kind, "fp64"))
    for number in (4, 7):  # of c_0 and of the bias
        assert off(got[number], exact[number]) < {"fp32": 1e-4, "bf16x6": 1e-4, "bf16x3": 1e-3, "bf16": 0.02}[kind]


@by_kind
def test_threads_with_layers_of_their_own(kind):
    sizes = [(7, 20, 30, 50, 20, 0), (3, 70, 10, 90, 64, 8), (20, 9, 40, 20, 0, 0)]
    jobs = [make(*size, True, dtype=torch.float32) for size in sizes] * 4
    alone = [results(args, 50.0, kind) for args in jobs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda args: chunk(args, kind), jobs))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@by_kind
def test_what_does_not_fit_is_refused(kind):
    x, r, c, w_x, w_r, bias, peephole, w_rm, w_pm = (a.detach() for a in make(3, 16, 5, 7, 4, 2, True,
                                                                              dtype=torch.float32))
    bf16 = kind == "bf16"
    with pytest.raises(RuntimeError, match="without columns"):
        LstmpChunk.apply(x, r[:, :0], c, w_x, w_r[:, :0], bias, peephole, w_rm[:0], None, 50.0, bf16)
    for wrong in ((x[:, :, :3], r, c, w_x, w_r), (x, r[:8], c, w_x, w_r), (x, r, c, w_x.double(), w_r),
                  (x, r, c, w_x, w_r[:, :2])):
        with pytest.raises(RuntimeError):
            LstmpChunk.apply(*wrong, bias, peephole, w_rm, w_pm, 50.0, bf16)
    y, w, b, targets = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40), torch.randint(40, (20,))
    for wrong in ((y, w[:, :20], b, targets), (y, w, b[:20], targets), (y, w, b, targets.int()),
                  (y, w, b, targets[:9])):
        with pytest.raises(RuntimeError):
            FrameCrossEntropy.apply(*wrong, 4, bf16)


def test_another_projection_alone_is_for_pytorch():
    args = make(3, 16, 5, 7, 0, 0, True, dtype=torch.float32)
    args[8] = torch.randn(2, 7, requires_grad=True)
    for a, b in zip(results(args, 50.0, "fp32"), results(args, 50.0, "fp64"), strict=True):
        assert off(a, b) < 1e-5


@by_kind
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 200), st.integers(0, 10**6))
def test_output_layer_of_any_shape(kind, rows, width, states, seed):
    g = torch.Generator().manual_seed(seed)
    y, w, b = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((rows, width), (states, width), (states,)))
    targets = torch.randint(-1, states, (rows,), generator=g)

    def run(dtype, bf16):
        given = [a.to(dtype).requires_grad_() for a in (y, w, b)]
        loss, correct = FrameCrossEntropy.apply(*given, targets, 7, bf16)
        return correct, [loss, *torch.autograd.grad(3 * loss, given)]

    (correct, got), (right, wanted) = run(torch.float32, kind == "bf16"), run(torch.float64, False)
    for a, c in zip(got, wanted, strict=True):
        assert off(a, c) < NEAR[kind]
    assert abs(int(correct) - int(right)) <= (1 + rows // 20 if kind == "bf16" else 0)


@by_kind
def test_output_layer_of_what_is_wrong(kind):
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    targets, bf16 = torch.randint(40, (20,)), kind == "bf16"
    with pytest.raises(IndexError, match="target 40 of 40"):
        FrameCrossEntropy.apply(y, w, b, torch.cat([targets[:-1], torch.tensor([40])]), 4, bf16)
    for value in (float("nan"), float("inf")):
        for which in range(3):
            bad = [a.clone() for a in (y, w, b)]
            bad[which].view(-1)[3] = value
            assert not torch.isfinite(FrameCrossEntropy.apply(*bad, targets, 4, bf16)[0])


def test_without_gradients_the_loss_is_the_same():
    y, w, b, targets = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40), torch.randint(-1, 40, (20,))
    for bf16 in (False, True):
        one, other = (FrameCrossEntropy.apply(y, w, b, targets, 4, bf16, grads) for grads in (True, False))
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_an_unknown_kind_is_told(monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "bf16,fp64")
    with pytest.raises(UserError, match="fp64"):
        fused.kernels("bf16")


def test_auto_is_what_is_quick_here(small_config, monkeypatch):
    assert fused.settled(small_config(precision="fp32"), "cpu").precision == "fp32"
    for device, use, wanted in (("cpu", "bf16", "bf16" if fused.kernels("bf16") else "fp32"), ("cpu", "", "fp32"),
                                ("cuda", "bf16", "fp32")):
        monkeypatch.setenv("LSTMP_FUSED", use)
        assert fused.settled(small_config(precision="auto"), device).precision == wanted


def test_without_the_kernels_where_told_so(monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "")
    for kind in NEAR:
        assert fused.kernels(kind) is None
    with fused.quick_products():
        assert not any(fused.fits(torch.zeros(16, 16), bf16) for bf16 in (False, True))
