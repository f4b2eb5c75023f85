"""The criteria sMBR and MMI of utterances: lattices of the scores of the moment, objective and gradient.

With the scores y of a network before its softmax, the acoustic score of pdf j in frame t is κ (y_t(j) − log prior(j)).
Decoding uses log-posteriors in place of y. They differ by one number for each frame, which all paths share, so that
lattices, objectives and gradients are the same.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.search_graph import SearchGraph
from lstmp.nnet.distributed.workers import Workers
from lstmp.nnet.posteriors import Posteriors, Result, WithGradient
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.lattices import aligned_path, make_lattice, with_path
from lstmp.sequence.objectives import expected_accuracy, log_sum
from lstmp.sequence.phone_classes import FrameAccuracy


@dataclass(frozen=True)
class Utterance:
    """The criterion of an utterance.

    Attributes:
        objective: sMBR: the expected number of right frames; MMI: log numerator − log of the sum over the lattice.
        frame, pdf, value: [n], the derivative of the objective by the scaled acoustic scores; the same two may occur
            several times.
        outside: number of frames whose aligned state is not in the lattice.
    """

    objective: float
    frame: Array
    pdf: Array
    value: Array
    outside: int


class LatticeCriterion:
    """Computes the criterion of a batch.

    Args:
        name: smbr or mmi.
        options: conf/sequence.yaml.
        graph: the graph that is searched.
        accuracy: of a frame.
        log_priors: float32 [P].
        factor: on the scores, besides the acoustic scale: `acoustic_factor` of conf/lstmp.yaml.
        threads: that search the utterances of a batch.
    """

    def __init__(self, name: str, options: SequenceConfig, graph: SearchGraph, accuracy: FrameAccuracy,
                 log_priors: torch.Tensor, factor: float = 1.0, threads: int = 1):
        self.name, self.options, self.graph, self.accuracy = name, options, graph, accuracy
        self.search = options.lattice.search()
        self.scale, self.log_priors = self.search.acoustic_scale * factor, log_priors
        self._workers = Workers(threads if threads > 1 else 0)

    def __call__(self, scores: torch.Tensor, pdfs: torch.Tensor, divisor: float) -> tuple[Result, list[str]]:
        """Compute the criterion of N utterances.

        Args:
            scores: [T, N, P] outputs of the network, without softmax.
            pdfs: int64 [T, N], the aligned states; -1 in rows that do not belong to the utterance.
            divisor: the loss is divided by this.

        Returns:
            the result, and the reason of each utterance that is left out. The posteriors are those of the alignment.
        """
        detached, aligned = scores.detach(), pdfs.cpu()
        begins = (aligned >= 0).int().argmax(0).tolist()

        def one(n: int) -> Utterance | str:
            states = aligned[:, n][aligned[:, n] >= 0].numpy()
            part = detached[begins[n]:begins[n] + len(states), n]
            rows = ((part - self.log_priors.to(part)) * self.scale).cpu()
            if not len(rows) or not bool(rows.isfinite().all()):
                return "its scores are not finite" if len(rows) else "it has no frames"
            return self.of_utterance(rows.numpy(), states)

        found = dict(enumerate(self._workers.map(one, range(len(begins)))))
        used = {n: x for n, x in found.items() if isinstance(x, Utterance)}
        gradient, objective = torch.zeros_like(detached), sum(x.objective for x in used.values())
        for n, x in used.items():
            at = torch.from_numpy(x.frame + begins[n]).long(), torch.full((len(x.frame),), n), \
                torch.from_numpy(x.pdf).long()
            derivative = Posteriors(*(i.to(gradient.device) for i in (*at, torch.from_numpy(x.value))))
            derivative.add_to(gradient, -self.scale / divisor)
        left_out = {n: x for n, x in found.items() if isinstance(x, str)}
        inside = pdfs >= 0
        inside[:, list(left_out)] = False
        frame, sequence = inside.nonzero(as_tuple=True)
        numerators = Posteriors(frame, sequence, pdfs[frame, sequence], torch.ones_like(frame))
        loss = WithGradient.apply(scores, scores.new_tensor(-objective / divisor), gradient)
        return Result(loss, float(objective), len(frame), list(left_out), numerators,
                      sum(x.outside for x in used.values())), list(left_out.values())

    def of_utterance(self, rows: Array, pdfs: Array) -> Utterance | str:
        """The criterion of an utterance, or why it has none.

        Args:
            rows: [T, P], scaled acoustic scores, finite; the search rounds them to float32.
            pdfs: int64 [T], the aligned states.
        """
        lattice = make_lattice(self.graph, rows, self.search)
        if lattice is None:
            return "no path survives the search"
        frame, pdf = lattice.frame, lattice.arcs[:, 2] - 1
        there = np.zeros(len(pdfs) + 1, bool)
        there[frame[pdf == np.append(pdfs, -2)[frame]]] = True
        outside = int((~there[:-1]).sum())
        path = aligned_path(self.graph, pdfs) if self.name == "mmi" else None
        if self.name == "mmi" and path is None:
            return "its alignment is not a path of the graph"
        if path is not None and self.options.reference == "add":
            lattice = with_path(lattice, path, self.graph)
            frame, pdf, there[:] = lattice.frame, lattice.arcs[:, 2] - 1, True
        scores, emits = lattice.scores(self.graph, rows), pdf >= 0
        correct = np.zeros(len(pdf))
        correct[emits] = self.accuracy(pdf[emits], pdfs[frame[emits]])
        if path is None:
            objective, derivative = expected_accuracy(lattice.arcs, scores, correct)
            return Utterance(objective, frame[emits], pdf[emits], derivative[emits], outside)
        over, posteriors = log_sum(lattice.arcs, scores + self.options.boost * (emits - correct))
        times = np.flatnonzero(there[:-1])  # the others are rejected
        kept = emits & there[frame]
        aligned = rows[np.arange(len(pdfs)), pdfs].sum(dtype=np.float64) \
            + self.graph.chosen(path).scores.sum(dtype=np.float64)
        return Utterance(float(aligned) - over, np.append(times, frame[kept]), np.append(pdfs[times], pdf[kept]),
                         np.append(np.ones(len(times)), -posteriors[kept]), outside)
