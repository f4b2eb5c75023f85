"""Transition model: Kaldi's transition-ids over (phone, HMM state, pdf) tuples.

A *tuple* is one emitting HMM state of one phone with one pdf. Each arc that leaves it has a *transition-id*. The ids
are numbered from 1 over the sorted tuples and, within a tuple, over the arcs in the order of the topology. Alignments
are stored as transition-ids because one id per frame gives pdf, phone, HMM state and the next state of the path.
"""

import numpy as np
import torch

from lstmp.corpus.topology import Topology
from lstmp.errors import UserError

BEGIN_FRAMES = 3  # frames of an alignment in the beginning of a phone: one output of a network with a low frame rate


class TransitionModel:
    """Transition-ids and transition probabilities, tied per tuple.

    Args:
        topology: HMM topologies of the phones.
        tuples: int64 [n, 3] of (phone, hmm_state, pdf), in sorted order.
        log_prob: float32 [num_tids + 1], natural logarithms by transition-id (entry 0 unused); default: the
            probabilities of the topology.

    Attributes:
        tid_tuple, tid_pdf, tid_phone, tid_state, tid_dest: int64; index of the tuple, pdf-id, phone, HMM state, and
            destination HMM state, by transition-id (entry 0 unused).
        is_self_loop, is_final: bool, by transition-id; whether the arc is a self-loop, or leads to the final state.
    """

    def __init__(self, topology: Topology, tuples, log_prob=None):
        self.topology = topology
        self.tuples = torch.as_tensor(tuples, dtype=torch.int64).reshape(-1, 3)
        first, of_tuple, dest, final, initial = [1], [-1], [-1], [False], [0.0]
        for i, (phone, state, _) in enumerate(self.tuples.tolist()):
            entry = topology.entries[phone]
            for to, prob in entry[state]:
                of_tuple.append(i)
                dest.append(to)
                final.append(to == len(entry))
                initial.append(np.log(prob))
            first.append(len(of_tuple))
        self.first_tid = torch.tensor(first)
        self.tid_tuple = torch.tensor(of_tuple)
        self.tid_dest = torch.tensor(dest)
        rows = self.tuples[self.tid_tuple.clamp(min=0)]
        self.tid_phone, self.tid_state, self.tid_pdf = rows[:, 0].clone(), rows[:, 1].clone(), rows[:, 2].clone()
        self.is_final = torch.tensor(final)
        self.is_self_loop = self.tid_dest == self.tid_state
        for column in (self.tid_phone, self.tid_state, self.tid_pdf):
            column[0] = -1
        self.is_self_loop[0] = False
        self.log_prob = torch.tensor(initial, dtype=torch.float32) if log_prob is None else log_prob.float()
        if len(self.log_prob) != len(of_tuple):
            raise UserError(f"{len(self.log_prob) - 1} transition probabilities for {self.num_tids} transition-ids",
                            hint="the model's files do not belong together; train it again")
        self._index = {tuple(t): i for i, t in enumerate(self.tuples.tolist())}

    @classmethod
    def from_tree(cls, topology: Topology, tree, phones) -> "TransitionModel":
        """A model of all tuples that can occur under ``tree`` for ``phones``, with the topology's probabilities."""
        tuples: set[tuple[int, int, int]] = set()
        for phone in phones:
            for state in range(len(topology.entries[phone])):
                tuples.update((phone, state, pdf) for pdf in tree.reachable_pdfs(phone, state))
        return cls(topology, sorted(tuples))

    @property
    def num_tids(self) -> int:
        return len(self.tid_tuple) - 1

    @property
    def num_pdfs(self) -> int:
        return int(self.tuples[:, 2].max()) + 1

    def check(self, utt: str, tids: np.ndarray, *, model="the model", file=None,
              hint="align again; another model made this alignment"):
        """Check that an utterance's alignment has only transition-ids of this model; ``model`` is its name in errors.

        Raises:
            UserError: another transition-id occurs.
        """
        unknown = tids[(tids < 1) | (tids > self.num_tids)]
        if len(unknown):
            raise UserError(f"transition-id {unknown[0]} in {utt}, but {model} has 1 to {self.num_tids}", file=file,
                            hint=hint)

    def tuple_index(self, phone: int, state: int, pdf: int) -> int:
        """Index of a tuple.

        Raises:
            UserError: there is no such tuple.
        """
        try:
            return self._index[phone, state, pdf]
        except KeyError:
            raise UserError(f"no transitions for phone {phone}, state {state}, pdf {pdf}",
                            hint="the tree and the model do not belong together; train the model again") from None

    def self_loop_tid(self, index: int) -> int:
        """Transition-id of the tuple's self-loop, 0 if it has none."""
        for tid in range(int(self.first_tid[index]), int(self.first_tid[index + 1])):
            if self.is_self_loop[tid]:
                return tid
        return 0

    def self_loop_log_prob(self) -> torch.Tensor:
        """float32 [n]: log-probability of each tuple's self-loop, −inf if it has none."""
        out = torch.full((len(self.tuples),), -torch.inf)
        loops = self.is_self_loop.nonzero()[:, 0]
        out[self.tid_tuple[loops]] = self.log_prob[loops]
        return out

    def non_self_loop_log_prob(self, index: int) -> float:
        """log(1 − self-loop probability) of a tuple, 0 if it has no self-loop."""
        return float(torch.log1p(-self.self_loop_log_prob()[index].exp()))

    def graph_log_probs(self, transition_scale: float, self_loop_scale: float) -> torch.Tensor:
        """float32 [num_tids + 1]: scaled arc weights of a graph, as in Kaldi.

        The weight of a self-loop is ``self_loop_scale · log p(loop)``. The weight of any other arc is
        ``transition_scale · log(p / (1 − p(loop))) + self_loop_scale · log(1 − p(loop))``.
        """
        leave = torch.log1p(-self.self_loop_log_prob().exp())[self.tid_tuple.clamp(min=0)]
        weights = transition_scale * (self.log_prob - leave) + self_loop_scale * leave
        weights = torch.where(self.is_self_loop, self_loop_scale * self.log_prob, weights)
        weights[0] = 0.0
        return weights

    def update(self, counts: torch.Tensor, floor: float = 0.01, min_count: float = 5.0):
        """Maximum-likelihood re-estimation from the ``counts`` of transition-ids [num_tids + 1].

        A tuple with a count below ``min_count`` keeps its probabilities. No other probability falls below ``floor``.
        """
        counts = counts.double().clone()
        counts[0] = 0
        index = self.tid_tuple.clamp(min=0)
        ones = torch.ones_like(counts)
        ones[0] = 0
        total = torch.zeros(len(self.tuples), dtype=torch.float64).index_add_(0, index, counts)
        prob = counts / total.clamp(min=1e-10)[index]
        for _ in range(3):  # flooring one arc lowers the others; after three rounds the values no longer change
            prob = prob.clamp(min=floor)
            scale = torch.zeros_like(total).index_add_(0, index, prob * ones)
            prob = prob / scale.clamp(min=1e-10)[index]
        seen = (total >= min_count)[index] & (self.tid_tuple >= 0)
        self.log_prob = torch.where(seen, prob.clamp(min=1e-10).log().float(), self.log_prob)


def phone_starts(tids: np.ndarray, transitions: TransitionModel) -> np.ndarray:
    """Indices of the frames at which a phone begins, for an alignment in either of Kaldi's two orders.

    In "reordered" alignments (the order that lstmp and Kaldi's scripts write) a state's forward transition comes before
    its self-loops; in the other order it comes after them. A frame *continues* its predecessor if it is a self-loop of
    the same tuple. Any other frame begins a phone if the last frame before it that did not continue its predecessor has
    a transition to the final state. (In the second order, this does not separate two consecutive instances of a phone
    that has only one HMM state.)
    """
    if len(tids) == 0:
        return np.zeros(0, dtype=np.int64)
    tids = np.asarray(tids, dtype=np.int64)
    of_tuple = transitions.tid_tuple.numpy()[tids]
    continues = np.zeros(len(tids), dtype=bool)
    continues[1:] = transitions.is_self_loop.numpy()[tids[1:]] & (of_tuple[1:] == of_tuple[:-1])
    heads = np.flatnonzero(~continues)
    begins = np.ones(len(heads), dtype=bool)
    begins[1:] = transitions.is_final.numpy()[tids[heads[:-1]]]
    return heads[begins]


def target_pdfs(tids: np.ndarray, transitions: TransitionModel) -> np.ndarray:
    """The pdfs int32 [T] that a network learns from an alignment in the reordered form.

    They are those of the transition-ids. But with the topology of chain models the state for the beginning of a
    phone, which lasts one output of a network with a low frame rate, is the target in ``BEGIN_FRAMES`` frames.
    """
    pdf = transitions.tid_pdf.numpy()[tids].astype(np.int32)
    if not transitions.topology.is_chain or not len(tids):
        return pdf
    starts = phone_starts(tids, transitions)
    start = np.repeat(starts, np.diff(starts, append=len(tids)))
    return np.where(np.arange(len(tids)) - start < BEGIN_FRAMES, pdf[start], pdf)
