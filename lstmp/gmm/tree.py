"""The phonetic decision tree: maps a phone in context and its HMM state to a pdf.

Each *root* belongs to a group of phones, and either to one pdf-class or, if the group shares its root, to all
pdf-classes. Below a root, a node asks whether the phone at one position of the window (or the pdf-class) is in a set.
Trees are grown in ``build_tree``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.errors import UserError

_MAX_WIDTH, _MAX_PDFS = 20, 1_000_000  # a file with a wider phone window or more pdfs is damaged
PDF_CLASS = -1  # the key of a question about the pdf-class; keys from 0 are positions of the phone window


@dataclass
class Node:
    """A question (``key``, ``yes`` set, two children) or, with ``pdf`` ≥ 0, a leaf."""

    pdf: int = -1
    key: int = 0
    yes: frozenset[int] = frozenset()
    then: "Node | None" = None
    otherwise: "Node" = None  # type: ignore[assignment]  # there, or not, with `then`, which is asked

    def leaves(self):
        """Yield all leaves below this node, left to right."""
        if self.then is None:
            yield self
        else:
            yield from self.then.leaves()
            yield from self.otherwise.leaves()


@dataclass
class Tree:
    """A decision tree, which is a forest of roots.

    Attributes:
        context_width: phones in the window (3 for triphones, 2 for left biphones, 1 for monophones).
        central_position: index of the phone itself in the window (1 of 3, 1 of 2, 0 of 1).
        roots: (phone, pdf_class) → root node; phones that share a root share the object.
    """

    context_width: int
    central_position: int
    roots: dict[tuple[int, int], Node]
    _cache: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def num_pdfs(self) -> int:
        return 1 + max(leaf.pdf for root in self.distinct_roots() for leaf in root.leaves())

    def window(self, left: int, phone: int, right: int) -> tuple[int, ...]:
        """The window of a phone between two neighbours: the part of them that the tree asks about.

        Raises:
            UserError: the tree asks about more than these neighbours.
        """
        before, after = self.central_position, self.context_width - 1 - self.central_position
        if before > 1 or after > 1:
            raise UserError(f"a tree of context width {self.context_width} and central position {before} is not "
                            "supported", hint="use monophones, left biphones or triphones")
        return (left, phone, right)[1 - before:2 + after]

    def distinct_roots(self) -> list[Node]:
        """The distinct root nodes, sorted by their first (phone, pdf_class)."""
        seen: dict[int, Node] = {}
        for key in sorted(self.roots):
            seen.setdefault(id(self.roots[key]), self.roots[key])
        return list(seen.values())

    def pdf(self, window: tuple[int, ...], pdf_class: int) -> int:
        """pdf-id of the central phone of a window; 0 in the window stands for a position outside the utterance.

        Raises:
            UserError: the tree has no root for this phone and pdf-class.
        """
        pdf = self._cache.get((window, pdf_class))
        if pdf is None:
            phone = window[self.central_position]
            node = self.roots.get((phone, pdf_class))
            if node is None:
                raise UserError(f"phone {phone} has no model for pdf-class {pdf_class}",
                                hint="the tree was built with another lexicon; train a model with this lexicon")
            while node.then is not None:
                value = pdf_class if node.key == PDF_CLASS else window[node.key]
                node = node.then if value in node.yes else node.otherwise
            pdf = self._cache[window, pdf_class] = node.pdf
        return pdf

    def pdfs(self, windows: np.ndarray, pdf_class: int) -> np.ndarray:
        """:meth:`pdf` of many windows with the same central phone: int [N, context width] → int64 [N]."""
        out = np.empty(len(windows), np.int64)
        root = self.roots[int(windows[0, self.central_position]), pdf_class] if len(windows) else None
        todo = [(root, np.arange(len(windows)))] if root else []
        while todo:
            node, rows = todo.pop()
            if node.then is None:
                out[rows] = node.pdf
                continue
            if node.key == PDF_CLASS:
                yes = np.full(len(rows), pdf_class in node.yes)
            else:
                yes = np.isin(windows[rows, node.key], list(node.yes))
            todo += [(node.then, rows[yes]), (node.otherwise, rows[~yes])]
        return out

    def reachable_pdfs(self, phone: int, pdf_class: int) -> list[int]:
        """All pdfs that this state of a phone can have in any context, sorted."""
        out, todo = set(), [self.roots[phone, pdf_class]]
        while todo:
            node = todo.pop()
            if node.then is None:
                out.add(node.pdf)
            elif node.key in (PDF_CLASS, self.central_position):
                value = pdf_class if node.key == PDF_CLASS else phone
                todo.append(node.then if value in node.yes else node.otherwise)
            else:
                todo += [node.then, node.otherwise]
        return sorted(out)

    def depends_on_context(self, phone: int) -> bool:
        """False if every state of the phone has the same pdf in all contexts, as for silence."""
        return any(len(self.reachable_pdfs(p, c)) > 1 for p, c in self.roots if p == phone)

    def save(self, path):
        """Write the tree as JSON."""
        config.write_text(path, self.to_json() + "\n")

    def to_json(self) -> str:
        """The tree as JSON: roots with their (phone, pdf_class) pairs, nodes as nested objects."""
        pairs: dict[int, list[list[int]]] = {}
        for key in sorted(self.roots):
            pairs.setdefault(id(self.roots[key]), []).append(list(key))
        roots = [{"for": pairs[id(root)], "node": _to_json(root)} for root in self.distinct_roots()]
        return json.dumps({"context_width": self.context_width, "central_position": self.central_position,
                           "roots": roots})

    @classmethod
    def from_json(cls, text: str) -> "Tree":
        """Parse the output of :meth:`to_json`.

        Raises:
            ValueError, OverflowError, KeyError, TypeError, RecursionError: ``text`` is not a tree.
        """
        data = config.json_value(text)
        width, central = data["context_width"], data["central_position"]
        if not 0 <= central < width <= _MAX_WIDTH:
            raise ValueError
        roots = {}
        for root in data["roots"]:
            node = _from_json(root["node"], width)
            roots.update({(int(phone), int(pdf_class)): node for phone, pdf_class in root["for"]})
        if not roots:
            raise ValueError
        return cls(width, central, roots)

    @classmethod
    def load(cls, path) -> "Tree":
        """Read a file written by :meth:`save`.

        Raises:
            UserError: the file is missing or not a tree.
        """
        path = Path(path)
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError("no such tree", file=path, hint="train the model of this folder") from None
        except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
            raise UserError("not a decision tree, or cut off", file=path,
                            hint="delete it and train the model again") from None


def monophone_tree(groups: list[list[int]], topology) -> Tree:
    """A tree without context: each group of phones (``Lang.sets``) has one pdf per pdf-class."""
    roots, pdf = {}, 0
    for group in groups:
        for pdf_class in range(len(topology.entries[group[0]])):
            leaf = Node(pdf=pdf)
            roots.update({(phone, pdf_class): leaf for phone in group})
            pdf += 1
    return Tree(1, 0, roots)


def _to_json(node: Node):
    if node.then is None:
        return node.pdf
    return {"key": node.key, "yes": sorted(node.yes), "then": _to_json(node.then),
            "otherwise": _to_json(node.otherwise)}


def _from_json(data, width: int) -> Node:
    if isinstance(data, int):
        if not 0 <= data < _MAX_PDFS:
            raise ValueError
        return Node(pdf=data)
    key, yes = data["key"], data["yes"]
    if not PDF_CLASS <= key < width or not all(isinstance(i, int) for i in (key, *yes)):
        raise ValueError
    return Node(-1, key, frozenset(yes), _from_json(data["then"], width), _from_json(data["otherwise"], width))
