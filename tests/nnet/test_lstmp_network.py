"""LstmpNetwork: its equations written out, torch.nn.LSTM as a special case, and what is expected of a module."""

import copy
import io

import pytest
import safetensors.torch
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from lstmp.nnet.lstmp_network import LstmpNetwork

SHAPES = {"plain": {}, "projected": {"recurrent_projection": 3}, "both": {"recurrent_projection": 3, "projection": 2},
          "no peepholes": {"recurrent_projection": 3, "peepholes": False},
          "clipped": {"recurrent_projection": 3, "cell_clip": 0.3}}
OPTIONS = [{**shape, "bidirectional": bidirectional} for shape in SHAPES.values() for bidirectional in (False, True)]


def network(seed=0, dtype=torch.float64, layers=2, **options):
    """A network with random numbers in every parameter, so that each influences the result."""
    torch.manual_seed(seed)
    made = LstmpNetwork(4, 5, num_layers=layers, dtype=dtype, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.6)
    return made


def by_the_equations(one, x, r, c):
    """A layer in one direction for one sequence: x [T, I], r [R], c [C] → y [T, R + P], r, c."""
    w_i, w_f, w_c, w_o = one.w_x.chunk(4)
    u_i, u_f, u_c, u_o = one.w_r.chunk(4)
    b_i, b_f, b_c, b_o = one.bias.chunk(4)
    p_i, p_f, p_o = one.peephole if one.peephole is not None else torch.zeros(3, 1, dtype=x.dtype)
    out = []
    for x_t in x:
        i = torch.sigmoid(w_i @ x_t + u_i @ r + p_i * c + b_i)
        f = torch.sigmoid(w_f @ x_t + u_f @ r + p_f * c + b_f)
        c = f * c + i * torch.tanh(w_c @ x_t + u_c @ r + b_c)
        c = c if one.clip is None else c.clamp(-one.clip, one.clip)
        o = torch.sigmoid(w_o @ x_t + u_o @ r + p_o * c + b_o)
        m = o * torch.tanh(c)
        r = m if one.w_rm is None else one.w_rm @ m
        out.append(r if one.w_pm is None else torch.cat([r, one.w_pm @ m]))
    return (torch.stack(out) if out else x.new_zeros(0, one.outputs)), r, c


def deep(net, x, r, c):
    """All layers for one sequence; r [L·D, R], c [L·D, C]."""
    rs, cs, n = [], [], 0
    for layer in net.layers:
        ys = []
        for back, one in enumerate([layer.ahead, layer.back] if net.bidirectional else [layer]):
            y, r_n, c_n = by_the_equations(one, x.flip(0) if back else x, r[n], c[n])
            ys.append(y.flip(0) if back else y)
            rs.append(r_n), cs.append(c_n)
            n += 1
        x = torch.cat(ys, 1)
    return x, torch.stack(rs), torch.stack(cs)


def random_state(net, sequences, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(0.5 * torch.randn(s.shape, dtype=s.dtype, generator=generator) for s in net.zero_state(sequences))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_equations_hold_for_every_length(options):
    net, lengths = network(**options), [6, 2, 6, 0, 1]
    x, (r, c) = torch.randn(6, 5, 4, dtype=torch.float64), random_state(network(**options), 5)
    x[2:, 1] = float("nan")  # beyond the end
    y, (r_end, c_end) = net(x, (r, c), torch.tensor(lengths))
    assert y.shape == (6, 5, net.output_size)
    for n, length in enumerate(lengths):
        expected = deep(net, x[:length, n], r[:, n], c[:, n])
        for ours, theirs in zip((y[:length, n], r_end[:, n], c_end[:, n]), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert not y[length:, n].any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients(options):
    net, x = network(**options), torch.randn(4, 3, 4, dtype=torch.float64, requires_grad=True)
    state = [s.requires_grad_() for s in random_state(net, 3)]
    lengths = torch.tensor([4, 2, 3])

    def run(x, r, c, *_):  # the parameters are changed in place
        y, (r, c) = net(x, (r, c), lengths)
        return y, r, c

    assert torch.autograd.gradcheck(run, (x, *state, *net.parameters()), fast_mode=True)


@pytest.mark.parametrize("sequences", [3, 20])
@pytest.mark.parametrize("bf16", [False, True])
def test_kernels_with_lengths_in_float32(sequences, bf16):
    exact, tolerance = network(recurrent_projection=3, projection=2), 3e-2 if bf16 else 1e-5
    quick = LstmpNetwork(4, 5, 3, 2, 2, bf16=bf16)
    quick.load_state_dict(exact.state_dict())
    x, lengths = torch.randn(7, sequences, 4), torch.randint(1, 8, (sequences,))
    results = []
    for net in (exact, quick):
        y, (r, c) = net(x, None, lengths)
        (y.square().mean() + r.sum() / 10 + c.sum() / 10).backward()
        results.append([y, r, c, *(p.grad for p in net.parameters())])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two.double(), one, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("proj", [0, 3])
def test_without_peepholes_it_equals_torch_nn_lstm(bidirectional, proj):
    theirs = torch.nn.LSTM(4, 5, 2, proj_size=proj, bidirectional=bidirectional, dtype=torch.float64)
    ours = network(recurrent_projection=proj, peepholes=False, cell_clip=0, bidirectional=bidirectional)
    for k, layer in enumerate(ours.layers):
        for way, one in {"": layer.ahead, "_reverse": layer.back}.items() if bidirectional else [("", layer)]:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            of = {name: getattr(theirs, f"{name}_l{k}{way}") for name in names}
            with torch.no_grad():
                one.w_x.copy_(of["weight_ih"]), one.w_r.copy_(of["weight_hh"])  # the gates have the same order
                one.bias.copy_(of["bias_ih"] + of["bias_hh"])
                if proj:
                    one.w_rm.copy_(getattr(theirs, f"weight_hr_l{k}{way}"))
    x, state = torch.randn(7, 4, 4, dtype=torch.float64), random_state(ours, 4)
    packed = pack_padded_sequence(x, torch.tensor([3, 7, 5, 3]), enforce_sorted=False)
    for given in (x, packed):
        (y, end), (expected, expected_end) = ours(given, state), theirs(given, state)
        if given is packed:
            assert torch.equal(y.sorted_indices, expected.sorted_indices)
            y, expected = y.data, expected.data
        for one, two in zip((y, *end), (expected, *expected_end), strict=True):
            torch.testing.assert_close(one, two)


def test_chunks_with_carried_state_equal_the_whole_sequence():
    net, x = network(recurrent_projection=3, projection=2), torch.randn(9, 2, 4, dtype=torch.float64)
    whole, end = net(x)
    state, parts = None, []
    for chunk in x.split(4):
        y, state = net(chunk, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, end)


def test_packed_sequences_and_batch_first():
    net, first = network(recurrent_projection=3), network(recurrent_projection=3, batch_first=True)
    sequences = [torch.randn(n, 4, dtype=torch.float64) for n in (5, 3, 2)]
    y, state = net(pack_sequence(sequences))
    padded, lengths = pad_packed_sequence(y)
    other, other_state = first(torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths=[5, 3, 2])
    torch.testing.assert_close(padded.transpose(0, 1), other)
    torch.testing.assert_close(state, other_state)
    torch.testing.assert_close(first(pack_sequence(sequences))[0].data, y.data)
    assert lengths.tolist() == [5, 3, 2] and other.shape == (3, 5, 3)
    with pytest.raises(ValueError, match="has its own"):
        net(y, lengths=[5, 3, 2])


def test_dropout_is_applied_between_the_layers_in_training():
    net, plain = network(dropout=0.5, layers=3), network(layers=3)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    net.eval()
    assert torch.equal(net(x)[0], plain(x)[0])
    net.train()
    torch.manual_seed(1)
    y = net(x)[0]
    assert not torch.allclose(y, plain(x)[0]) and y.ne(0).all()  # nothing is dropped after the last layer
    torch.manual_seed(1)
    assert torch.equal(net(x)[0], y)


def test_it_can_be_saved_copied_and_moved_like_any_module():
    net, x = network(dtype=torch.float32, recurrent_projection=3), torch.randn(5, 2, 4)
    y, _ = net(x)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    saved = [torch.load(file), safetensors.torch.load(safetensors.torch.save(net.state_dict()))]
    for state_dict in saved:
        other = network(seed=5, dtype=torch.float32, recurrent_projection=3)
        other.load_state_dict(state_dict)
        assert torch.equal(other(x)[0], y)
    assert torch.equal(copy.deepcopy(net)(x)[0], y)
    assert {n: tuple(p.shape) for n, p in net.named_parameters() if n.startswith("layers.1.")} == {
        "layers.1.w_x": (20, 3), "layers.1.w_r": (20, 3), "layers.1.bias": (20,), "layers.1.peephole": (3, 5),
        "layers.1.w_rm": (3, 5)}
    assert net.double()(x)[0].dtype == torch.float64
    torch.testing.assert_close(net(x)[0].float(), y)
    shown = repr(LstmpNetwork(40, 1024, 512, 256, dropout=0.2))
    assert shown.startswith("LstmpNetwork(\n  40, 1024, recurrent_projection=512, projection=256, dropout=0.2\n")


def test_initial_parameters():
    net = LstmpNetwork(64, 48, 32, num_layers=2)
    net.reset_parameters(torch.Generator().manual_seed(3))
    before = copy.deepcopy(net.state_dict())
    net.reset_parameters()
    assert not torch.equal(net.layers[0].w_x, before["layers.0.w_x"])
    net.reset_parameters(torch.Generator().manual_seed(3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    layer = net.layers[0]
    assert layer.w_x.var().item() == pytest.approx(1 / 64, rel=0.05)
    assert not layer.peephole.any() and torch.equal(layer.bias[48:96], torch.ones(48)) and layer.bias.sum() == 48


def test_autocast_does_not_change_the_dtype_of_products():
    net, x = network(dtype=torch.float32, recurrent_projection=3), torch.randn(5, 2, 4)
    y, _ = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again, _ = net(x)
        rounded, _ = net(x.bfloat16())
    assert torch.equal(again, y)
    torch.testing.assert_close(rounded, y, rtol=0.05, atol=0.05)


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="torch 1.13 has no torch.compile")
def test_torch_compile():
    net, x = network(dtype=torch.float32, recurrent_projection=3), torch.randn(5, 9, 4)
    compiled = torch.compile(net, backend="eager")
    y, _ = compiled(x, lengths=torch.tensor([5, 4, 3] * 3))
    y.sum().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    expected, _ = net(x, lengths=torch.tensor([5, 4, 3] * 3))
    expected.sum().backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients, [p.grad for p in net.parameters()])


@pytest.mark.parametrize("change, message", [
    ({"cells": 0}, "1 or more"), ({"recurrent_projection": -1}, "0 or more"),
    ({"recurrent_projection": 0, "projection": 3}, "needs a recurrent_projection"), ({"dropout": 1.0}, "dropout"),
    ({"cell_clip": -1.0}, "cell_clip")])
def test_sizes_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        LstmpNetwork(**{"input_size": 4, "cells": 5, "recurrent_projection": 3} | change)


def test_shapes_that_do_not_fit_are_refused():
    net, x = network(recurrent_projection=3), torch.randn(5, 2, 4, dtype=torch.float64)
    for wrong in (x[..., :3], x[0], x[:0]):
        with pytest.raises(ValueError, match=r"not \[T, N, 4\]"):
            net(wrong)
    with pytest.raises(ValueError, match=r"a state of shapes .*, not \[\[2, 2, 3\], \[2, 2, 5\]\]"):
        net(x, net.zero_state(3))
    for lengths, message in (([5], "whole numbers"), ([5.0, 2.0], "whole numbers"), ([6, 1], "from 1 to 6"),
                             ([-1, 1], "from -1")):
        with pytest.raises(ValueError, match=message):
            net(x, lengths=lengths)
