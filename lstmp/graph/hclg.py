"""HCLG = H ∘ C ∘ L ∘ G, determinized and minimized: the whole of a recognizer's knowledge but the sounds themselves.

The steps are those of Kaldi's ``mkgraph.sh`` (Mohri, Pereira and Riley, 2008; Povey et al., "The Kaldi speech
recognition toolkit", 2011). kaldifst composes and determinizes; what needs the acoustic model is ours, and so is the
merging of states in the place of minimization (:mod:`lstmp.graph.merge`), which takes a sixth of the time here.
"""

import time

import kaldifst
import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.graph.epsilon import remove_epsilon_locally
from lstmp.graph.h_transducer import collect_hmms, h_transducer
from lstmp.graph.merge import merge_states
from lstmp.graph.push import push_special
from lstmp.graph.self_loops import add_self_loops
from lstmp.log import say

# A determinization that ends makes about as many states as there were; one that grows beyond this is without end.
_LEAST_STATES, _GROWTH = 300_000, 10


class _Clock:
    """Says how large each result is and how long it took: seconds, and of them seconds of computing."""

    def __init__(self, quiet: bool):
        self.quiet, self.since = quiet, (time.monotonic(), time.process_time())

    def __call__(self, what: str, fst: FstArrays):
        now = time.monotonic(), time.process_time()
        wall, cpu = (b - a for a, b in zip(self.since, now, strict=True))
        if not self.quiet:
            say(f"{what}: {len(fst.final):,} states, {len(fst.src):,} arcs ({wall:.0f} s, CPU {cpu:.0f} s)")
        self.since = now


def compose_hclg(l_disambig, g, disambig: list[int], tree, transitions, *, transition_scale: float = 1.0,
                 self_loop_scale: float = 0.1, phone_names=None, quiet: bool = False) -> FstArrays:
    """Build the graph.

    Args:
        l_disambig: the lexicon with disambiguation symbols, sorted by output label.
        g: the grammar, sorted by input label.
        disambig: phone ids of ``#0 #1 …``.
        tree, transitions: of the acoustic model.
        transition_scale, self_loop_scale: see :meth:`lstmp.gmm.transition.TransitionModel.graph_log_probs`.
        phone_names: phone id → symbol, for messages.
        quiet: print no progress.

    Returns:
        HCLG: input labels are transition-ids, output labels words, weights costs; epsilons remain.

    Raises:
        UserError: if the lexicon has a phone that the model lacks, or no sentence of the grammar can be pronounced.
    """
    done = _Clock(quiet)
    lg = kaldifst.compose(l_disambig, g, match_side="left")
    if lg.num_states == 0:
        raise UserError("no sentence of the language model can be pronounced", hint="check that it fits the lexicon")
    _determinize(lg)
    arrays, spread = push_special(merge_states(FstArrays.of(lg)))
    del lg  # a graph of this size is large: none is kept longer than it is needed
    done(f"LG, determinized, minimized, weights pushed to within {spread:.2g}", arrays)

    if tree.context_width == 1:
        clg, windows = arrays, _single_phones(arrays, disambig)
    else:
        clg, windows = kaldifst.compose_context(disambig, tree.context_width, tree.central_position, arrays.to_fst())
        clg = FstArrays.of(clg)
    done(f"CLG, {len(windows):,} windows of {tree.context_width}", clg)

    hmms = collect_hmms(windows, tree, transitions, phone_names)
    clg.ilabel = hmms.label[clg.ilabel]
    clg = clg.to_fst()
    kaldifst.arcsort(clg, sort_type="ilabel")
    h = h_transducer(hmms, transitions, transition_scale)
    hclg = kaldifst.compose(h.to_fst(), clg, match_side="left")
    del clg, h
    _determinize(hclg)
    arrays = FstArrays.of(hclg)
    del hclg
    done(f"HCLG without self-loops, {len(hmms.tuples):,} HMMs, determinized", arrays)

    arrays.ilabel[arrays.ilabel > transitions.num_tids] = 0
    arrays = merge_states(remove_epsilon_locally(arrays))
    done("HCLG without disambiguation symbols, minimized", arrays)
    arrays = add_self_loops(arrays, transitions, self_loop_scale)
    done("HCLG with self-loops", arrays)
    return arrays


def _determinize(fst):
    """In the log semiring, as probabilities of equal paths add up.

    Raises:
        UserError: it would not come to an end.
    """
    try:
        kaldifst.determinize_star(fst, max_states=_LEAST_STATES + _GROWTH * fst.num_states, use_log=True)
    except RuntimeError:  # so it says that there would be more
        raise UserError("lexicon and language model have no deterministic form of a size that can be used",
                        hint="prepare the lang folder again: words that sound alike need symbols #1, #2 … behind them"
                        ) from None


def _single_phones(lg: FstArrays, disambig: list[int]) -> list[list[int]]:
    """For monophones, C is the identity: the window of a phone is itself."""
    windows: list[list[int]] = [[] for _ in range(int(lg.ilabel.max(initial=0)) + 1)]
    for phone in np.unique(lg.ilabel[lg.ilabel > 0]).tolist():
        windows[phone] = [-phone] if phone in disambig else [phone]
    return windows
