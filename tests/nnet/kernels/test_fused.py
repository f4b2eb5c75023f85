"""The fused kernels agree with PyTorch: layers of any shape, the output layer, clipping, saturation, NaN."""

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

PRECISIONS = [pytest.param(precision, marks=pytest.mark.skipif(
    fused.kernels(precision) is None, reason=f"no {part}, no C++ compiler, or LSTMP_NATIVE=0"))
    for precision, part in (("fp32", "AVX-512"), ("bf16x6", "AMX"), ("bf16x3", "AMX"), ("bf16", "AMX"))]
NEAR = {"fp32": 2e-5, "bf16x6": 2e-5, "bf16x3": 3e-4, "bf16": 0.05}  # largest relative difference from float64
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


@pytest.fixture(autouse=True)
def use_kernels_of_the_precision(request, monkeypatch):
    """In tests of one precision, allow only its kernels."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if "precision" in params:
        monkeypatch.setenv("LSTMP_FUSED", params["precision"])
    with fused.reduced_precision() if params.get("precision") == "bf16x3" else nullcontext():
        yield


def results(args, clip, precision, use=None):
    """Outputs and gradients in `fp64` or with a precision of factors; ``use``: the value of LSTMP_FUSED."""
    dtype = torch.float64 if precision == "fp64" else torch.float32
    args = [None if a is None else a.detach().to(dtype).requires_grad_() for a in args]
    with pytest.MonkeyPatch.context() as patch:
        if use is not None:
            patch.setenv("LSTMP_FUSED", use)
        return chunk(args, precision, clip)


def tolerance_of_few(x, precision) -> float:
    """What a norm of few numbers may be off by in addition: the roundings do not average out, and sums may cancel."""
    return NEAR[precision] / x.numel() ** 0.5


def chunk(args, precision, clip=50.0):
    out = LstmpChunk.apply(*args, clip, precision == "bf16")
    weight = [torch.cos(torch.arange(o.numel(), dtype=o.dtype)).view(o.shape) for o in out]
    return [*out, *torch.autograd.grad(out, [a for a in args if a is not None], weight)]


@each_precision
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(0, 70),
       st.integers(0, 40), st.booleans(), st.sampled_from([None, 50.0]), st.integers(0, 10**6))
def test_any_shape_is_close_to_float64(precision, frames, streams, inputs, cells, rec, proj, peepholes, clip, seed):
    args = make(frames, streams, inputs, cells, rec, proj if rec else 0, peepholes, seed, scale=0.3)
    plain, exact = results(args, clip, precision, ""), results(args, clip, "fp64")
    times = 100 if precision == "bf16x3" else 2  # our factors have 16 bits here, those of PyTorch 24
    for a, b, c in zip(results(args, clip, precision), plain, exact, strict=True):
        assert a.dtype == torch.float32 and a.shape == c.shape
        assert off(a, c) < NEAR[precision] / 5 + tolerance_of_few(c, precision) + times * off(b, c)


@each_precision
@pytest.mark.parametrize("frames,streams,inputs,cells,rec,proj", [
    (20, 33, 40, 160, 0, 0), (20, 33, 40, 160, 64, 0), (20, 33, 40, 160, 40, 24), (5, 63, 300, 160, 64, 0),
    (3, 145, 40, 160, 64, 0), (2, 300, 20, 160, 40, 24),  # more than 128 streams: a second band
    (2, 130, 20, 800, 290, 0), (2, 112, 20, 900, 40, 0)])  # too deep for one pass: products are summed piece by piece
def test_large_layers(precision, frames, streams, inputs, cells, rec, proj):
    args = make(frames, streams, inputs, cells, rec, proj, True, 1, scale=0.1 if cells < 800 else 0.04)
    for a, c in zip(results(args, 50.0, precision), results(args, 50.0, "fp64"), strict=True):
        assert off(a, c) < NEAR[precision]


@pytest.mark.parametrize("precision", [k for k in PRECISIONS if k.values == ("bf16x6",)])
@pytest.mark.parametrize("streams", [16, 70])
def test_six_products_of_bfloat16_are_as_exact_as_float32(precision, streams):
    args = make(20, streams, 40, 512, 256, 0, True, 1, scale=0.05)
    exact, plain = results(args, 50.0, "fp64"), results(args, 50.0, "fp32", "fp32")
    for a, b, c in zip(results(args, 50.0, "fp32"), plain, exact, strict=True):
        assert not torch.equal(a, b) and off(a, c) < 1.3 * off(b, c)


@each_precision
def test_the_kernels_are_used_where_they_apply(precision, monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "bf16 bf16x3 fp32" if precision == "fp32" else "bf16 bf16x3 bf16x6 fp32")
    used, call = [], fused._call
    monkeypatch.setattr(fused, "_call", lambda name, *a: used.append((name, a[0])) or call(name, *a))
    args = make(2, 8, 3, 4, 2, 0, True)
    results(args, 50.0, precision)
    assert used == [("forward", precision), ("backward", precision)]
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    FrameCrossEntropy.apply(y, w, b, torch.randint(40, (20,)), 4, precision == "bf16")
    assert used.pop() == ("output", precision)
    results(args, 50.0, precision, "")
    results(args, 50.0, "fp64")
    assert len(used) == 2


@each_precision
def test_a_stream_does_not_depend_on_its_position_in_the_batch(precision):
    args = make(3, 48, 40, 70, 40, 0, True, 1, scale=0.1)  # three tiles of streams: a pair and a single one
    args[:3] = [a[..., :1, :].expand_as(a).contiguous() for a in args[:3]]
    args = [None if a is None else a.detach().float().requires_grad_() for a in args]
    y, c = LstmpChunk.apply(*args, 50.0, precision == "bf16")
    d_x, = torch.autograd.grad(y.square().sum(), args[:1])
    for of_streams in (y, c[None], d_x):
        assert torch.equal(of_streams, of_streams[:, :1].expand_as(of_streams))


@each_precision
def test_infinity_stays_in_its_stream(precision):
    args = make(3, 48, 40, 70, 40, 0, True, 1, scale=0.1)
    with torch.no_grad():
        args[0][1, 5, 3] = float("inf")
        args[0][1, 40, 7] = 3.4e38  # what bfloat16 rounds to infinity
    y = results(args, 50.0, precision)[0]
    clean = [n for n in range(48) if n not in (5, 40)]
    assert y[0].isfinite().all() and y[:, clean].isfinite().all()
    if precision in ("bf16x3", "bf16x6"):
        assert y[1:, [5, 40]].isnan().all()


@pytest.mark.skipif(fused.kernels("bf16x3") is None, reason="no AMX")
def test_backward_uses_the_precision_of_forward():
    args = [a if a is None else a.detach().requires_grad_() for a in make(3, 16, 5, 7, 4, 0, True, dtype=torch.float32)]
    given = [a for a in args if a is not None]

    def grads(y):
        return torch.autograd.grad(y.square().sum(), given)

    with fused.reduced_precision():
        y = LstmpChunk.apply(*args, 50.0, False)[0]
        inside = grads(LstmpChunk.apply(*args, 50.0, False)[0])
    plain = grads(LstmpChunk.apply(*args, 50.0, False)[0])
    for outside, a, b in zip(grads(y), inside, plain, strict=True):
        assert torch.equal(outside, a) and not torch.equal(a, b)


def test_reduced_precision_ends_with_the_last_of_overlapping_blocks():
    now = torch.get_float32_matmul_precision
    first, second = fused.reduced_precision(), fused.reduced_precision()
    assert now() == "highest"
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert now() == "high" and (fused.kernels("bf16x3") is None or fused.current_precision(False) == "bf16x3")
    second.__exit__(None, None, None)
    assert now() == "highest" and fused.current_precision(False) == ("bf16x6" if fused.kernels("bf16x6") else "fp32")
    with pytest.raises(KeyError), fused.reduced_precision():
        raise KeyError
    assert now() == "highest"
    torch.set_float32_matmul_precision("medium")
    with fused.reduced_precision():
        assert now() == "medium"
    assert now() == "medium"
    torch.set_float32_matmul_precision("highest")


@each_precision
def test_a_clipped_cell_passes_no_gradient(precision):
    args = make(30, 18, 3, 20, 9, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][:60] = 20.0  # input, forget and cell gates open: the cell grows by 1 a frame
        args[2].fill_(60.0)
    out = results(args, 50.0, precision)
    assert torch.equal(out[1], torch.full_like(out[1], 50.0))
    assert torch.count_nonzero(out[4]) == 0  # of c_0
    assert torch.count_nonzero(results(args, None, precision)[4]) == out[4].numel()


@each_precision
def test_saturated_gates_stay_finite(precision):
    args = make(5, 17, 20, 40, 8, 8, True, scale=1e3)
    assert all(torch.isfinite(x).all() for x in results(args, 50.0, precision))


@each_precision
@pytest.mark.parametrize("which", range(9))
def test_nan_is_propagated(precision, which):
    args = make(3, 17, 20, 40, 8, 8, True, scale=0.3)
    with torch.no_grad():
        args[which].view(-1)[5] = float("nan")
    assert torch.isnan(results(args, 50.0, precision)[0]).any()


@each_precision
def test_gradients_of_inputs_that_need_none_are_skipped(precision):
    args = make(4, 9, 6, 7, 3, 2, True, dtype=torch.float32)
    x, r, c, *weights = (a.detach() for a in args)
    weights = [w.requires_grad_() for w in weights]
    out = LstmpChunk.apply(x, r, c, *weights, 50.0, precision == "bf16")
    grads = torch.autograd.grad(out, weights, [torch.cos(torch.arange(o.numel()).float()).view(o.shape) for o in out])
    for a, b in zip(grads, results(args, 50.0, precision)[5:], strict=True):
        assert torch.equal(a, b)


@each_precision
def test_results_repeat_exactly_also_next_to_other_users_of_the_tile_registers(precision):
    args = make(6, 20, 30, 50, 20, 0, True)
    first = results(args, 50.0, precision)
    big = torch.randn(64, 64).bfloat16()
    product = big @ big  # oneDNN sets the tile registers its own way
    for _ in range(3):
        for a, b in zip(results(args, 50.0, precision), first, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(big @ big, product)


@each_precision
def test_output_gradients_need_not_be_contiguous(precision):
    args = [a.detach().requires_grad_() for a in make(20, 32, 30, 50, 24, 0, True, dtype=torch.float32)[:8]]
    y, c = LstmpChunk.apply(*args, None, 50.0, precision == "bf16")
    wide = torch.randn(20, 32, 60)
    transposed = torch.randn(32, 20, 24).transpose(0, 1)
    for grad in (wide[:, :, :24], torch.tensor(0.5).expand(y.shape), transposed):
        got, wanted = (torch.autograd.grad(y, args, g, retain_graph=True) for g in (grad, grad.contiguous()))
        for a, b in zip(got, wanted, strict=True):
            assert torch.equal(a, b)


@each_precision
def test_a_bidirectional_network(precision, small_config, monkeypatch):
    cfg = small_config(bidirectional=True, chunk=0, label_delay=0, cells=24, recurrent_projection=12,
                       precision="bf16" if precision == "bf16" else "fp32")
    x, targets = torch.randn(40, 16, 5), torch.randint(7, (40, 16))
    results_of = []
    for use in (precision, ""):
        monkeypatch.setenv("LSTMP_FUSED", use)
        model = StateNetwork(cfg, 5, 7)
        model.initialize(1)
        loss = model.loss(x, model.zero_state(16), targets, 640, None, torch.full((16,), 40))[0]
        results_of.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*results_of, strict=True):
        assert off(a, b) < NEAR[precision]


@each_precision
@pytest.mark.parametrize("forget", [2.0, 5.0, 8.0])
def test_gradients_through_open_forget_gates_decay(precision, forget):
    args = make(400, 16, 4, 20, 0, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][20:40] = forget
        args[5][60:] = 6.5  # output gates almost open: their derivative is small, but not 0
        args[4].zero_()  # only the cells have a memory
    got, exact = (results(args, None, how) for how in (precision, "fp64"))
    for number in (4, 7):  # of c_0 and of the bias
        assert off(got[number], exact[number]) < {"fp32": 1e-4, "bf16x6": 1e-4, "bf16x3": 1e-3, "bf16": 0.02}[precision]


@each_precision
def test_threads_can_run_different_layers_at_the_same_time(precision):
    sizes = [(7, 20, 30, 50, 20, 0), (3, 70, 10, 90, 64, 8), (20, 9, 40, 20, 0, 0)]
    jobs = [make(*size, True, dtype=torch.float32) for size in sizes] * 4
    alone = [results(args, 50.0, precision) for args in jobs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda args: chunk(args, precision), jobs))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@each_precision
def test_shapes_that_do_not_fit_are_refused(precision):
    x, r, c, w_x, w_r, bias, peephole, w_rm, w_pm = (a.detach() for a in make(3, 16, 5, 7, 4, 2, True,
                                                                              dtype=torch.float32))
    bf16 = precision == "bf16"
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


def test_a_non_recurrent_projection_alone_is_computed_by_pytorch():
    args = make(3, 16, 5, 7, 0, 0, True, dtype=torch.float32)
    args[8] = torch.randn(2, 7, requires_grad=True)
    for a, b in zip(results(args, 50.0, "fp32"), results(args, 50.0, "fp64"), strict=True):
        assert off(a, b) < 1e-5


@each_precision
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 200), st.integers(0, 10**6))
def test_output_layer_of_any_shape(precision, rows, width, states, seed):
    g = torch.Generator().manual_seed(seed)
    y, w, b = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((rows, width), (states, width), (states,)))
    targets = torch.randint(-1, states, (rows,), generator=g)

    def run(dtype, bf16):
        given = [a.to(dtype).requires_grad_() for a in (y, w, b)]
        loss, correct = FrameCrossEntropy.apply(*given, targets, 7, bf16)
        return correct, [loss, *torch.autograd.grad(3 * loss, given)]

    (correct, got), (right, wanted) = run(torch.float32, precision == "bf16"), run(torch.float64, False)
    for a, c in zip(got, wanted, strict=True):
        assert off(a, c) < NEAR[precision] + tolerance_of_few(c, precision)
    assert abs(int(correct) - int(right)) <= (1 + rows // 20 if precision == "bf16" else 0)


@each_precision
def test_output_layer_with_bad_targets_and_numbers(precision):
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    targets, bf16 = torch.randint(40, (20,)), precision == "bf16"
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


def test_an_unknown_precision_is_an_error(monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "bf16,fp64")
    with pytest.raises(UserError, match="fp64"):
        fused.kernels("bf16")


def test_auto_selects_the_precision_that_is_fast_here(small_config, monkeypatch):
    assert fused.resolve_precision(small_config(precision="fp32"), "cpu").precision == "fp32"
    for device, use, wanted in (("cpu", "bf16", "bf16" if fused.kernels("bf16") else "fp32"), ("cpu", "", "fp32"),
                                ("cuda", "bf16", "fp32")):
        monkeypatch.setenv("LSTMP_FUSED", use)
        assert fused.resolve_precision(small_config(precision="auto"), device).precision == wanted


def test_kernels_can_be_disabled(monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "")
    for precision in NEAR:
        assert fused.kernels(precision) is None
    with fused.reduced_precision():
        assert not any(fused.fits(torch.zeros(16, 16), bf16) for bf16 in (False, True))
