"""Kaldi's ``tree`` file (its ContextDependency), read into a :class:`~lstmp.gmm.tree.Tree` and written from one.

Kaldi's tree is one map from events to pdfs. An event gives the phones of the window (keys from 0) and the pdf-class
(key −1). A map is a constant (``CE pdf``), a table with a map for each value of a key, ``NULL`` where there is none
(``TE key size ( … )``), or a question, whose yes-set is a sorted vector (``SE key [ … ] { yes no }``).
"""

from dataclasses import dataclass

from lstmp import config
from lstmp.errors import UserError
from lstmp.gmm.tree import PDF_CLASS, Node, Tree
from lstmp.kaldi.stream import KaldiReader, integers_text

_DEEPEST = 300  # nested maps; a real tree has some tens


@dataclass(eq=False)
class _Table:
    """A ``TE`` map: value of the key → map, or None."""

    key: int
    entries: list


def read_tree(path, num_states: dict[int, int]) -> tuple[Tree, int]:
    """Read a tree, text or binary.

    Args:
        num_states: phone → number of its HMM states, from the topology: the (phone, pdf-class) pairs to make roots for.

    Returns:
        The tree, and the number of pdfs of the whole file (one more than the largest).

    Raises:
        UserError: no such file, not a tree, cut off, or without an entry for a phone and pdf-class.
    """
    reader = KaldiReader(path)
    reader.token("ContextDependency")
    width, central = reader.integer(), reader.integer()
    if not 0 <= central < width <= 20:
        raise reader.fault(f"context width {width} with central position {central}")
    if reader.token("ToLength", "ToPdf") == "ToLength":  # in trees of before 2011
        _read_map(reader, width)
        reader.token("ToPdf")
    pdfs: list[int] = []
    whole = _read_map(reader, width, pdfs)
    reader.token("EndContextDependency")
    if not pdfs:
        raise reader.fault("the tree has no leaves")
    made: dict[int, Node] = {}
    roots = {}
    for phone, count in sorted(num_states.items()):
        for pdf_class in range(count):
            known = {central: phone, PDF_CLASS: pdf_class}
            root = _below(whole, known)
            if root is None:
                raise reader.fault(f"the tree has no pdf for phone {phone}, pdf-class {pdf_class}",
                                   hint="give the tree that belongs to final.mdl")
            roots[phone, pdf_class] = _to_node(root, made, reader)
    return Tree(width, central, roots), max(pdfs) + 1


def _read_map(reader: KaldiReader, width: int, pdfs: list[int] | None = None, depth: int = 0):
    """A map as Node or _Table, None for NULL; ``pdfs`` collects its answers."""
    if depth > _DEEPEST:
        raise reader.fault(f"more than {_DEEPEST} nested questions at byte {reader.at}")
    kind = reader.token("CE", "SE", "TE", "NULL")
    if kind == "NULL":
        return None
    if kind == "CE":
        pdf = reader.integer()
        if pdf < 0:
            raise reader.fault(f"negative pdf {pdf} before byte {reader.at}")
        if pdfs is not None:
            pdfs.append(pdf)
        return Node(pdf=pdf)
    key = reader.integer()
    if not PDF_CLASS <= key < width:
        raise reader.fault(f"a question about position {key} of a window of {width} phones")
    if kind == "TE":
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
        raise reader.fault(f"a question without an answer before byte {reader.at}")
    return Node(key=key, yes=yes, then=then, otherwise=otherwise)


def _below(node, known: dict[int, int]):
    """The first map below ``node`` that asks what ``known`` does not answer; None where there is none."""
    while node is not None:
        if isinstance(node, _Table) and node.key in known:
            value = known[node.key]
            node = node.entries[value] if value < len(node.entries) else None
        elif isinstance(node, Node) and node.then is not None and node.key in known:
            node = node.then if known[node.key] in node.yes else node.otherwise
        else:
            return node
    return None


def _to_node(node, made: dict[int, Node], reader: KaldiReader) -> Node:
    """``node`` with its tables as chains of questions. Each map is converted once, so that shared roots stay shared."""
    if id(node) in made:
        return made[id(node)]
    if isinstance(node, _Table):
        entries = [(value, entry) for value, entry in enumerate(node.entries) if entry is not None]
        if not 0 < len(entries) <= _DEEPEST:
            raise reader.fault(f"a table of {len(entries)} entries below a question")
        # Kaldi has no answer for a value outside the table; here it gets that of the last
        result = _to_node(entries[-1][1], made, reader)
        for value, entry in reversed(entries[:-1]):
            result = Node(key=node.key, yes=frozenset({value}), then=_to_node(entry, made, reader), otherwise=result)
    elif node.then is None:
        result = node
    else:
        result = Node(key=node.key, yes=node.yes, then=_to_node(node.then, made, reader),
                      otherwise=_to_node(node.otherwise, made, reader))
    made[id(node)] = result
    return result


def write_tree(path, tree: Tree):
    """Write ``tree`` as Kaldi's text form, each root once: questions find the group of phones, tables the pdf-class."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for phone in sorted({p for p, _ in tree.roots}):
        roots = [id(tree.roots[p, c]) for p, c in sorted(tree.roots) if p == phone]
        groups.setdefault((roots[0],) if len(set(roots)) == 1 else tuple(roots), []).append(phone)
    for phone in {p for p, _ in tree.roots}:
        classes = sorted(c for p, c in tree.roots if p == phone)
        if classes != list(range(len(classes))):
            raise UserError(f"phone {phone} has the pdf-classes {classes}, which Kaldi has no table for", file=path,
                            hint="train the model again")
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
