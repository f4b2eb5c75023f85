"""Phone recognition without a transcript: the best path through a loop of all phones.

The loop has one HMM per base phone (set of ``Lang.sets``), with the topology of the phones of the set. Each of its
states scores a frame with the best of its pdfs over all contexts and phones of the set. So the loop is small (about 130
states for English) and fast, and apart from the cost of its phones its score is an upper bound of the score of any
words.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.corpus.lang import Lang
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import TrainingGraph
from lstmp.gmm.transition import phone_starts
from lstmp.gmm.viterbi import align_batch


@dataclass(frozen=True)
class LoopPath:
    """The best path of an utterance through the loop.

    Attributes:
        score: float32 [T], scaled acoustic score plus transition score of each frame, minus the phone cost in the first
            frame of each phone.
        phone: int64 [T], index into ``Lang.sets`` of the phone at each frame.
        starts: bool [T], True in the first frame of each phone.
    """

    score: np.ndarray
    phone: np.ndarray
    starts: np.ndarray


class PhoneLoop:
    """The phone loop of a model.

    Args:
        lang: its ``sets`` are the phones of the loop.
        model: tree and transitions.
        phone_cost: cost of each phone, a negative log-probability; without it paths have too many phones.
    """

    def __init__(self, lang: Lang, model: AcousticModel, phone_cost: float):
        self.phone_cost, self.transitions = phone_cost, model.transitions
        transitions = model.transitions
        self.pdfs: list[list[int]] = []  # for each state of the loop: the pdfs that it takes the best of
        self_tid, arcs, starts, exits = [], [], [], []
        self._state: dict[tuple[int, int], int] = {}  # (phone, HMM state) → state of the loop
        self.set_of_phone = {p: k for k, phones in enumerate(lang.sets) for p in phones}
        for phones in lang.sets:
            phones = [p for p in phones if (p, 0) in model.tree.roots]
            if not phones:
                continue
            base, entry = len(self.pdfs), transitions.topology.entries[phones[0]]
            starts.append(base)
            for s, out_arcs in enumerate(entry):
                reachable = [model.tree.reachable_pdfs(p, s) for p in phones]
                self._state[phones[0], s] = len(self.pdfs)
                self.pdfs.append(sorted(set().union(*reachable)))
                first = int(transitions.first_tid[transitions.tuple_index(phones[0], s, reachable[0][0])])
                self_tid.append(next((first + i for i, (to, _) in enumerate(out_arcs) if to == s), 0))
                arcs += [(base + s, base + to, first + i) for i, (to, _) in enumerate(out_arcs) if s != to < len(entry)]
                exits += [(base + s, first + i) for i, (to, _) in enumerate(out_arcs) if to == len(entry)]
        inner = len(arcs)
        arcs += [(s, start, tid) for s, tid in exits for start in starts]
        extra = np.zeros(len(arcs), dtype=np.float32)
        extra[inner:] = -phone_cost
        count = len(self.pdfs)
        self.graph = TrainingGraph(np.arange(count), np.array(self_tid), np.array(arcs), extra, np.array(starts),
                                   np.full(len(starts), -phone_cost, dtype=np.float32), np.array(exits),
                                   np.zeros(len(exits), dtype=np.float32), 1)

    def scores(self, loglikes: torch.Tensor) -> torch.Tensor:
        """Scores of all pdfs [T, pdfs] → scores of the loop's states [T, S]."""
        return torch.stack([loglikes[:, pdfs].amax(1) for pdfs in self.pdfs], 1)

    def best_paths(self, loglikes: list[torch.Tensor], log_prob: np.ndarray) -> list[LoopPath | None]:
        """Find the best path of each utterance; None for an utterance that is shorter than any phone.

        Args:
            loglikes: scaled scores of all pdfs [T, pdfs] for each utterance, longest utterance first.
            log_prob: arc weights by transition-id, as for :func:`lstmp.gmm.viterbi.align_batch`.
        """
        scores = [self.scores(x) for x in loglikes]
        results = align_batch([self.graph] * len(scores), scores, log_prob)
        return [r and self._to_path(r[0].astype(np.int64), x, log_prob) for r, x in zip(results, scores, strict=True)]

    def _to_path(self, tids, scores, log_prob) -> LoopPath:
        phone = self.transitions.tid_phone.numpy()[tids]
        hmm_state = self.transitions.tid_state.numpy()[tids]
        state = [self._state[key] for key in zip(phone.tolist(), hmm_state.tolist(), strict=True)]
        starts = np.zeros(len(tids), dtype=bool)
        starts[phone_starts(tids, self.transitions)] = True
        emitted = scores[torch.arange(len(tids)), torch.tensor(state)].cpu().numpy()
        return LoopPath(emitted + log_prob[tids] - self.phone_cost * starts,
                        np.array([self.set_of_phone[p] for p in phone.tolist()]), starts)
