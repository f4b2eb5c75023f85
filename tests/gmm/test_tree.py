"""Decision trees: lookup, reachable pdfs, and their JSON file."""

import itertools

import numpy as np
import pytest
from helpers.random_hmms import random_lang, random_tree

from lstmp.errors import UserError
from lstmp.gmm.tree import PDF_CLASS, Node, Tree, monophone_tree


def by_hand():
    """Phones 1 and 2 share a root for both pdf-classes; phone 3 has a root without questions for each."""
    shared = Node(key=0, yes=frozenset({0, 3}), then=Node(pdf=0),
                  otherwise=Node(key=PDF_CLASS, yes=frozenset({0}), then=Node(pdf=1),
                                 otherwise=Node(key=2, yes=frozenset({1}), then=Node(pdf=2), otherwise=Node(pdf=3))))
    return Tree(3, 1, {(1, 0): shared, (1, 1): shared, (2, 0): shared, (2, 1): shared,
                       (3, 0): Node(pdf=4), (3, 1): Node(pdf=5)})


def test_pdfs_follow_the_answers_to_the_questions():
    tree = by_hand()
    assert tree.num_pdfs == 6 and len(tree.distinct_roots()) == 3
    assert [tree.pdf(w, c) for w, c in [((0, 1, 2), 0), ((3, 2, 1), 1), ((1, 1, 1), 0), ((1, 2, 1), 1),
                                        ((2, 1, 0), 1), ((2, 3, 1), 0), ((0, 3, 0), 1)]] == [0, 0, 1, 2, 3, 4, 5]
    assert tree.reachable_pdfs(1, 0) == [0, 1] and tree.reachable_pdfs(1, 1) == [0, 2, 3]
    assert tree.depends_on_context(2) and not tree.depends_on_context(3)
    with pytest.raises(UserError, match="phone 9 has no model for pdf-class 0; .*train"):
        tree.pdf((1, 9, 1), 0)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("width", [1, 3])
def test_reachable_pdfs_are_those_of_all_windows_and_a_saved_tree_is_read_back(tmp_path, seed, width):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    tree = random_tree(lang, rng, width, depth=4)
    tree.save(tmp_path / "tree.json")
    again = Tree.load(tmp_path / "tree.json")
    assert (again.num_pdfs, again.context_width, again.central_position) == (tree.num_pdfs, width, width // 2)
    assert len(again.distinct_roots()) == len(tree.distinct_roots())
    phones = [0, *lang.silence, *lang.nonsilence]
    for phone, state in tree.roots:
        windows = [w for w in itertools.product(phones, repeat=width) if w[width // 2] == phone]
        found = {tree.pdf(w, state) for w in windows}
        assert {again.pdf(w, state) for w in windows} == found
        assert all(again.pdf(w, state) == tree.pdf(w, state) for w in windows)
        # a question below another question with the same key can have an answer that never occurs
        assert found <= set(tree.reachable_pdfs(phone, state))
        if asks_each_key_once(tree.roots[phone, state]):
            assert found == set(tree.reachable_pdfs(phone, state))
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tree.json").read_bytes()


def asks_each_key_once(node, keys=()) -> bool:
    """Whether no path from the root has two questions about the same position of the window."""
    if node.then is None:
        return True
    if node.key >= 0 and node.key in keys:
        return False
    return all(asks_each_key_once(n, (*keys, node.key)) for n in (node.then, node.otherwise))


def test_monophones_have_one_pdf_per_group_and_state():
    lang = random_lang(np.random.default_rng(0), states=(3,), phones=3)
    tree = monophone_tree([[1], [2, 3], [4]], lang.topology)
    assert (tree.num_pdfs, tree.context_width, tree.central_position) == (11, 1, 0)
    assert [[tree.pdf((p,), c) for c in range(lang.topology.num_states(p))] for p in (1, 2, 3, 4)] == [
        [0, 1, 2, 3, 4], [5, 6, 7], [5, 6, 7], [8, 9, 10]]
    assert not any(tree.depends_on_context(p) for p in (1, 2, 3, 4))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"roots": []}', '{"context_width": 3, "central_position": 1, '
                                  '"roots": [{"for": [[1, 0]], "node": {"key": 0}}]}',
                                  '{"context_width": 3, "central_position": 1, "roots": [{"for": 7, "node": 0}]}'])
def test_a_damaged_file_is_an_error(tmp_path, text):
    (tmp_path / "tree.json").write_text(text)
    with pytest.raises(UserError, match="tree.json: not a decision tree, or cut off; delete it and train"):
        Tree.load(tmp_path / "tree.json")


def test_a_binary_file_and_a_missing_file_are_errors(tmp_path):
    (tmp_path / "tree.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a decision tree"):
        Tree.load(tmp_path / "tree.json")
    with pytest.raises(UserError, match="nowhere.json: no such tree; train"):
        Tree.load(tmp_path / "nowhere.json")
