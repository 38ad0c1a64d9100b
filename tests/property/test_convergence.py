"""However replicas edit, delete, conflict, lose connections and replicate: in the end all hold the same."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.errors import Conflict, ConnectionFailed, NotFound
from peerpouch.ports import Database, Documents, ReplicationOptions
from peerpouch.replication import PipelinedReplicator, Tuning
from peerpouch.storage import open_storage

REPLICAS = 3
IDS = ["a", "b", "c", "d"]
replica = st.integers(0, REPLICAS - 1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), replica, st.sampled_from(IDS), st.integers(0, 3)),
        st.tuples(st.just("attach"), replica, st.sampled_from(IDS), st.sampled_from([0, 5, 70_000])),
        st.tuples(st.just("delete"), replica, st.sampled_from(IDS)),
        st.tuples(st.just("branch"), replica, st.sampled_from(IDS), st.integers(0, 3)),
        st.tuples(st.just("replicate"), replica, replica),
        st.tuples(st.just("cut"), replica, replica, st.integers(1, 12)),
        st.tuples(st.just("cancel"), replica, replica, st.integers(0, 60)),
    ),
    max_size=25,
)

_WATCHED = ("id", "get", "put", "bulk_docs", "read_plain", "write_plain", "revs_diff", "get_attachment")


class Cut:
    """A database to which the connection is lost after a number of calls."""

    def __init__(self, db: Documents, calls: int) -> None:
        self._db = db
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._db, name)
        if name not in _WATCHED:
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise ConnectionFailed
            return await method(*arguments, **options)

        return call


async def write(db: Documents, doc_id: str, **fields: Any) -> None:
    try:
        rev = {"_rev": (await db.get(doc_id))["_rev"]}
    except NotFound:
        rev = {}
    with suppress(Conflict):  # a live replication brought another one in between
        await db.put({"_id": doc_id, **rev, **fields})


async def branch(db: Documents, doc_id: str, number: int) -> None:
    """A conflict, as another replica's edit of a revision that is no leaf any more."""
    digest = f"{number:032x}"
    doc = {"_id": doc_id, "_rev": f"2-{digest}", "branch": number}
    await db.bulk_docs([{**doc, "_revisions": {"start": 2, "ids": [digest, "f" * 32]}}], new_edits=False)


async def replicate(source: Any, target: Any, batch_size: int = 2) -> None:
    replicator = PipelinedReplicator(tuning=Tuning(checkpoint_changes=2))
    await replicator.replicate(source, target, ReplicationOptions(batch_size=batch_size))


async def step(dbs: list[Database], action: tuple[Any, ...]) -> None:
    kind, one, *rest = action
    if kind == "edit":
        await write(dbs[one], rest[0], value=rest[1])
    elif kind == "attach":
        data = bytes([rest[1] % 251]) * rest[1]
        await write(dbs[one], rest[0], _attachments={"x": {"content_type": "text/plain", "data": data}})
    elif kind == "delete":
        with suppress(NotFound, Conflict):
            await dbs[one].remove(rest[0], (await dbs[one].get(rest[0]))["_rev"])
    elif kind == "branch":
        await branch(dbs[one], rest[0], rest[1])
    elif kind == "replicate":
        await replicate(dbs[one], dbs[rest[0]])
    elif kind == "cut":
        with suppress(ConnectionFailed):
            await replicate(Cut(dbs[one], rest[1]), Cut(dbs[rest[0]], rest[1]))
    elif kind == "cancel":
        running = PipelinedReplicator().replicate(dbs[one], dbs[rest[0]], ReplicationOptions(batch_size=2))
        for _ in range(rest[1]):
            await asyncio.sleep(0)
        await running.cancel()


async def state(db: Documents) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in (await db.changes(style="all_docs"))["results"]:
        leaves = await db.open_revs(row["id"], "all", with_revisions=True, attachments="bytes")
        for leaf in leaves:
            assert leaf.doc is not None
            for entry in leaf.doc.get("_attachments", {}).values():
                entry.pop("revpos", None)
        found[row["id"]] = sorted((leaf.doc for leaf in leaves if leaf.doc), key=lambda doc: str(doc["_rev"]))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_replicas_that_were_all_replicated_in_a_ring_hold_the_same(steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            dbs = [
                cast(Database, await stack.enter_async_context(await open_storage(":memory:"))) for _ in range(REPLICAS)
            ]
            for action in steps:
                await step(dbs, action)
            for _ in range(2):
                for number in range(REPLICAS):
                    await replicate(dbs[number], dbs[(number + 1) % REPLICAS])
            states = [await state(db) for db in dbs]
            assert states[0] == states[1] == states[2]
            winners = [[(await db.all_docs(include_docs=True))["rows"]] for db in dbs]
            assert winners[0] == winners[1] == winners[2]

    asyncio.run(run())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_live_syncs_between_all_replicas_settle_on_the_same(steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            dbs = [
                cast(Database, await stack.enter_async_context(await open_storage(":memory:"))) for _ in range(REPLICAS)
            ]
            live = ReplicationOptions(live=True)
            syncs = [PipelinedReplicator().sync(dbs[n], dbs[(n + 1) % REPLICAS], live) for n in range(REPLICAS)]
            for action in steps:
                if action[0] in ("edit", "attach", "delete", "branch"):
                    await step(dbs, action)
            async with asyncio.timeout(30):
                while True:
                    states = [await state(db) for db in dbs]
                    if states[0] == states[1] == states[2]:
                        break
                    await asyncio.sleep(0.002)
            await asyncio.gather(*(sync.cancel() for sync in syncs))
            assert all(sync.progress.ok for sync in syncs)

    asyncio.run(run())
