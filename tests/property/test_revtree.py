"""The revision tree against a model of a few lines, after any sequence of edits and merges."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core.revisions import Rev
from peerpouch.core.revtree import RevTree, extend_line, is_line, line_has

Path = list[Rev]


class Model:
    """A set of revisions and a set of edges."""

    def __init__(self) -> None:
        self.revs: set[Rev] = set()
        self.edges: set[tuple[Rev, Rev]] = set()
        self.deleted: set[Rev] = set()

    def merge(self, path: Path, deleted: bool) -> None:
        if deleted and path[0] not in self.revs:
            self.deleted.add(path[0])
        self.revs |= set(path)
        self.edges |= set(pairwise(path))

    def leaves(self) -> list[tuple[bool, Rev]]:
        inner = {parent for _, parent in self.edges}
        return sorted(((rev not in self.deleted, rev) for rev in self.revs - inner), reverse=True)

    def stem(self, limit: int) -> None:
        kept = frontier = {rev for _, rev in self.leaves()}
        # A revision is kept when fewer than `limit` edits lead from it to some leaf.
        for _ in range(limit - 1):
            frontier = {parent for child, parent in self.edges if child in frontier}
            kept = kept | frontier
        self.revs &= kept
        self.edges = {edge for edge in self.edges if edge[0] in kept and edge[1] in kept}


def leaves(tree: RevTree) -> list[tuple[bool, Rev]]:
    return [(leaf.alive, leaf.rev) for leaf in tree.leaves]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Path, bool]]:
    """Paths of one document, newest first: each extends a revision that exists, and is cut off somewhere."""
    full: dict[Rev, Path] = {}
    found: list[tuple[Path, bool]] = []
    dead: set[Rev] = set()
    for n in range(draw(st.integers(1, 12))):
        parents = [rev for rev in full if rev not in dead]
        base = draw(st.sampled_from([None, *parents]))
        path = list(full[base]) if base else []
        for _ in range(draw(st.integers(1, 4))):
            path.insert(0, (len(path) + 1, f"{draw(st.integers(0, 15)):x}{n}"))
            full[path[0]] = list(path)
        found.append((path, draw(st.booleans())))
        if found[-1][1]:
            dead.add(path[0])
    return found


def build(paths: list[tuple[Path, bool]]) -> RevTree:
    (first, deleted), *rest = paths
    tree = RevTree.load(first[0], deleted, ",".join(item for _, item in first[1:]) or None)
    for path, deleted in rest:
        tree.merge(path, deleted)
    return tree


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_merging_gives_the_same_tree_and_winner(
    paths: list[tuple[Path, bool]], rng: random.Random
) -> None:
    shuffled = rng.sample(paths, len(paths))
    tree = build(paths)
    # Whole paths name the ends of all others that they extend, so leaves and winner agree whatever came first.
    ends = {path[0]: deleted for path, deleted in paths}
    assert leaves(build(shuffled)) == leaves(tree)
    assert build(shuffled) == tree
    assert (
        tree.winner.rev == max((not ends[rev], rev) for rev in ends if all(rev not in path[1:] for path, _ in paths))[1]
    )


@given(histories(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_it_agrees_with_the_model(paths: list[tuple[Path, bool]], rng: random.Random, limit: int) -> None:
    # Some paths arrive stemmed: then trees may have several roots.
    cut = [(path[: rng.randint(1, len(path))], deleted) for path, deleted in paths]
    model = Model()
    for path, deleted in cut:
        model.merge(path, deleted)
    tree = build(cut)
    assert leaves(tree) == model.leaves()
    assert {rev for rev in model.revs if rev in tree} == model.revs
    assert len(tree) == len(model.revs)
    assert tree.conflicts == [rev for alive, rev in model.leaves()[1:] if alive]
    assert tree.deleted_conflicts == [rev for alive, rev in model.leaves()[1:] if not alive]
    tree.stem(limit)
    model.stem(limit)
    assert leaves(tree) == model.leaves()
    assert len(tree) == len(model.revs)
    assert all(rev in tree for rev in model.revs)


@given(histories(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_compact_form_is_the_tree(paths: list[tuple[Path, bool]], rng: random.Random, limit: int) -> None:
    tree = build([(path[: rng.randint(1, len(path))], deleted) for path, deleted in paths])
    tree.stem(limit)
    rev, deleted, ancestry = tree.dump()
    again = RevTree.load(rev, deleted, ancestry)
    assert again == tree
    assert again.dump() == (rev, deleted, ancestry)
    assert [again.path(leaf.rev) for leaf in again.leaves] == [tree.path(leaf.rev) for leaf in tree.leaves]


@given(histories())
def test_merging_again_changes_nothing(paths: list[tuple[Path, bool]]) -> None:
    tree = build(paths)
    before = tree.dump()
    for path, deleted in paths:
        assert not tree.merge(path, not deleted)
    assert tree.dump() == before


@given(st.integers(1, 40), st.integers(1, 12))
def test_a_line_is_extended_as_a_tree_would_be(length: int, limit: int) -> None:
    tree = RevTree.load((1, "1"), False, None)
    rev, ancestry = (1, "1"), None
    for generation in range(2, length + 1):
        new = (generation, f"{generation:x}")
        ancestry = extend_line(rev, ancestry, limit)
        tree.merge([new, rev], False)
        tree.stem(limit)
        rev = new
        assert tree.dump() == (rev, False, ancestry)
        assert is_line(ancestry)
        asked = [(g, f"{g:x}") for g in range(length + 2)] + [(max(1, generation - 1), "other"), (generation, "other")]
        assert [line_has(rev, ancestry, item) for item in asked] == [item in tree for item in asked]


@given(histories(), st.data())
def test_removed_leaves_leave_the_others_with_their_ancestors(
    paths: list[tuple[Path, bool]], data: st.DataObject
) -> None:
    tree = build(paths)
    gone = data.draw(st.sets(st.sampled_from([leaf.rev for leaf in tree.leaves])))
    kept = [(tree.path(leaf.rev), leaf.deleted) for leaf in tree.leaves if leaf.rev not in gone]
    assert set(tree.remove_leaves(gone)) == gone
    if kept:
        assert tree == build(kept)
    else:
        assert len(tree) == 0


@given(histories(), st.data())
def test_the_leaves_above_a_revision_descend_from_it(paths: list[tuple[Path, bool]], data: st.DataObject) -> None:
    tree = build(paths)
    rev = data.draw(st.sampled_from(sorted({rev for path, _ in paths for rev in path})))
    assert {leaf.rev for leaf in tree.leaves_above(rev)} == {
        leaf.rev for leaf in tree.leaves if rev in tree.path(leaf.rev)
    }
