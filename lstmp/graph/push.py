"""Weight pushing that gives all states the same total weight, as Kaldi's ``fstpushspecial``.

A back-off language model as an FST is not stochastic: the probabilities of the arcs out of some states sum to more than
1, because words with an n-gram arc can also be reached through the back-off arc. Ordinary pushing in the log semiring
then diverges. Instead, this finds potentials v with (M v)_s = λ v_s for a single λ. The matrix M has the sum of the arc
probabilities from state to state, and final states lead back to the start; v is the Perron vector of M. Pushing helps
beam search, because costs are incurred where paths diverge. The cost of each complete path does not change.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays

TOLERANCE, MAX_ROUNDS = 0.01, 300


def push_special(fst: FstArrays) -> tuple[FstArrays, float]:
    """Push weights so that the logarithms of the total weights of all states agree to within ``TOLERANCE``.

    Args:
        fst: connected.

    Returns:
        the FST with new weights, and the largest remaining difference between these logarithms.
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
        v = total + 0.1 * np.exp(np.median(ratio)) * v  # adding a part of v makes periodic graphs converge too
        v /= v[fst.start]
    potential = -np.log(v / v[fst.start])
    weight = fst.weight + potential[fst.dst] - potential[fst.src]
    return FstArrays(fst.start, (fst.final - potential).astype(np.float32), fst.src, fst.ilabel, fst.olabel,
                     weight.astype(np.float32), fst.dst), spread
