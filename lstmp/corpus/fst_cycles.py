"""Finds cycles of arcs without words and phones in FSTs; following such a cycle would never end."""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError


def state_of_cycle(fst: FstArrays, arcs: np.ndarray) -> int | None:
    """Return the first state on a cycle that consists only of the given arcs; None if there is no such cycle.

    Args:
        fst: the FST.
        arcs: bool [A], the arcs to consider.
    """
    src, dst = fst.src[arcs], fst.dst[arcs]
    self_loop = src == dst
    if self_loop.any():
        return int(src[self_loop].min())
    states, index = np.unique(np.concatenate([src, dst]), return_inverse=True)
    ends = index.reshape(2, -1)
    adjacency = csr_matrix((np.ones(len(src), np.int8), (ends[0], ends[1])), shape=(len(states), len(states)))
    component = connected_components(adjacency, directed=True, connection="strong")[1]
    on_cycle: np.ndarray | list[int]
    on_cycle = np.flatnonzero(np.bincount(component, minlength=1)[component] > 1) if len(states) else []
    return int(states[on_cycle[0]]) if len(on_cycle) else None


def check_backoff(g: FstArrays, backoff: int | None, path):
    """Check that a language model has no cycle of back-off arcs: each must lead to a shorter history.

    Args:
        g: the language model.
        backoff: the id of ``#0``; None if the model has no such symbol.
        path: file of the model, for messages.

    Raises:
        UserError: there is a cycle of arcs with the input label ``#0`` or epsilon.
    """
    silent = (g.ilabel == 0) if backoff is None else (g.ilabel == 0) | (g.ilabel == backoff)
    if (state := state_of_cycle(g, silent)) is not None:
        raise UserError(f"state {state} is on a cycle of arcs without a word (`#0` or epsilon)", file=path,
                        hint="create it again with local/prepare_lm.sh; back-off must lead to a shorter history")


def check_lexicon(lexicon: FstArrays, disambig: list[int], path):
    """Check that each cycle of a lexicon transducer contains a phone or a word.

    Args:
        lexicon: the transducer from phones to words.
        disambig: the phone ids of ``#0 #1 …``.
        path: file of the lexicon, for messages.

    Raises:
        UserError: there is a cycle of arcs without phone and word.
    """
    silent = (lexicon.olabel == 0) & ((lexicon.ilabel == 0) | np.isin(lexicon.ilabel, disambig))
    if (state := state_of_cycle(lexicon, silent)) is not None:
        raise UserError(f"state {state} is on a cycle of arcs without phone and word", file=path,
                        hint="create it again with local/prepare_lang.sh")
