"""H: from phones in context to their HMMs, transition-ids in, phone windows out; self-loops come later.

Many windows share all their pdfs. They get one HMM, and the context-dependent phones on the input side of C ∘ LG are
renumbered by it, which makes H several times smaller and changes nothing else.
"""

from dataclasses import dataclass

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError


@dataclass(frozen=True)
class Hmms:
    """The distinct HMMs of a set of phone windows.

    Attributes:
        tuples: for each HMM, the transition model's tuple index of each of its states.
        label: int32 [number of windows], the input label of each window: 0 for epsilon, 1 … len(tuples) for an HMM
            (its index + 1), above that for disambiguation symbols.
        num_disambig: how many disambiguation symbols.
    """

    tuples: list[tuple[int, ...]]
    label: np.ndarray
    num_disambig: int


def collect_hmms(windows: list[list[int]], tree, transitions, phone_names=None) -> Hmms:
    """Find each window's HMM.

    Args:
        windows: as kaldifst.compose_context gives them: [] is epsilon; [−p], or [0], the mark at the start of the
            utterance, are disambiguation symbols; anything else is a window of phones, 0 beyond the utterance's ends.
        tree, transitions: the model's.
        phone_names: phone id → symbol, for messages.

    Raises:
        UserError: if a phone has no model.
    """
    disambig = [i for i, window in enumerate(windows) if window and (window[0] < 0 or window == [0])]
    spoken = np.ones(len(windows), bool)
    spoken[disambig] = False
    spoken[[i for i, window in enumerate(windows) if not window]] = False
    rows = np.flatnonzero(spoken)
    table = np.array([windows[i] for i in rows]).reshape(len(rows), tree.context_width)
    hmm_of: list = [None] * len(rows)
    for phone in np.unique(table[:, tree.central_position]).tolist():
        if (phone, 0) not in tree.roots:
            raise UserError(f"phone {(phone_names or {}).get(phone, phone)} has no model",
                            hint="it was not in the lexicon that the model was trained with; train with this one")
        mine = np.flatnonzero(table[:, tree.central_position] == phone)
        columns = []
        for s in range(len(transitions.topology.entries[phone])):
            pdfs, which = np.unique(tree.pdfs(table[mine], s), return_inverse=True)
            columns.append(np.array([transitions.tuple_index(phone, s, pdf) for pdf in pdfs.tolist()])[which].tolist())
        for row, key in zip(mine.tolist(), zip(*columns, strict=True), strict=True):
            hmm_of[row] = key
    index: dict[tuple[int, ...], int] = {}
    label = np.zeros(len(windows), np.int64)
    for i, key in zip(rows.tolist(), hmm_of, strict=True):
        label[i] = index.setdefault(key, len(index)) + 1
    label[disambig] = len(index) + 1 + np.arange(len(disambig))
    return Hmms(list(index), label.astype(np.int32), len(disambig))


def h_transducer(hmms: Hmms, transitions, transition_scale: float = 1.0) -> FstArrays:
    """Build H without self-loops; its disambiguation symbols are transition-ids above ``num_tids``.

    An arc out of a state weighs ``transition_scale · −log(p / (1 − p(self-loop)))``: the choice among the ways out.
    """
    tid_dest, is_loop = transitions.tid_dest.tolist(), transitions.is_self_loop.tolist()
    # scale 0 for self-loops leaves just the part of the weight that chooses among the ways out
    cost = (-transitions.graph_log_probs(transition_scale, 0.0)).tolist()
    first = transitions.first_tid.tolist()
    hub, arcs, states = 0, [], 1  # the hub: between phones
    for h, tuples in enumerate(hmms.tuples):
        n = len(tuples)
        ways = [(s, tid) for s, t in enumerate(tuples) for tid in range(first[t], first[t + 1]) if not is_loop[tid]]
        reentered = any(tid_dest[tid] == 0 for _, tid in ways)
        inner = {s: states + k for k, s in enumerate(range(0 if reentered else 1, n))}
        states += len(inner)
        inner[n] = hub
        if reentered:
            arcs.append((hub, 0, h + 1, 0.0, inner[0]))
        for s, tid in ways:
            begins = s == 0 and not reentered
            arcs.append((hub if begins else inner[s], tid, h + 1 if begins else 0, cost[tid], inner[tid_dest[tid]]))
    for k in range(hmms.num_disambig):
        arcs.append((hub, transitions.num_tids + 1 + k, len(hmms.tuples) + 1 + k, 0.0, hub))
    arcs.sort(key=lambda arc: (arc[0], arc[2], arc[1]))
    src, ilabel, olabel, weight, dst = map(np.array, zip(*arcs, strict=True))
    final = np.full(states, np.inf, np.float32)
    final[hub] = 0.0
    return FstArrays(hub, final, src, ilabel, olabel, weight, dst)
