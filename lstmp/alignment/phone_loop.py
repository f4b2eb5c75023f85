"""What the audio sounds like when no transcript binds it: the best path through a loop of all phones.

A base phone of the loop (one of ``Lang.sets``) has the topology of its variants, and at each frame the score of
whichever of its pdfs fits best there, over all contexts and variants. That makes the loop small (some 130 states with
English), cheap, and a strong rival: its score bounds what any words could reach, apart from the cost of its phones.
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
        score: float32 [T], scaled acoustic score and transition of each frame, the cost of a phone on its first.
        phone: int64 [T], index into ``Lang.sets`` of the phone at each frame.
        starts: bool [T], where a phone begins.
    """

    score: np.ndarray
    phone: np.ndarray
    starts: np.ndarray


class PhoneLoop:
    """The loop for a model.

    Args:
        lang: its ``sets`` are the loop's phones.
        model: tree and transitions.
        phone_cost: log-probability that each phone costs; without it a loop takes too many.
    """

    def __init__(self, lang: Lang, model: AcousticModel, phone_cost: float):
        self.phone_cost, self.transitions = phone_cost, model.transitions
        transitions = model.transitions
        self.pdfs: list[list[int]] = []  # of each state: the pdfs of which it takes the best
        self_tid, arcs, starts, exits = [], [], [], []
        self._state: dict[tuple[int, int], int] = {}  # of a phone and its HMM state: the loop's state
        self.set_of_phone = {p: k for k, phones in enumerate(lang.sets) for p in phones}
        for phones in lang.sets:
            phones = [p for p in phones if (p, 0) in model.tree.roots]
            if not phones:
                continue
            base, entry = len(self.pdfs), transitions.topology.entries[phones[0]]
            starts.append(base)
            for s, ways in enumerate(entry):
                reachable = [model.tree.reachable_pdfs(p, s) for p in phones]
                self._state[phones[0], s] = len(self.pdfs)
                self.pdfs.append(sorted(set().union(*reachable)))
                first = int(transitions.first_tid[transitions.tuple_index(phones[0], s, reachable[0][0])])
                self_tid.append(next((first + i for i, (to, _) in enumerate(ways) if to == s), 0))
                arcs += [(base + s, base + to, first + i) for i, (to, _) in enumerate(ways) if s != to < len(entry)]
                exits += [(base + s, first + i) for i, (to, _) in enumerate(ways) if to == len(entry)]
        inner = len(arcs)
        arcs += [(s, start, tid) for s, tid in exits for start in starts]
        extra = np.zeros(len(arcs), dtype=np.float32)
        extra[inner:] = -phone_cost
        count = len(self.pdfs)
        self.graph = TrainingGraph(np.arange(count), np.array(self_tid), np.array(arcs), extra, np.array(starts),
                                   np.full(len(starts), -phone_cost, dtype=np.float32), np.array(exits),
                                   np.zeros(len(exits), dtype=np.float32), 1)

    def scores(self, loglikes: torch.Tensor) -> torch.Tensor:
        """Scores of all pdfs [T, pdfs] → of the loop's states [T, S]."""
        return torch.stack([loglikes[:, pdfs].amax(1) for pdfs in self.pdfs], 1)

    def best_paths(self, loglikes: list[torch.Tensor], log_prob: np.ndarray) -> list[LoopPath | None]:
        """The best path of each utterance; None where it is shorter than any phone.

        Args:
            loglikes: scaled scores of all pdfs [T, pdfs], of utterances of falling length.
            log_prob: arc weights by transition-id, as for :func:`lstmp.gmm.viterbi.align_batch`.
        """
        scores = [self.scores(x) for x in loglikes]
        found = align_batch([self.graph] * len(scores), scores, log_prob)
        return [r and self._read(r[0].astype(np.int64), x, log_prob) for r, x in zip(found, scores, strict=True)]

    def _read(self, tids, scores, log_prob) -> LoopPath:
        phone = self.transitions.tid_phone.numpy()[tids]
        hmm_state = self.transitions.tid_state.numpy()[tids]
        state = [self._state[key] for key in zip(phone.tolist(), hmm_state.tolist(), strict=True)]
        starts = np.zeros(len(tids), dtype=bool)
        starts[phone_starts(tids, self.transitions)] = True
        emitted = scores[torch.arange(len(tids)), torch.tensor(state)].cpu().numpy()
        return LoopPath(emitted + log_prob[tids] - self.phone_cost * starts,
                        np.array([self.set_of_phone[p] for p in phone.tolist()]), starts)
