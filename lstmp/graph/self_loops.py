"""The last step of HCLG: every state that follows a transition-id gets the self-loop of that id's HMM state.

This is Kaldi's "reordered" form: a state's forward transition-id comes first, its self-loops after it, so that no
self-loop needs a state of its own. All arcs into a state must then belong to one HMM state; where they do not, the
state is split.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays


def add_self_loops(graph: FstArrays, transitions, scale: float = 0.1) -> FstArrays:
    """Add self-loops and the probabilities of leaving.

    Args:
        graph: input labels are transition-ids without self-loops, or 0.
        transitions: the model's; a self-loop weighs ``−scale · log p``, what leaves its state ``−scale · log(1 − p)``.
        scale: Kaldi's ``--self-loop-scale``.

    Returns:
        the graph, arcs sorted by source state; states added for splitting come last.
    """
    num_states = len(graph.final)
    loops = np.flatnonzero(transitions.is_self_loop.numpy())
    of_tuple = transitions.tid_tuple.numpy() + 1  # 0: epsilon, belongs to no HMM state
    group = np.where(graph.ilabel > 0, of_tuple[graph.ilabel], 0)

    entered_by = np.zeros(num_states, group.dtype)  # the group of one of the arcs into each state …
    entered_by[graph.dst] = group
    entered_by[graph.start] = 0  # the utterance begins here, after no transition-id
    mixed = np.zeros(num_states, bool)  # … and whether all of them are of that group
    mixed[graph.dst[group != entered_by[graph.dst]]] = True
    enters_mixed = mixed[graph.dst] & (group > 0)
    keys, of_key = np.unique(graph.dst[enters_mixed].astype(np.int64) * len(of_tuple) + group[enters_mixed],
                             return_inverse=True)
    dst = graph.dst.copy()
    dst[enters_mixed] = num_states + of_key
    state_group = np.concatenate([np.where(mixed, 0, entered_by), keys % len(of_tuple)])

    num_tuples = len(transitions.tuples)
    self_loop = np.zeros(num_tuples + 1, np.int64)
    self_loop[of_tuple[loops]] = loops
    stay, leave = np.zeros(num_tuples + 1), np.zeros(num_tuples + 1)
    log_p = transitions.log_prob.numpy().astype(np.float64)[loops]
    stay[of_tuple[loops]] = -scale * log_p
    leave[of_tuple[loops]] = -scale * np.log1p(-np.exp(log_p))

    looped = np.flatnonzero(self_loop[state_group]).astype(np.int32)
    label, added = self_loop[state_group[looped]].astype(np.int32), np.arange(len(keys), dtype=np.int32)
    src = np.concatenate([graph.src, num_states + added, looped])
    ilabel = np.concatenate([graph.ilabel, 0 * added, label])
    olabel = np.concatenate([graph.olabel, 0 * added, 0 * looped])
    weight = np.concatenate([(graph.weight + leave[state_group[graph.src]]).astype(np.float32),
                             leave[state_group[num_states + added]].astype(np.float32),
                             stay[state_group[looped]].astype(np.float32)])
    dst = np.concatenate([dst, (keys // len(of_tuple)).astype(np.int32), looped])
    final = np.concatenate([graph.final, np.full(len(keys), np.inf)]) + leave[state_group]
    order = np.argsort(src, kind="stable")
    return FstArrays(graph.start, final.astype(np.float32), src[order], ilabel[order], olabel[order], weight[order],
                     dst[order])
