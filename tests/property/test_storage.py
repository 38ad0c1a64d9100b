"""Listings and feeds with random options against a naive evaluation over a plain list; replicas that converge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.ports import RevisionRequest, Written
from peerpouch.storage import Storage, listing

IDS = ["", "A", "a", "a/b", "aa", "b", "c", "é", "☃", "𝄞"]
KEYS = st.sampled_from(IDS)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Naive:
    """A list of leaves per document, and the documents in the order of their last change."""

    leaves: dict[str, dict[tuple[int, str], bool]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def write(self, doc_id: str, path: list[tuple[int, str]], deleted: bool) -> None:
        known = self.leaves.setdefault(doc_id, {})
        for ancestor in path[1:]:
            known.pop(ancestor, None)
        known[path[0]] = deleted
        if doc_id in self.order:
            self.order.remove(doc_id)
        self.order.append(doc_id)

    def ranked(self, doc_id: str) -> list[tuple[bool, int, str]]:
        return sorted(((not deleted, *rev) for rev, deleted in self.leaves[doc_id].items()), reverse=True)

    def winner(self, doc_id: str) -> tuple[bool, str]:
        """Whether it is alive, and its revision."""
        alive, generation, item = self.ranked(doc_id)[0]
        return alive, f"{generation}-{item}"


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, list[tuple[int, str]], bool]]:
    """Writes with their history: each extends one of the document's revisions, or begins a new line."""
    paths: dict[str, list[list[tuple[int, str]]]] = {}
    found = []
    for n in range(draw(st.integers(0, 25))):
        doc_id = draw(st.sampled_from(IDS[1:]))
        base = draw(st.sampled_from([[], *paths.get(doc_id, [])]))
        path = [(len(base) + 1, f"{draw(st.integers(0, 9))}{n}"), *base]
        paths.setdefault(doc_id, []).append(path)
        found.append((doc_id, path, draw(st.integers(0, 3)) == 0))
    return found


async def write(database: Storage, naive: Naive, items: list[tuple[str, list[tuple[int, str]], bool]]) -> None:
    docs = []
    for doc_id, path, deleted in items:
        naive.write(doc_id, path, deleted)
        doc: dict[str, Any] = {"_id": doc_id, "_rev": f"{path[0][0]}-{path[0][1]}", "hash": path[0][1]}
        doc["_revisions"] = {"start": path[0][0], "ids": [item for _, item in path]}
        docs.append(doc | ({"_deleted": True} if deleted else {}))
    assert all(isinstance(item, Written) for item in await database.bulk_docs(docs, new_edits=False))


LIST_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "startkey": KEYS,
        "endkey": KEYS,
        "inclusive_end": st.booleans(),
        "descending": st.booleans(),
        "skip": st.integers(0, 5),
        "limit": st.integers(0, 8),
        "include_docs": st.booleans(),
    },
)


def naive_listing(naive: Naive, options: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(doc_id, naive.winner(doc_id)[1]) for doc_id in sorted(naive.leaves) if naive.winner(doc_id)[0]]
    low, high = options.get("startkey"), options.get("endkey")
    inclusive = options.get("inclusive_end", True)
    if options.get("descending"):
        rows.reverse()
        rows = [row for row in rows if low is None or row[0] <= low]
        rows = [row for row in rows if high is None or row[0] > high or (inclusive and row[0] == high)]
    else:
        rows = [row for row in rows if low is None or row[0] >= low]
        rows = [row for row in rows if high is None or row[0] < high or (inclusive and row[0] == high)]
    rows = rows[options.get("skip", 0) :]
    return rows[: options["limit"]] if "limit" in options else rows


@QUICK
@given(edits(), st.lists(LIST_OPTIONS, min_size=1, max_size=6), st.lists(KEYS, max_size=8), st.integers(1, 4))
def test_a_listing_equals_a_naive_one(
    items: list[tuple[str, list[tuple[int, str]], bool]], queries: list[dict[str, Any]], keys: list[str], page: int
) -> None:
    async def run() -> None:
        naive = Naive()
        async with await Storage.open(":memory:") as database:
            await write(database, naive, items)
            for options in queries:
                rows = (await database.all_docs(**options))["rows"]
                assert [(row["id"], row["value"]["rev"]) for row in rows] == naive_listing(naive, options)
                if options.get("include_docs"):
                    assert all(row["doc"] and row["doc"]["_rev"] == row["value"]["rev"] for row in rows)
            for row, key in zip((await database.all_docs(keys=keys))["rows"], keys, strict=True):
                if key not in naive.leaves:
                    assert row == {"key": key, "error": "not_found"}
                else:
                    alive, rev = naive.winner(key)
                    assert row == {"id": key, "key": key, "value": {"rev": rev} | ({} if alive else {"deleted": True})}
            assert await database.check() == []

    before, listing.PAGE_ROWS = listing.PAGE_ROWS, page
    try:
        asyncio.run(run())
    finally:
        listing.PAGE_ROWS = before


FEED_OPTIONS = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 5)},
    optional={
        "limit": st.integers(0, 8),
        "descending": st.booleans(),
        "style": st.sampled_from(["main_only", "all_docs"]),
        "include_docs": st.booleans(),
        "doc_ids": st.lists(KEYS, max_size=5),
        "filter": st.just(lambda doc: doc["hash"][0] in "02468"),
        "selector": st.just({"hash": {"$gt": "3"}}),
    },
)


def naive_feed(naive: Naive, since: int, options: dict[str, Any]) -> list[tuple[str, list[str], bool]]:
    found = []
    for doc_id in naive.order[since:]:
        alive, rev = naive.winner(doc_id)
        item = rev.split("-")[1]
        if "doc_ids" in options and doc_id not in options["doc_ids"]:
            continue
        if ("filter" in options and item[0] not in "02468") or ("selector" in options and not item > "3"):
            continue
        leaves = [f"{generation}-{item}" for _, generation, item in naive.ranked(doc_id)]
        found.append((doc_id, leaves if options.get("style") == "all_docs" else leaves[:1], not alive))
    if options.get("descending"):
        found.reverse()
    return found[: max(1, options["limit"])] if "limit" in options else found


@QUICK
@given(edits(), st.lists(FEED_OPTIONS, min_size=1, max_size=6), st.data())
def test_a_feed_equals_a_naive_one(
    items: list[tuple[str, list[tuple[int, str]], bool]], queries: list[dict[str, Any]], data: st.DataObject
) -> None:
    async def run() -> None:
        naive = Naive()
        async with await Storage.open(":memory:") as database:
            rest = list(items)
            while rest:
                # One batch up to the next id that it has already: of several revisions of one document in a batch
                # the first is written with the others, the next after them.
                ids = [item[0] for item in rest]
                size = next((n for n in range(1, len(ids)) if ids[n] in ids[:n]), len(ids))
                await write(database, naive, rest[:size])
                del rest[:size]
            everything = (await database.changes())["results"]
            assert [change["id"] for change in everything] == naive.order
            for options in queries:
                since = data.draw(st.integers(0, len(everything)))
                start = everything[since - 1]["seq"] if since else "0"
                result = await database.changes(since=start, **options)
                found = [
                    (change["id"], [item["rev"] for item in change["changes"]], change.get("deleted", False))
                    for change in result["results"]
                ]
                assert found == naive_feed(naive, since, options)
                if not options.get("descending"):
                    behind = (await database.changes(since=result["last_seq"]))["results"]
                    assert result["pending"] == len(behind)
                    pages = [page async for page in database.changes(since=start, **options).pages()]
                    assert [change for page in pages for change in page.results] == result["results"]

    asyncio.run(run())


async def replicate(source: Storage, target: Storage, since: str) -> str:
    """Replication in a few lines."""
    feed = await source.changes(since=since, style="all_docs")
    asked = {change["id"]: [item["rev"] for item in change["changes"]] for change in feed["results"]}
    missing = await target.revs_diff(asked)
    requests = [RevisionRequest(doc_id, rev) for doc_id, diff in missing.items() for rev in diff["missing"]]
    found = [item.doc async for item in source.bulk_get(requests, revs=True, attachments="bytes") if item.doc]
    results = await target.bulk_docs(found, new_edits=False)
    assert all(isinstance(item, Written) for item in results)
    return feed["last_seq"]


async def state(database: Storage) -> dict[str, Any]:
    found = {}
    for change in (await database.changes())["results"]:
        leaves = await database.open_revs(change["id"], with_revisions=True, attachments="bytes")
        found[change["id"]] = (change["changes"], [leaf.doc for leaf in leaves])
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("delete"), st.integers(0, 2), st.sampled_from("abc")),
        st.tuples(st.just("replicate"), st.integers(0, 2), st.integers(0, 2)),
    ),
    max_size=30,
)


@QUICK
@given(STEPS)
def test_replicas_converge_after_any_edits_and_replications(steps: list[Any]) -> None:
    async def run() -> None:
        replicas = [await Storage.open(":memory:") for _ in range(3)]
        since: dict[tuple[int, int], str] = {}
        for step in steps:
            if step[0] == "replicate":
                _, source, target = step
                if source != target:
                    known = since.get((source, target), "0")
                    since[source, target] = await replicate(replicas[source], replicas[target], known)
                continue
            database, doc_id = replicas[step[1]], step[2]
            (row,) = (await database.all_docs(keys=[doc_id]))["rows"]
            current = row.get("value", {})
            rev = {"_rev": current["rev"]} if current and not current.get("deleted") else {}
            if step[0] == "delete":
                if rev:
                    await database.remove(doc_id, rev["_rev"])
            else:
                attachments = {"_attachments": {"f": {"data": b"%d" % step[3]}}} if step[4] else {}
                await database.put({"_id": doc_id, "n": step[3], **rev, **attachments})
        for _ in range(2):
            for source in range(3):
                for target in range(3):
                    if source != target:
                        await replicate(replicas[source], replicas[target], since.get((source, target), "0"))
        first, *others = [await state(replica) for replica in replicas]
        for replica in replicas:
            assert await replica.check() == []
            await replica.close()
        assert all(other == first for other in others)

    asyncio.run(run())
