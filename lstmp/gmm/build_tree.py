"""Grow the phonetic decision tree: data-driven questions, splits by likelihood, and merging of similar leaves.

The likelihood of a set of frames is its likelihood under the maximum-likelihood diagonal Gaussian. The next split is
always the one with the largest gain over all leaves (Young, Odell, Woodland 1994: "Tree-based state tying"). The
yes-set of a split is then refined by moving single phones to the side whose Gaussian fits them better.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from lstmp.config import check
from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError
from lstmp.gmm.tree import PDF_CLASS, Node, Tree
from lstmp.gmm.tree_stats import VARIANCE_FLOOR, TreeStats, by_value, log_likelihood

_TIE = 1e-6  # gains that differ by less than this log-likelihood per frame count as equal
_COLUMN = {PDF_CLASS: 3, 0: 0, 1: 1, 2: 2}  # key of a question → column of TreeStats.events


@dataclass(frozen=True)
class TreeConfig:
    """How large the tree grows.

    Attributes:
        max_leaves: maximum number of leaves before merging.
        min_gain: minimum gain in log-likelihood of a split.
        merge: whether leaves of one root are merged if that loses less than the last split gained.
        refine_iters: rounds of moving phones between the sides of a split.
        question_pdf_class: the HMM state whose statistics cluster the phones into questions.
    """

    max_leaves: int
    min_gain: float
    merge: bool
    refine_iters: int
    question_pdf_class: int

    def __post_init__(self):
        check(self.max_leaves > 0, "max_leaves", "greater than 0")
        check(self.min_gain >= 0, "min_gain", "0 or more")


@dataclass
class _Leaf:
    node: Node
    root: int
    rows: np.ndarray  # indices of its events in TreeStats
    keys: tuple[int, ...]  # keys of the questions that may split it


class _Grower:
    def __init__(self, stats: TreeStats, questions: list[frozenset[int]], cfg: TreeConfig):
        self.stats, self.cfg = stats, cfg
        size = int(stats.events.max()) + 1
        table = np.zeros((len(questions), size))
        for q, question in enumerate(questions):
            table[q, [p for p in question if p < size]] = 1.0
        self.phone_table = table
        classes = int(stats.events[:, 3].max()) + 1
        self.class_table = np.tril(np.ones((classes, classes)))[:-1]

    def best_split(self, leaf: _Leaf):
        """Return (gain, key, yes-set) of the best question for a leaf, or None if no question splits it."""
        moments, best = self.stats.moments[leaf.rows], None
        total = moments.sum(0)
        unsplit = log_likelihood(total)
        for key in leaf.keys:
            values, sums = by_value(moments, self.stats.events[leaf.rows, _COLUMN[key]])
            if len(values) < 2:
                continue
            table = (self.class_table if key == PDF_CLASS else self.phone_table)[:, values]
            yes = table @ sums
            no = total - yes
            gain = log_likelihood(yes) + log_likelihood(no) - unsplit
            gain[(yes[:, 0] < 0.5) | (no[:, 0] < 0.5)] = -np.inf
            # Several questions can split the data in the same way: take the first, not the one that rounding favours.
            q = int(np.argmax(gain >= gain.max() - _TIE * total[0]))
            if not np.isfinite(gain[q]):
                continue
            side, value = table[q] > 0, gain[q]
            if key != PDF_CLASS:
                side, value = self._refine(side, sums, total, value, unsplit)
            if best is None or value > best[0] + _TIE * total[0]:
                best = (float(value), key, frozenset(values[side].tolist()))
        return best

    def _refine(self, side, sums, total, gain, unsplit):
        """Move each phone to the side whose Gaussian gives it the higher likelihood, as long as the gain increases."""
        for _ in range(self.cfg.refine_iters):
            yes = sums[side].sum(0)
            fit = _fit_of(sums, np.stack([total - yes, yes]))
            moved = fit[1] > fit[0]
            if moved.all() or not moved.any() or (moved == side).all():
                break
            yes = sums[moved].sum(0)
            new_gain = log_likelihood(yes) + log_likelihood(total - yes) - unsplit
            if new_gain <= gain:
                break
            side, gain = moved, new_gain
        return side, gain


def _fit_of(items: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Log-likelihood [M, V] of each item's data under each model's Gaussian.

    ``items`` [V, 1 + 2D] and ``models`` [M, 1 + 2D] are moments as in :class:`TreeStats`.
    """
    dim = (items.shape[1] - 1) // 2
    n = np.maximum(models[:, :1], 1e-10)
    mean = models[:, 1:1 + dim] / n
    variance = np.maximum(models[:, 1 + dim:] / n - mean * mean, VARIANCE_FLOOR)
    constant = -0.5 * (np.log(2 * np.pi * variance) + mean * mean / variance).sum(1)
    return (constant[:, None] * items[:, 0] + (mean / variance) @ items[:, 1:1 + dim].T
            - (0.5 / variance) @ items[:, 1 + dim:].T)


def cluster_questions(stats: TreeStats, sets: list[list[int]], pdf_class: int) -> list[frozenset[int]]:
    """Make questions from data: split the phone sets recursively in two, by k-means on their Gaussians.

    Every set of phones that arises in the recursion is a question.
    """
    rows = stats.events[:, 3] == pdf_class
    events, moments = stats.events[rows], stats.moments[rows]
    groups = []
    for phones in sets:
        in_set = np.isin(events[:, 1], phones)
        if in_set.any():
            groups.append((frozenset(phones), moments[in_set].sum(0)))
    out, todo = [frozenset(phones) for phones in sets], [list(range(len(groups)))]
    while todo:
        members = todo.pop()
        if len(members) < 2:
            continue
        items = np.stack([groups[m][1] for m in members])
        dim = (items.shape[1] - 1) // 2
        mean = items[:, 1:1 + dim] / items[:, :1]
        center = np.average(mean, axis=0, weights=items[:, 0])
        _, _, axes = np.linalg.svd((mean - center) * np.sqrt(items[:, :1]), full_matrices=False)
        side = (mean - center) @ axes[0] > 0
        for _ in range(20):
            if side.all() or not side.any():
                break
            fit = _fit_of(items, np.stack([items[~side].sum(0), items[side].sum(0)]))
            new = fit[1] > fit[0]
            if (new == side).all() or new.all() or not new.any():
                break
            side = new
        for which in (True, False):
            part = [m for m, s in zip(members, side, strict=True) if s == which]
            if part and len(part) < len(members):
                out.append(frozenset().union(*(groups[m][0] for m in part)))
                todo.append(part)
    return sorted(set(out), key=sorted)


def build(stats: TreeStats, lang: Lang, cfg: TreeConfig, topology: Topology | None = None,
          left_biphone: bool = False) -> tuple[Tree, np.ndarray]:
    """Grow a tree of triphones, or of left biphones, which asks only about the phone and the one before it.

    ``topology`` is that of the lang folder by default; the pdf-classes of ``stats`` must be its own.

    Returns:
        The tree, and the moments [num_pdfs, 1 + 2D] of the frames of each pdf.

    Raises:
        UserError: ``max_leaves`` is smaller than the number of roots.
    """
    topology = topology or lang.topology
    pdf_class = 0 if topology.has_one_state else 1 if topology.is_chain else cfg.question_pdf_class
    questions = cluster_questions(stats, lang.sets, pdf_class)
    questions = sorted(set(questions) | {frozenset(q) for q in lang.extra_questions}, key=sorted)
    grower = _Grower(stats, questions, cfg)
    roots: dict[tuple[int, int], Node] = {}
    leaves: list[_Leaf] = []
    for shared, split, phones in lang.roots:
        classes = range(topology.num_states(phones[0]))
        for group in [list(classes)] if shared else [[c] for c in classes]:
            node, number = Node(), len(leaves)
            roots.update({(p, c): node for p in phones for c in group})
            rows = np.flatnonzero(np.isin(stats.events[:, 1], phones) & np.isin(stats.events[:, 3], group))
            keys = () if not split else (PDF_CLASS, 0, 1) if left_biphone else (PDF_CLASS, 0, 1, 2)
            leaves.append(_Leaf(node, number, rows, keys))
    if len(leaves) > cfg.max_leaves:
        raise UserError(f"`max_leaves` is {cfg.max_leaves}, but the tree has {len(leaves)} roots",
                        hint="raise max_leaves")
    leaves, last_gain = _split_leaves(grower, leaves, cfg)
    moments = _number_leaves(stats, leaves, last_gain if cfg.merge else 0.0)
    return Tree(2 if left_biphone else 3, 1, roots), moments


def _split_leaves(grower: _Grower, leaves: list[_Leaf], cfg: TreeConfig) -> tuple[list[_Leaf], float]:
    queue: list[tuple] = []
    done: list[_Leaf] = []
    order, gain = 0, 0.0

    def consider(leaf):
        nonlocal order
        split = grower.best_split(leaf) if leaf.keys and len(leaf.rows) else None
        if split is None or split[0] <= cfg.min_gain:
            done.append(leaf)
        else:
            heapq.heappush(queue, (-split[0], order, leaf, split))
            order += 1

    for leaf in leaves:
        consider(leaf)
    while queue and len(queue) + len(done) < cfg.max_leaves:
        _, _, leaf, (gain, key, yes) = heapq.heappop(queue)
        answer = np.isin(grower.stats.events[leaf.rows, _COLUMN[key]], list(yes))
        node = leaf.node
        node.key, node.yes, node.then, node.otherwise = key, yes, Node(), Node()
        consider(_Leaf(node.then, leaf.root, leaf.rows[answer], leaf.keys))
        consider(_Leaf(node.otherwise, leaf.root, leaf.rows[~answer], leaf.keys))
    return done + [item[2] for item in queue], gain


def _number_leaves(stats: TreeStats, leaves: list[_Leaf], threshold: float) -> np.ndarray:
    """Assign pdf-ids to the leaves. Leaves of one root share a pdf if merging them loses less than ``threshold``."""
    out: list[np.ndarray] = []
    leaves = sorted(leaves, key=lambda leaf: leaf.root)  # stable: the leaves of a root stay in the order of growing
    for root in sorted({leaf.root for leaf in leaves}):
        of_root = [leaf for leaf in leaves if leaf.root == root]
        clusters = [[leaf] for leaf in of_root]
        sums = [stats.moments[leaf.rows].sum(0) for leaf in of_root]
        while len(clusters) > 1 and threshold > 0:
            table = np.stack(sums)
            separate = log_likelihood(table)
            loss = separate[:, None] + separate[None, :] - log_likelihood(table[:, None] + table[None, :])
            loss[np.tril_indices(len(table))] = np.inf
            a, b = np.unravel_index(int(np.argmin(loss)), loss.shape)
            if loss[a, b] >= threshold:
                break
            clusters[a] += clusters.pop(b)
            sums[a] = sums[a] + sums.pop(b)
        for cluster, total in zip(clusters, sums, strict=True):
            for leaf in cluster:
                leaf.node.pdf = len(out)
            out.append(total)
    return np.stack(out)
