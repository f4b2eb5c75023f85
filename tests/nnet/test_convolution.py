"""Convolutions below the LSTMP layers: a slow definition, chunks, and a network with them in training and use."""

import pytest
import torch

from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.nnet.convolution import Convolution, Convolutions
from lstmp.nnet.export_onnx import PlainNetwork
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.network_stage import result_settings

FBANK = FeatureConfig("fbank", "none", 0)


def make(inputs=24, channels=2, maps=(3, 4), time=3, freq=5, pool=2, projection=7) -> Convolutions:
    layer = Convolutions(inputs, channels, list(maps), time, freq, pool, projection).double()
    layer.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for convolution in layer.convolutions:
            convolution.bias.normal_(generator=torch.Generator().manual_seed(2))
    return layer


def slow(convolution: Convolution, x: torch.Tensor) -> torch.Tensor:
    """One convolution of an utterance [T, maps, bands], number by number."""
    frames, maps, bands = x.shape
    y = torch.zeros(frames, len(convolution.bias), bands, dtype=x.dtype)
    for t in range(frames):
        for m in range(y.shape[1]):
            for b in range(bands):
                total = convolution.bias[m].clone()
                for k in range(convolution.time):
                    for j in range(convolution.freq):
                        frame, band = t - convolution.time + 1 + k, b - convolution.freq // 2 + j
                        if frame >= 0 and 0 <= band < bands:
                            total += (convolution.weight[m, :, k, j] * x[frame, :, band]).sum()
                y[t, m, b] = max(total, torch.tensor(0.0))
    pool = convolution.pool
    return torch.stack([y[:, :, b * pool:(b + 1) * pool].amax(2) for b in range(bands // pool)], 2)


@torch.no_grad()
def test_a_slow_definition():
    layer, x = make(), torch.randn(6, 1, 24, dtype=torch.float64)
    y, r, _ = layer(x, torch.zeros(1, layer.state_sizes[0], dtype=torch.float64), torch.zeros(1, 0))
    expected = x.view(6, 2, 12)
    for convolution in layer.convolutions:
        expected = slow(convolution, expected)
    torch.testing.assert_close(y[:, 0], expected.flatten(1) @ layer.w_low.t())
    assert y.shape == (6, 1, layer.outputs) and r.shape == (1, layer.state_sizes[0])
    torch.testing.assert_close(r[0, :48].view(2, 2, 12), x[-2:, 0].view(2, 2, 12).transpose(0, 1))


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 3, 4])
def test_chunks_equal_the_whole(time):
    layer, x = make(time=time, projection=0), torch.randn(11, 3, 24, dtype=torch.float64)
    begin = torch.zeros(3, layer.state_sizes[0], dtype=torch.float64)
    whole, last, _ = layer(x, begin, torch.zeros(3, 0))
    r, parts = begin, []
    for part in x.split([1, 2, 5, 3]):
        y, r, _ = layer(part, r, torch.zeros(3, 0))
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(r, last)


def test_gradients():
    layer = make(inputs=8, channels=1, maps=(2,), projection=3)
    x, r = torch.randn(3, 2, 8, dtype=torch.float64, requires_grad=True), torch.randn(2, 16, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x, *weights: layer(x, r, torch.zeros(2, 0))[0], (x, *layer.parameters()))


@pytest.mark.parametrize("subsampling", [1, 3])
def test_a_network_online_and_whole(small_config, subsampling):
    cfg = small_config(feature=FBANK, conv_maps=[3, 4], conv_projection=5, subsampling=subsampling, label_delay=4)
    model = StateNetwork(cfg, 10, 9)
    model.initialize(1)
    network = AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0))
    for length in (1, 4, 61):
        feats, stream = torch.randn(length, 10), NetworkStream(network)
        got = torch.cat([*(stream.accept(part) for part in feats.split(7)), stream.finish()])
        torch.testing.assert_close(got, network(feats), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="convolutions"):
        PlainNetwork(network)


def test_bfloat16():
    """With rounded factors outputs, states and gradients differ by some thousandths."""
    exact = make(inputs=40, channels=1, maps=(8, 16), projection=32).float()
    rounded = Convolutions(40, 1, [8, 16], 3, 5, 2, 32, bf16=True)
    rounded.load_state_dict(exact.state_dict())
    x, r = torch.randn(20, 16, 40), torch.zeros(16, exact.state_sizes[0])
    results = []
    for layer in (exact, rounded):
        y, after, _ = layer(x, r, torch.zeros(16, 0))
        (y * y).sum().backward()
        results.append([y, after, *(p.grad for p in layer.parameters())])
    errors = [float((a - b).norm() / a.norm()) for a, b in zip(*results, strict=True)]
    assert all(b.dtype == torch.float32 for b in results[1])
    assert all(1e-5 < error < 0.02 for error in errors)


def test_a_network_learns(small_config):
    """The target is the third of the filters that has the most energy, wherever in it that is."""
    cfg = small_config(feature=FBANK, conv_maps=[6], conv_time=1, conv_projection=8, label_delay=0)
    model = StateNetwork(cfg, 12, 3)
    model.initialize(1)
    optimizer, generator = torch.optim.Adam(model.parameters(), 0.02), torch.Generator().manual_seed(1)
    for step in range(150):
        place = torch.randint(0, 12, (8, 16), generator=generator)
        x = torch.nn.functional.one_hot(place, 12).float()
        loss, correct, _ = model.loss(x, model.zero_state(16), place // 4, place.numel())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            before = {name: p.grad.abs().sum() for name, p in model.named_parameters() if "convolutions" in name}
        optimizer.step()
    assert before and all(grad > 0 for grad in before.values())
    assert int(correct) > 0.95 * place.numel()


def test_options(small_config):
    with pytest.raises(UserError, match="conv_maps"):
        small_config(feature=FeatureConfig("fmllr", "none", 0), conv_maps=[3])
    with pytest.raises(UserError, match="conv_freq"):
        small_config(feature=FBANK, conv_maps=[3], conv_freq=4)
    with pytest.raises(UserError, match="leave none of the filters"):
        Convolutions(6, 1, [2, 2, 2], 3, 5, 2, 4)
    assert not [key for key in result_settings(small_config()) if key.startswith("conv")]
    assert result_settings(small_config(feature=FBANK, conv_maps=[3]))["conv_maps"] == [3]
