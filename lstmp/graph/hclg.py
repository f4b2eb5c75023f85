"""Construction of the decoding graph: HCLG = H ∘ C ∘ L ∘ G, determinized and minimized.

The steps are those of Kaldi's ``mkgraph.sh`` (Mohri, Pereira and Riley, 2008; Povey et al., "The Kaldi speech
recognition toolkit", 2011). kaldifst does composition and determinization. The steps that need the acoustic model are
implemented here, and states are merged (:mod:`lstmp.graph.merge`) instead of minimized, which takes a sixth of the
time.
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

# Determinization usually keeps about the number of states. With more than _MIN_STATES + _GROWTH · (number of states) it
# is assumed not to terminate. _MIN_STATES is small because each further state of an endless determinization may take as
# long as all states before it.
_MIN_STATES, _GROWTH = 50_000, 10


class _Progress:
    """Logs the size of each result, and its wall-clock and CPU time."""

    def __init__(self, quiet: bool):
        self.quiet, self.start = quiet, (time.monotonic(), time.process_time())

    def __call__(self, what: str, fst: FstArrays):
        now = time.monotonic(), time.process_time()
        wall, cpu = (b - a for a, b in zip(self.start, now, strict=True))
        if not self.quiet:
            say(f"{what}: {len(fst.final):,} states, {len(fst.src):,} arcs ({wall:.0f} s, CPU {cpu:.0f} s)")
        self.start = now


def compose_hclg(l_disambig, g, disambig: list[int], tree, transitions, *, transition_scale: float = 1.0,
                 self_loop_scale: float = 0.1, phone_names=None, quiet: bool = False) -> FstArrays:
    """Build the decoding graph.

    Args:
        l_disambig: the lexicon with disambiguation symbols, arcs sorted by output label.
        g: the grammar, arcs sorted by input label.
        disambig: phone ids of ``#0 #1 …``.
        tree, transitions: of the acoustic model.
        transition_scale, self_loop_scale: see :meth:`lstmp.gmm.transition.TransitionModel.graph_log_probs`.
        phone_names: phone id → symbol, for messages.
        quiet: print no progress.

    Returns:
        HCLG: input labels are transition-ids, output labels are words, weights are costs. It has epsilons.

    Raises:
        UserError: the lexicon has a phone that the model does not have, no sentence of the grammar can be pronounced,
            or a weight is too large to be the cost of a probability.
    """
    done = _Progress(quiet)
    lg = kaldifst.compose(l_disambig, g, match_side="left")
    if lg.num_states == 0:
        raise UserError("no sentence of the language model can be pronounced",
                        hint="check that the lexicon has the words of the language model")
    _determinize(lg)
    arrays, spread = push_special(merge_states(FstArrays.of(lg)))
    if not np.isfinite(arrays.weight).all():
        raise UserError("weights of L_disambig.fst or G.fst are too large to be costs of probabilities",
                        hint="make them again with local/prepare_lang.sh and local/prepare_lm.sh")
    del lg  # graphs are deleted as early as possible to save memory
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
    """Determinize in place, in the log semiring, in which the probabilities of equal paths are added.

    Raises:
        UserError: determinization exceeds the maximum number of states.
    """
    try:
        kaldifst.determinize_star(fst, max_states=_MIN_STATES + _GROWTH * fst.num_states, use_log=True)
    except RuntimeError:  # raised when max_states is exceeded
        raise UserError("the graph of lexicon and language model cannot be determinized",
                        hint="prepare the lang folder again: the pronunciations of homophones must end in "
                             "disambiguation symbols #1, #2 …") from None


def _single_phones(lg: FstArrays, disambig: list[int]) -> list[list[int]]:
    """The context windows for monophones, where C is the identity: the window of a phone is the phone itself."""
    windows: list[list[int]] = [[] for _ in range(int(lg.ilabel.max(initial=0)) + 1)]
    for phone in np.unique(lg.ilabel[lg.ilabel > 0]).tolist():
        windows[phone] = [-phone] if phone in disambig else [phone]
    return windows
