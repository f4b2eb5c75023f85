"""The objectives of a lattice, with their derivatives by the scores of its arcs.

A path π has the score s(π), the sum of the scores of its arcs, and the probability P(π) ∝ exp s(π).
"""

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice_paths import state_means, state_scores


def log_sum(arcs: Array, scores: Array, native: bool = True) -> tuple[float, Array]:
    """log Σ exp s(π) over all paths, and its derivative by the arcs' scores: their posteriors, float64 [A].

    Args:
        arcs: int32 [A, 3], ordered as in :mod:`lstmp.decode.lattice_paths`.
        scores: [A].
        native: use the compiled forms if they are available.
    """
    forward, backward = state_scores(arcs, scores, True, native)
    return float(backward[0]), _posteriors(arcs, scores, forward, backward)


def expected_accuracy(arcs: Array, scores: Array, correct: Array, native: bool = True) -> tuple[float, Array]:
    """Σ P(π) A(π), where A is the sum of ``correct`` along a path, and its derivative by the arcs' scores.

    The derivative is the posterior of the arc times the difference between the mean accuracy of the paths through it
    and that of all paths (Povey 2003; Kingsbury 2009).

    Args:
        arcs, scores, native: as for :func:`log_sum`.
        correct: [A].
    """
    forward, backward = state_scores(arcs, scores, True, native)
    before, after = state_means(arcs, scores, correct, forward, backward, native)
    through = before[arcs[:, 0]] + correct + after[arcs[:, 1]]
    return float(after[0]), _posteriors(arcs, scores, forward, backward) * (through - after[0])


def _posteriors(arcs: Array, scores: Array, forward: Array, backward: Array) -> Array:
    posteriors: Array = np.exp(forward[arcs[:, 0]] + scores + backward[arcs[:, 1]] - backward[0])
    return posteriors
