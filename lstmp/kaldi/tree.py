"""Reads and writes Kaldi's ``tree`` file (ContextDependency) as a :class:`~lstmp.gmm.tree.Tree`.

Kaldi's tree is an event map, which maps events to pdfs. An event has the phones of the window (keys from 0) and the
pdf-class (key −1). An event map is a constant (``CE pdf``), a table with a map or ``NULL`` for each value of a key
(``TE key size ( … )``), or a question with a sorted vector as yes-set (``SE key [ … ] { yes no }``).
"""

from dataclasses import dataclass

from lstmp import config
from lstmp.errors import UserError
from lstmp.gmm.tree import PDF_CLASS, Node, Tree
from lstmp.kaldi.stream import KaldiReader, integers_text

_MAX_DEPTH = 300  # levels of nested maps; real trees have depths below 100


@dataclass(eq=False)
class _Table:
    """A ``TE`` map; ``entries`` has a map or None for each value of the key."""

    key: int
    entries: list


def read_tree(path, num_states: dict[int, int]) -> tuple[Tree, int]:
    """Read a tree, text or binary.

    Args:
        num_states: phone → number of its HMM states in the topology; determines the (phone, pdf-class) pairs of the
            roots.

    Returns:
        The tree, and the number of pdfs in the file (one more than the largest pdf-id).

    Raises:
        UserError: the file is missing, cut off or not a tree, or has no pdf for a phone and pdf-class.
    """
    reader = KaldiReader(path)
    reader.token("ContextDependency")
    width, central = reader.integer(), reader.integer()
    if not 0 <= central < width <= 20:
        raise reader.error(f"context width {width} with central position {central}")
    if reader.token("ToLength", "ToPdf") == "ToLength":  # in trees from before 2011
        _read_map(reader, width)
        reader.token("ToPdf")
    pdfs: list[int] = []
    whole = _read_map(reader, width, pdfs)
    reader.token("EndContextDependency")
    if not pdfs:
        raise reader.error("the tree has no leaves")
    converted: dict[int, Node] = {}
    roots = {}
    for phone, count in sorted(num_states.items()):
        for pdf_class in range(count):
            known = {central: phone, PDF_CLASS: pdf_class}
            root = _below(whole, known)
            if root is None:
                raise reader.error(f"the tree has no pdf for phone {phone}, pdf-class {pdf_class}",
                                   hint="give the tree that belongs to final.mdl")
            roots[phone, pdf_class] = _to_node(root, converted, reader)
    return Tree(width, central, roots), max(pdfs) + 1


def _read_map(reader: KaldiReader, width: int, pdfs: list[int] | None = None, depth: int = 0):
    """Read a map as Node or _Table, or None for NULL; the pdf-ids of its leaves are appended to ``pdfs``."""
    if depth > _MAX_DEPTH:
        raise reader.error(f"more than {_MAX_DEPTH} nested questions at byte {reader.position}")
    map_type = reader.token("CE", "SE", "TE", "NULL")
    if map_type == "NULL":
        return None
    if map_type == "CE":
        pdf = reader.integer()
        if pdf < 0:
            raise reader.error(f"negative pdf {pdf} before byte {reader.position}")
        if pdfs is not None:
            pdfs.append(pdf)
        return Node(pdf=pdf)
    key = reader.integer()
    if not PDF_CLASS <= key < width:
        raise reader.error(f"a question about position {key} of a window of {width} phones")
    if map_type == "TE":
        size = reader.count()
        reader.token("(")
        entries = [_read_map(reader, width, pdfs, depth + 1) for _ in range(size)]
        reader.token(")")
        return _Table(key, entries)
    yes = frozenset(reader.integers())
    reader.token("{")
    then, otherwise = (_read_map(reader, width, pdfs, depth + 1) for _ in range(2))
    reader.token("}")
    if then is None or otherwise is None:
        raise reader.error(f"a question without an answer before byte {reader.position}")
    return Node(key=key, yes=yes, then=then, otherwise=otherwise)


def _below(node, known: dict[int, int]):
    """Follow the answers to keys in ``known`` from ``node`` down to the first map with another key, leaf or None."""
    while node is not None:
        if isinstance(node, _Table) and node.key in known:
            value = known[node.key]
            node = node.entries[value] if value < len(node.entries) else None
        elif isinstance(node, Node) and node.then is not None and node.key in known:
            node = node.then if known[node.key] in node.yes else node.otherwise
        else:
            return node
    return None


def _to_node(node, converted: dict[int, Node], reader: KaldiReader) -> Node:
    """Convert tables to chains of questions. Each map is converted only once, so that shared roots stay shared."""
    if id(node) in converted:
        return converted[id(node)]
    if isinstance(node, _Table):
        entries = [(value, entry) for value, entry in enumerate(node.entries) if entry is not None]
        if not 0 < len(entries) <= _MAX_DEPTH:
            raise reader.error(f"a table of {len(entries)} entries below a question")
        # Kaldi has no pdf for a value outside the table; here such a value gets the last entry
        result = _to_node(entries[-1][1], converted, reader)
        for value, entry in reversed(entries[:-1]):
            then = _to_node(entry, converted, reader)
            result = Node(key=node.key, yes=frozenset({value}), then=then, otherwise=result)
    elif node.then is None:
        result = node
    else:
        result = Node(key=node.key, yes=node.yes, then=_to_node(node.then, converted, reader),
                      otherwise=_to_node(node.otherwise, converted, reader))
    converted[id(node)] = result
    return result


def write_tree(path, tree: Tree):
    """Write ``tree`` in Kaldi's text form.

    Each root is written once. Questions about the central phone lead to its group, a table to the root of a pdf-class.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for phone in sorted({p for p, _ in tree.roots}):
        roots = [id(tree.roots[p, c]) for p, c in sorted(tree.roots) if p == phone]
        groups.setdefault((roots[0],) if len(set(roots)) == 1 else tuple(roots), []).append(phone)
    for phone in {p for p, _ in tree.roots}:
        classes = sorted(c for p, c in tree.roots if p == phone)
        if classes != list(range(len(classes))):
            raise UserError(f"phone {phone} has the pdf-classes {classes}, which Kaldi's format does not support",
                            file=path, hint="train the model again")
    whole = _phones_text(list(groups.values()), tree)
    config.write_text(path, f"ContextDependency {tree.context_width} {tree.central_position} ToPdf {whole}"
                            "EndContextDependency \n")


def _phones_text(groups: list[list[int]], tree: Tree) -> str:
    if len(groups) > 1:
        half = len(groups) // 2
        return _question_text(tree.central_position, sorted(p for g in groups[:half] for p in g),
                              _phones_text(groups[:half], tree), _phones_text(groups[half:], tree))
    phone = groups[0][0]
    classes = [tree.roots[key] for key in sorted(tree.roots) if key[0] == phone]
    if all(root is classes[0] for root in classes):
        return _node_text(classes[0])
    return f"TE {PDF_CLASS} {len(classes)} ( {''.join(map(_node_text, classes))}) \n"


def _node_text(node: Node) -> str:
    if node.then is None:
        return f"CE {node.pdf} "
    return _question_text(node.key, sorted(node.yes), _node_text(node.then), _node_text(node.otherwise))


def _question_text(key: int, yes: list[int], then: str, otherwise: str) -> str:
    return f"SE {key} {integers_text(yes)}{{ {then}{otherwise}}} \n"
