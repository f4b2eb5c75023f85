"""Ways around a graph that say nothing and read nothing: who follows such arcs would go around for ever."""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError


def state_of_cycle(fst: FstArrays, arcs: np.ndarray) -> int | None:
    """The first state that lies on a cycle of some of the arcs; None: there is no such cycle.

    Args:
        arcs: bool [A], those that count.
    """
    src, dst = fst.src[arcs], fst.dst[arcs]
    around = src == dst
    if around.any():
        return int(src[around].min())
    states, number = np.unique(np.concatenate([src, dst]), return_inverse=True)
    ends = number.reshape(2, -1)
    ways = csr_matrix((np.ones(len(src), np.int8), (ends[0], ends[1])), shape=(len(states), len(states)))
    part = connected_components(ways, directed=True, connection="strong")[1]
    several = np.flatnonzero(np.bincount(part, minlength=1)[part] > 1) if len(states) else []
    return int(states[several[0]]) if len(several) else None


def check_backoff(g: FstArrays, backoff: int | None, path):
    """Whether the back-off arcs of a language model lead to shorter and shorter histories.

    Args:
        g: the model.
        backoff: the id of ``#0``; None: there is no such symbol.
        path: its file, for messages.

    Raises:
        UserError: a cycle of arcs that read ``#0`` or nothing.
    """
    silent = (g.ilabel == 0) if backoff is None else (g.ilabel == 0) | (g.ilabel == backoff)
    if (state := state_of_cycle(g, silent)) is not None:
        raise UserError(f"state {state} is on a cycle of arcs without a word, of `#0` or epsilons", file=path,
                        hint="make it again with local/prepare_lm.sh: a back-off leads to a shorter history")


def check_lexicon(lexicon: FstArrays, disambig: list[int], path):
    """Whether each way around a lexicon says a word or reads a phone.

    Args:
        lexicon: phones in, words out.
        disambig: the ids of ``#0 #1 …``.
        path: its file, for messages.

    Raises:
        UserError: a cycle of arcs that have neither.
    """
    silent = (lexicon.olabel == 0) & ((lexicon.ilabel == 0) | np.isin(lexicon.ilabel, disambig))
    if (state := state_of_cycle(lexicon, silent)) is not None:
        raise UserError(f"state {state} is on a cycle of arcs without phone and word", file=path,
                        hint="make it again with local/prepare_lang.sh")
