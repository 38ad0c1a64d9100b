from __future__ import annotations

import pytest

from peerpouch.core.revtree import RevTree, extend_line
from peerpouch.errors import CorruptDatabase


def tree_of(*paths: list[tuple[int, str]]) -> RevTree:
    tree = RevTree()
    for path in paths:
        tree.merge(path, False)
    return tree


def test_a_new_document_has_no_ancestry() -> None:
    assert RevTree.load((1, "a"), False, None).dump() == ((1, "a"), False, None)


def test_the_winner_is_alive_then_longest_then_greatest() -> None:
    tree = tree_of([(1, "a")])
    tree.merge([(2, "b"), (1, "a")], False)
    tree.merge([(2, "c"), (1, "a")], False)
    assert tree.winner.rev == (2, "c")
    tree.merge([(3, "0"), (2, "b")], False)
    assert tree.winner.rev == (3, "0")
    tree.merge([(4, "z"), (3, "0")], True)
    assert tree.winner.rev == (2, "c")
    assert tree.deleted_conflicts == [(4, "z")]


def test_generations_compare_as_numbers() -> None:
    assert tree_of([(9, "z")], [(10, "a")]).winner.rev == (10, "a")


def test_a_revision_with_two_histories_is_one_leaf() -> None:
    paths = [[(3, "x"), (2, "a"), (1, "a")], [(3, "x"), (2, "b"), (1, "a")]]
    one, other = tree_of(*paths), tree_of(*reversed(paths))
    assert one == other
    assert [leaf.rev for leaf in one.leaves] == [(3, "x")]
    assert one.path((3, "x")) == [(3, "x"), (2, "b"), (1, "a")]
    rev, deleted, ancestry = one.dump()
    assert RevTree.load(rev, deleted, ancestry) == one


def test_possible_ancestors_are_leaves_of_lower_generation() -> None:
    tree = tree_of([(2, "a")], [(5, "b")])
    assert tree.possible_ancestors([(3, "x")]) == [(2, "a")]
    assert tree.possible_ancestors([(3, "x"), (9, "y")]) == [(5, "b"), (2, "a")]


def test_a_limit_of_one_keeps_no_ancestor() -> None:
    assert extend_line((5, "a"), "b,c", 1) is None
    tree = tree_of([(3, "c"), (2, "b"), (1, "a")])
    tree.stem(1)
    assert tree.dump() == ((3, "c"), False, None)


@pytest.mark.parametrize(
    "ancestry", ["[", "[]", "[[1]]", '[[1,false,"b"]]', '[["x",false,"a"]]', "[1]", '[[1,null,"a"]]', "[[1,false,7]]"]
)
def test_a_damaged_compact_form_is_noticed(ancestry: str) -> None:
    with pytest.raises(CorruptDatabase):
        RevTree.load((1, "a"), False, ancestry)
