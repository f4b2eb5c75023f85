"""Loss and gradients of a batch on a GPU, as a CUDA graph.

A chunk of 20 frames through two layers is some 200 small kernels, and starting them one by one takes longer than they
do. A graph starts all of them at once, but is for one set of shapes. Nearly all batches of truncated BPTT have the
same; others, and the first few, are computed one kernel after the other, with the same result.
"""

import functools

import torch

_AFTER = 3  # batches of the same shapes, one after the other: whole utterances rarely come so
_MOST = 4  # graphs


def derive(model, x, state, targets, frames, generator, lengths):
    """What :meth:`lstmp.nnet.model.StateNetwork.loss` returns for these arguments, and the loss's gradients by the
    parameters, in their order.

    All are detached: autograd's nodes remember the stream that they were made on, and where one of an earlier batch is
    still held, recording a graph on another stream fails.
    """
    loss, correct, state = model.loss(x, state, targets, frames, generator, lengths)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return loss.detach(), correct, [tuple(t.detach() for t in pair) for pair in state], grads


class Graphed:
    """:func:`derive` for a model on a GPU. Of a generator its seed counts; numbers are drawn from its start."""

    def __init__(self, model):
        self.model, self.last, self.times, self.graphs, self.pool = model, None, 0, {}, torch.cuda.graph_pool_handle()

    def __call__(self, x, state, targets, frames, generator, lengths):
        # a graph is for these shapes, for weights that lie where they lay, and for products as precise as they were
        key = (x.shape, frames, generator is None, torch.get_float32_matmul_precision(),
               *(p.data_ptr() for p in self.model.parameters()))
        if key not in self.graphs:
            self.last, self.times = key, self.times + 1 if key == self.last else 1
            if self.times <= _AFTER or len(self.graphs) >= _MOST:
                return derive(self.model, x, state, targets, frames, generator, lengths)
            self.graphs[key] = _Graph(self.model, self.pool, x, state, targets, frames, generator, lengths)
        return self.graphs[key](x, state, targets, generator, lengths)


class _Graph:
    """One recorded; what it reads and writes lies where it lay at the recording."""

    def __init__(self, model, pool, x, state, targets, frames, generator, lengths):
        self.inputs = [a.to(x.device, copy=True) for a in _flat(x, state, targets, lengths)]
        inputs, pairs = self.inputs, [tuple(self.inputs[i:i + 2]) for i in range(3, len(self.inputs), 2)]
        self.graph, self.generator = torch.cuda.CUDAGraph(), None
        if generator is not None:
            self.generator = torch.Generator(x.device)
            self.graph.register_generator_state(self.generator)  # type: ignore[attr-defined]  # see function_for()

        def run():
            return derive(model, inputs[0], pairs, inputs[1], frames, self.generator, inputs[2])

        side = torch.cuda.Stream(x.device)  # once more before the recording, where nothing may be allocated or compiled
        side.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream(x.device).wait_stream(side)
        with torch.cuda.graph(self.graph, pool=pool):  # they run one at a time, and what they return is copied at once
            self.outputs = run()

    def __call__(self, x, state, targets, generator, lengths):
        for mine, given in zip(self.inputs, _flat(x, state, targets, lengths), strict=True):
            mine.copy_(given, non_blocking=True)
        if generator is not None:
            assert self.generator is not None
            self.generator.manual_seed(generator.initial_seed())
        self.graph.replay()
        loss, correct, state, grads = self.outputs
        return (loss.clone(), correct.clone(), [tuple(t.clone() for t in pair) for pair in state],
                [g.clone() for g in grads])


def _flat(x, state, targets, lengths):
    return [x, targets, lengths, *(t for pair in state for t in pair)]


def function_for(model):
    """:func:`derive` for a model, as quick as it can be had where the model lies."""
    able = hasattr(torch.cuda.CUDAGraph, "register_generator_state")  # torch 2.4
    if next(model.parameters()).device.type == "cuda" and able:
        return Graphed(model)
    return functools.partial(derive, model)
