"""What a live feed brings along: kept for a while, given once, never in place of something else."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.ports import RevisionRequest
from peerpouch.remote.ahead import _KEPT, _ROW, Ahead
from tests.remote.support import Reply, database


def row(doc_id: str, *docs: Any) -> dict[str, Any]:
    return {"id": doc_id, "changes": [{"rev": "1-a"}], "ahead": list(docs)}


def doc(doc_id: str, rev: str = "1-a") -> dict[str, Any]:
    return {"_id": doc_id, "_rev": rev, "_revisions": {"start": 1, "ids": ["a"]}}


def test_a_revision_is_given_once_and_only_with_all_others_that_are_asked_for() -> None:
    ahead = Ahead()
    brought = row("a", doc("a"), doc("a", "1-b"))
    ahead.put(brought, 200)
    assert "ahead" not in brought
    first, second = RevisionRequest("a", "1-a"), RevisionRequest("a", "1-b")
    assert ahead.take([first, RevisionRequest("a", "1-c")]) is None
    assert ahead.take([first, first]) is None
    assert ahead.take([RevisionRequest("a")]) is None
    found = ahead.take([second, first])
    assert found is not None and [result.rev for result in found] == ["1-b", "1-a"]
    assert ahead.take([first]) is None


@pytest.mark.parametrize(
    "brought",
    [None, "text", {"_id": "a"}, [None], ["a"], [{}], [{"_id": "b", "_rev": "1-a"}], [{"_id": "a", "_rev": 1}]],
    ids=repr,
)
def test_what_is_no_document_of_its_row_is_dropped(brought: Any) -> None:
    ahead = Ahead()
    ahead.put({"id": "a", "ahead": brought}, 100)
    assert not ahead._docs


def test_it_keeps_the_newest_and_nothing_large() -> None:
    ahead = Ahead()
    for n in range(3 * _KEPT):
        ahead.put(row(f"{n}", doc(f"{n}")), 100)
        assert len(ahead._docs) <= _KEPT
    assert ahead.take([RevisionRequest(f"{3 * _KEPT - 1}", "1-a")])
    ahead.put(row("large", doc("large")), _ROW + 1)
    assert ahead.take([RevisionRequest("large", "1-a")]) is None


async def test_other_forms_of_a_revision_are_asked_for() -> None:
    remote, server = database(*[_missing()] * 3)
    others: list[dict[str, Any]] = [{}, {"revs": True, "latest": True}, {"revs": True, "attachments": True}]
    for options in others:
        remote._reader.ahead.put(row("a", doc("a")), 100)
        async for result in remote.bulk_get([RevisionRequest("a", "1-a")], **options):
            assert result.doc is None
    assert len(server.asked) == 3
    (found,) = [result async for result in remote.bulk_get([RevisionRequest("a", "1-a")], revs=True)]
    assert found.doc == doc("a")
    assert len(server.asked) == 3


def _missing() -> Reply:
    return Reply({"results": [{"id": "a", "docs": [{"error": {"id": "a", "rev": "1-a", "error": "not_found"}}]}]})
