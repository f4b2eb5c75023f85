"""Computes loss and gradients of a batch, on a GPU by replaying a CUDA graph.

A chunk of 20 frames through two layers takes some 200 small kernels, and launching them one by one takes longer than
running them. A CUDA graph launches all of them at once, but works for one set of shapes only. Nearly all batches of
truncated BPTT have the same shapes; other batches, and the first few, are computed kernel by kernel, with the same
result.

From a step of the training loop to the graph, and back (for a single process; several processes use
:class:`lstmp.nnet.distributed.synchronous.Synchronous`, or its asynchronous counterpart, which uses no graphs)::

    Trainer.step               a batch: x [T, n, D], targets [T, n], the recurrent state carried over by its streams
      │                        loss_of(function, part, streams) calls a function with these tensors for some streams
      ▼
    Team.gradients             Workers.map(run, ...): on a CPU each thread gets a part of the streams; on a GPU
      │                        there is one part, with all streams
      ▼
    loss_and_gradients_for(model)   on a CPU, and before torch 2.4: loss_and_gradients
      │                        on a GPU: Graphed
      ▼
    Graphed.__call__           the first three batches of the same shapes, and new shapes when there are four
      │                        graphs: loss_and_gradients
      │                        the fourth batch: _Graph.__init__ runs loss_and_gradients once,
      │                        then records it
      │                        from then on: _Graph.__call__
      ▼
    _Graph.__call__            copies x, state, targets, lengths to the recorded addresses, sets the seed,
      │                        graph.replay(), copies the results
      ▼
    loss_and_gradients         is recorded, or runs kernel by kernel:
        StateNetwork.loss          for each layer LstmpChunk.forward → gpu.forward, two Triton kernels per frame;
                                   FrameCrossEntropy.forward → scores, loss, and the gradient of the scores
        torch.autograd.grad        FrameCrossEntropy.backward, then from the last layer to the first
                                   LstmpChunk.backward → gpu.backward
      │
      ▼  loss, number of correct frames, new state, gradients
    Team.gradients             adds up the gradients of all parts in p.grad
      ▼
    Trainer.step               clip_gradients, learning_rate, Team.update → optimizer.step
"""

import functools

import torch

_MIN_REPEATS = 3  # record a graph after this many batches in a row with the same shapes; whole utterances rarely repeat
_MAX_GRAPHS = 4


def loss_and_gradients(model, x, state, targets, frames, generator, lengths):
    """Compute :meth:`lstmp.nnet.model.StateNetwork.loss`, and its gradients in the order of the parameters.

    All results are detached: autograd's nodes remember the CUDA stream that they were made on, and as long as a node of
    an earlier batch exists, recording a graph on another CUDA stream fails.
    """
    loss, correct, state = model.loss(x, state, targets, frames, generator, lengths)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return loss.detach(), correct, [tuple(t.detach() for t in pair) for pair in state], grads


class Graphed:
    """:func:`loss_and_gradients` for a model on a GPU. Only a generator's seed matters, not its current state."""

    def __init__(self, model):
        self.model, self.graphs, self.pool = model, {}, torch.cuda.graph_pool_handle()
        self.last_key, self.repeats = None, 0

    def __call__(self, x, state, targets, frames, generator, lengths):
        if not torch.is_tensor(targets):  # of a criterion over sequences, a part of which is computed on the CPU
            return loss_and_gradients(self.model, x, state, targets, frames, generator, lengths)
        # a graph is valid for these shapes, these addresses of the weights, and this precision of products
        key = (x.shape, frames, generator is None, torch.get_float32_matmul_precision(),
               *(p.data_ptr() for p in self.model.parameters()))
        if key not in self.graphs:
            self.last_key, self.repeats = key, self.repeats + 1 if key == self.last_key else 1
            if self.repeats <= _MIN_REPEATS or len(self.graphs) >= _MAX_GRAPHS:
                return loss_and_gradients(self.model, x, state, targets, frames, generator, lengths)
            self.graphs[key] = _Graph(self.model, self.pool, x, state, targets, frames, generator, lengths)
        return self.graphs[key](x, state, targets, generator, lengths)


class _Graph:
    """A recorded CUDA graph with the tensors that it reads and writes: a replay uses the same addresses."""

    def __init__(self, model, pool, x, state, targets, frames, generator, lengths):
        self.inputs = [a.to(x.device, copy=True) for a in _flat(x, state, targets, lengths)]
        inputs, pairs = self.inputs, [tuple(self.inputs[i:i + 2]) for i in range(3, len(self.inputs), 2)]
        self.graph, self.generator = torch.cuda.CUDAGraph(), None
        if generator is not None:
            self.generator = torch.Generator(x.device)
            self.graph.register_generator_state(self.generator)  # type: ignore[attr-defined]  # see loss_and_gradients_for()

        def run():
            return loss_and_gradients(model, inputs[0], pairs, inputs[1], frames, self.generator, inputs[2])

        # a warm-up run first: during the recording nothing may be allocated or compiled
        side = torch.cuda.Stream(x.device)
        side.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream(x.device).wait_stream(side)
        # graphs can share a memory pool: one is replayed at a time, and its results are copied at once
        with torch.cuda.graph(self.graph, pool=pool):
            self.outputs = run()

    def __call__(self, x, state, targets, generator, lengths):
        for recorded, new in zip(self.inputs, _flat(x, state, targets, lengths), strict=True):
            recorded.copy_(new, non_blocking=True)
        if generator is not None:
            assert self.generator is not None
            self.generator.manual_seed(generator.initial_seed())
        self.graph.replay()
        loss, correct, state, grads = self.outputs
        return (loss.clone(), correct.clone(), [tuple(t.clone() for t in pair) for pair in state],
                [g.clone() for g in grads])


def _flat(x, state, targets, lengths):
    return [x, targets, lengths, *(t for pair in state for t in pair)]


def loss_and_gradients_for(model):
    """:func:`loss_and_gradients` with the model filled in: :class:`Graphed` if the model is on a GPU and torch can."""
    can_draw = hasattr(torch.cuda.CUDAGraph, "register_generator_state")  # random numbers in graphs: torch 2.4
    if next(model.parameters()).device.type == "cuda" and can_draw:
        return Graphed(model)
    return functools.partial(loss_and_gradients, model)
