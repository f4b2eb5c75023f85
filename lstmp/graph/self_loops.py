"""The last step of HCLG construction: add the self-loops of the HMM states.

This is Kaldi's "reordered" form: the transition-id that leaves an HMM state comes first, and its self-loops follow on
the next graph state, so that no additional states are needed for self-loops. All arcs into a graph state must then
belong to the same HMM state; otherwise the graph state is split.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays


def add_self_loops(graph: FstArrays, transitions, scale: float = 0.1) -> FstArrays:
    """Add self-loops, and the probabilities of leaving their states.

    Args:
        graph: input labels are transition-ids without self-loops, or 0.
        transitions: the transition model. With p the probability of a self-loop, the cost of the self-loop is
            ``−scale · log p``, and ``−scale · log(1 − p)`` is added to the other arcs out of its state.
        scale: Kaldi's ``--self-loop-scale``.

    Returns:
        the graph, arcs sorted by source state; states added by splitting come last.
    """
    num_states = len(graph.final)
    loops = np.flatnonzero(transitions.is_self_loop.numpy())
    of_tuple = transitions.tid_tuple.numpy() + 1  # 0: epsilon, which belongs to no HMM state
    group = np.where(graph.ilabel > 0, of_tuple[graph.ilabel], 0)

    entered_by = np.zeros(num_states, group.dtype)  # the group (HMM state) of one of the arcs into each state
    entered_by[graph.dst] = group
    entered_by[graph.start] = 0  # the utterance starts here, before any transition-id
    mixed = np.zeros(num_states, bool)  # whether the arcs into a state belong to different groups
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
