"""Grow the phonetic decision tree: questions from data, splits by likelihood, and merging of leaves that hardly differ.

The likelihood of a set of frames is that under the single diagonal Gaussian that fits them best. Always the split with
the largest gain is made next, over all leaves (Young, Odell, Woodland 1994: "Tree-based state tying"); the answer set
of a split is refined by moving single phones to the side that likes them better.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from lstmp.config import check
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.gmm.tree import PDF_CLASS, Node, Tree
from lstmp.gmm.tree_stats import VARIANCE_FLOOR, TreeStats, by_value, log_likelihood

_TIE = 1e-6  # log-likelihood per frame by which gains must differ to count as different
_COLUMN = {PDF_CLASS: 3, 0: 0, 1: 1, 2: 2}  # key of a question → column of TreeStats.events


@dataclass(frozen=True)
class TreeConfig:
    """How large the tree grows.

    Attributes:
        max_leaves: leaves before merging.
        min_gain: a split must gain this much log-likelihood.
        merge: whether leaves of one root are merged where that loses less than the last split gained.
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
    rows: np.ndarray  # its events
    keys: tuple[int, ...]  # what may be asked


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
        """(gain, key, yes set) of the best question to a leaf; None if no question divides it."""
        moments, best = self.stats.moments[leaf.rows], None
        total = moments.sum(0)
        whole = log_likelihood(total)
        for key in leaf.keys:
            values, sums = by_value(moments, self.stats.events[leaf.rows, _COLUMN[key]])
            if len(values) < 2:
                continue
            table = (self.class_table if key == PDF_CLASS else self.phone_table)[:, values]
            yes = table @ sums
            no = total - yes
            gain = log_likelihood(yes) + log_likelihood(no) - whole
            gain[(yes[:, 0] < 0.5) | (no[:, 0] < 0.5)] = -np.inf
            # Several questions can divide the data alike, and then rounding must not decide: the first of them.
            q = int(np.argmax(gain >= gain.max() - _TIE * total[0]))
            if not np.isfinite(gain[q]):
                continue
            side, value = table[q] > 0, gain[q]
            if key != PDF_CLASS:
                side, value = self._refine(side, sums, total, value, whole)
            if best is None or value > best[0] + _TIE * total[0]:
                best = (float(value), key, frozenset(values[side].tolist()))
        return best

    def _refine(self, side, sums, total, gain, whole):
        """Move each phone to the side whose Gaussian gives it the higher likelihood, while that gains."""
        for _ in range(self.cfg.refine_iters):
            yes = sums[side].sum(0)
            fit = _fit_of(sums, np.stack([total - yes, yes]))
            moved = fit[1] > fit[0]
            if moved.all() or not moved.any() or (moved == side).all():
                break
            yes = sums[moved].sum(0)
            new = log_likelihood(yes) + log_likelihood(total - yes) - whole
            if new <= gain:
                break
            side, gain = moved, new
        return side, gain


def _fit_of(items: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Log-likelihood [M, V] of each item's data [V, 1 + 2D] under the Gaussian of each model's [M, 1 + 2D]."""
    dim = (items.shape[1] - 1) // 2
    n = np.maximum(models[:, :1], 1e-10)
    mean = models[:, 1:1 + dim] / n
    variance = np.maximum(models[:, 1 + dim:] / n - mean * mean, VARIANCE_FLOOR)
    constant = -0.5 * (np.log(2 * np.pi * variance) + mean * mean / variance).sum(1)
    return (constant[:, None] * items[:, 0] + (mean / variance) @ items[:, 1:1 + dim].T
            - (0.5 / variance) @ items[:, 1 + dim:].T)


def cluster_questions(stats: TreeStats, sets: list[list[int]], pdf_class: int) -> list[frozenset[int]]:
    """Questions from data: the phone sets are divided in two, again and again, by k-means on their Gaussians.

    Every set of phones that comes about on the way is a question.
    """
    rows = stats.events[:, 3] == pdf_class
    events, moments = stats.events[rows], stats.moments[rows]
    groups = []
    for phones in sets:
        mine = np.isin(events[:, 1], phones)
        if mine.any():
            groups.append((frozenset(phones), moments[mine].sum(0)))
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
        for half in (True, False):
            part = [m for m, s in zip(members, side, strict=True) if s == half]
            if part and len(part) < len(members):
                out.append(frozenset().union(*(groups[m][0] for m in part)))
                todo.append(part)
    return sorted(set(out), key=sorted)


def build(stats: TreeStats, lang: Lang, cfg: TreeConfig) -> tuple[Tree, np.ndarray]:
    """Grow a triphone tree.

    Returns:
        The tree, and the moments [num_pdfs, 1 + 2D] of each pdf's frames.

    Raises:
        UserError: ``max_leaves`` is smaller than the number of roots.
    """
    questions = cluster_questions(stats, lang.sets, cfg.question_pdf_class)
    questions = sorted(set(questions) | {frozenset(q) for q in lang.extra_questions}, key=sorted)
    grower = _Grower(stats, questions, cfg)
    roots: dict[tuple[int, int], Node] = {}
    leaves: list[_Leaf] = []
    for shared, split, phones in lang.roots:
        classes = range(len(lang.topology.entries[phones[0]]))
        for group in [list(classes)] if shared else [[c] for c in classes]:
            node, number = Node(), len(leaves)
            roots.update({(p, c): node for p in phones for c in group})
            rows = np.flatnonzero(np.isin(stats.events[:, 1], phones) & np.isin(stats.events[:, 3], group))
            keys = (PDF_CLASS, 0, 1, 2) if split else ()
            leaves.append(_Leaf(node, number, rows, keys))
    if len(leaves) > cfg.max_leaves:
        raise UserError(f"`max_leaves` is {cfg.max_leaves}, but the tree has {len(leaves)} roots",
                        hint="raise max_leaves")
    leaves, last_gain = _split_leaves(grower, leaves, cfg)
    moments = _number_leaves(stats, leaves, last_gain if cfg.merge else 0.0)
    return Tree(3, 1, roots), moments


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
    """Give the leaves their pdf-ids, one for several leaves of a root where that loses less than ``threshold``."""
    out: list[np.ndarray] = []
    leaves = sorted(leaves, key=lambda leaf: leaf.root)  # stable: within a root in the order of growing
    for root in sorted({leaf.root for leaf in leaves}):
        mine = [leaf for leaf in leaves if leaf.root == root]
        clusters = [[leaf] for leaf in mine]
        sums = [stats.moments[leaf.rows].sum(0) for leaf in mine]
        while len(clusters) > 1 and threshold > 0:
            table = np.stack(sums)
            own = log_likelihood(table)
            loss = own[:, None] + own[None, :] - log_likelihood(table[:, None] + table[None, :])
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
