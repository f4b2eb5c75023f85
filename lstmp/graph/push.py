"""Weight pushing that leaves every state with the same total, as Kaldi's ``fstpushspecial``.

A back-off language model as an FST is not stochastic: out of some states go more than a probability of 1, as the
back-off arc gives again what the n-gram arcs have given already. Ordinary pushing in the log semiring then diverges.
Instead, potentials v are found with (M v)_s = λ v_s for one λ, where M sums the probabilities of the arcs from state
to state and leads final states back to the start: the Perron vector of M. Beam search gains from it, because costs
come where choices are made; the cost of each whole path stays the same.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays

TOLERANCE, MAX_ROUNDS = 0.01, 300


def push_special(fst: FstArrays) -> tuple[FstArrays, float]:
    """Push weights so that the logs of all states' totals agree to within ``TOLERANCE``.

    Args:
        fst: connected.

    Returns:
        the FST with new weights, and the largest difference between the totals' logs that is left.
    """
    num_states = len(fst.final)
    prob, final = np.exp(-fst.weight.astype(np.float64)), np.exp(-fst.final.astype(np.float64))
    v = np.ones(num_states)
    for _ in range(MAX_ROUNDS):
        total = np.bincount(fst.src, prob * v[fst.dst], num_states) + final * v[fst.start]
        ratio = np.log(total / v)
        spread = float(ratio.max() - ratio.min())
        if spread < TOLERANCE:
            break
        v = total + 0.1 * np.exp(np.median(ratio)) * v  # a part of v itself, so that periodic graphs converge too
        v /= v[fst.start]
    potential = -np.log(v / v[fst.start])
    weight = fst.weight + potential[fst.dst] - potential[fst.src]
    return FstArrays(fst.start, (fst.final - potential).astype(np.float32), fst.src, fst.ilabel, fst.olabel,
                     weight.astype(np.float32), fst.dst), spread
