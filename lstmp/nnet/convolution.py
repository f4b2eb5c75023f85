"""Convolutions over time and frequency below the LSTMP layers: the front end of a CLDNN.

Sainath, Vinyals, Senior, Sak, "Convolutional, long short-term memory, fully connected deep neural networks", ICASSP
2015: convolutions over neighbouring filters and frames find patterns wherever they lie in frequency, the maximum over
some filters forgets their exact place, and a linear projection keeps the input of the LSTM small. Here a convolution
sees the current frame and frames before it, so that it can run online; the label delay gives it frames after the one
whose state is predicted.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d

from lstmp.errors import UserError
from lstmp.nnet.cell import as_dtype, factor_cast
from lstmp.nnet.layers import uniform


class Convolution(nn.Module):
    """One convolution, rectified, and the maximum over neighbouring filters.

    Args:
        inputs: number of maps of the input.
        maps: number of maps of the output.
        time: frames that it sees, the current one and ``time - 1`` before it.
        freq: filters that it sees, an odd number; beyond the lowest and the highest filter there are zeros.
        pool: number of filters of which the largest value is kept.
        bf16: whether inputs and weights are rounded to bfloat16.
    """

    def __init__(self, inputs: int, maps: int, time: int, freq: int, pool: int, bf16: bool = False):
        super().__init__()
        self.time, self.freq, self.pool, self.bf16 = time, freq, pool, bf16
        self.weight = nn.Parameter(torch.empty(maps, inputs, time, freq))
        self.bias = nn.Parameter(torch.empty(maps))

    def initialize(self, generator: torch.Generator):
        """Weights uniform with variance 2/(number of inputs), because the rectifier zeroes half of the outputs."""
        uniform(self.weight.data.view(len(self.weight), -1), generator, 2.0)
        nn.init.zeros_(self.bias)

    def forward(self, x, before):
        """Map x [N, T, bands, maps] and the frames before it, [N, time - 1, bands, maps], to [N, T, bands', maps'];
        also returns the frames before the next chunk.

        The maps are last in memory, and for PyTorch, which wants them second, only their strides are swapped: it
        convolves and pools faster in this order.
        """
        x = torch.cat([before, x], 1)
        cast = factor_cast(self.bf16, x.device, large=True)
        y = conv2d(cast(x).permute(0, 3, 1, 2), cast(self.weight), padding=(0, self.freq // 2))
        if self.pool > 1:  # before bias and rectifier, which do not change what is largest
            y = max_pool2d(y, (1, self.pool))
        y = torch.relu(as_dtype(y, x.dtype).permute(0, 2, 3, 1) + self.bias)
        return y, x[:, x.shape[1] - self.time + 1:]


class Convolutions(nn.Module):
    """Convolutions one above the other and a linear projection, with the interface of :mod:`lstmp.nnet.layers`.

    The state r of a stream, in one row, holds the frames that each convolution has yet to see again.

    Args:
        inputs: D, the dimension of the features, ``channels`` values for each of D / ``channels`` filters.
        channels: the energies, and each order of their time derivatives.
        maps: number of maps of each convolution.
        time, freq, pool: as those of :class:`Convolution`.
        projection: size of the output; 0: all maps and filters, without a projection.
        bf16: whether the factors of all products are rounded to bfloat16.

    Raises:
        UserError: no filter is left after the pooling.
    """

    def __init__(self, inputs: int, channels: int, maps: list[int], time: int, freq: int, pool: int, projection: int,
                 bf16: bool = False):
        super().__init__()
        self.channels, self.bf16, bands = channels, bf16, inputs // channels
        self.convolutions, self._shapes = nn.ModuleList(), []
        for count in maps:
            self._shapes.append((channels, time - 1, bands))
            self.convolutions.append(Convolution(channels, count, time, freq, pool, bf16))
            channels, bands = count, bands // pool
        if not bands:
            raise UserError(f"{len(maps)} convolutions with `conv_pool` {pool} leave none of the filters",
                            hint="lower `conv_pool`, or list fewer convolutions in `conv_maps`")
        self.w_low = nn.Parameter(torch.empty(projection, channels * bands)) if projection else None
        self.outputs = projection or channels * bands
        self.state_sizes = (sum(self._sizes()), 0)

    def _sizes(self) -> list[int]:
        return [a * b * c for a, b, c in self._shapes]

    def initialize(self, generator: torch.Generator):
        """Initialize all weights."""
        for convolution in self.convolutions:
            convolution.initialize(generator)
        if self.w_low is not None:
            uniform(self.w_low, generator)

    def forward(self, x, r, c, lengths=None):
        frames, streams, _ = x.shape
        x, states = x.view(frames, streams, self.channels, -1).permute(1, 0, 3, 2), []
        for convolution, shape, before in zip(self.convolutions, self._shapes, r.split(self._sizes(), 1), strict=True):
            x, after = convolution(x, before.reshape(streams, *shape).permute(0, 2, 3, 1))
            states.append(after.permute(0, 3, 1, 2).reshape(streams, -1))
        y = x.permute(1, 0, 3, 2).reshape(frames, streams, -1)
        if self.w_low is not None:
            cast = factor_cast(self.bf16, y.device, large=True)
            y = as_dtype(torch.matmul(cast(y), cast(self.w_low).t()), x.dtype)
        return y, torch.cat(states, 1), c
