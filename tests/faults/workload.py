"""A mixed workload that keeps account of what was acknowledged, and the comparison with what is there afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peerpouch.errors import NotFound
from peerpouch.ports import Written
from peerpouch.storage import Storage
from tests.contract.test_attachments import pattern, stream


@dataclass
class Account:
    """Per document the versions that were begun and acknowledged, with the moments of both."""

    begun: dict[str, dict[int, int]] = field(default_factory=dict)
    acknowledged: dict[str, dict[int, int]] = field(default_factory=dict)

    def begin(self, doc_id: str, version: int, moment: int) -> None:
        self.begun.setdefault(doc_id, {})[version] = moment

    def acknowledge(self, doc_id: str, version: int, moment: int) -> None:
        self.acknowledged.setdefault(doc_id, {})[version] = moment


def content_of(doc_id: str, version: int, size: int) -> bytes:
    """The attachment that this version of a document has."""
    return f"{doc_id} {version} ".encode() + pattern(size)


def body_of(doc_id: str, version: int) -> dict[str, Any]:
    return {"version": version, "text": f"{doc_id} {version} " * (version % 40 + 1)}


async def work(database: Storage, account: Account, now: Callable[[], int], seed: int, steps: int) -> None:
    """Write batches, updates, deletions, attachments; compact; several of them at once."""
    rng = random.Random(seed)
    revs: dict[str, str] = {}

    async def write(ids: list[str], version: int, attachment: int) -> None:
        docs: list[dict[str, Any]] = []
        for doc_id in ids:
            doc: dict[str, Any] = {"_id": doc_id, **body_of(doc_id, version)}
            if doc_id in revs:
                doc["_rev"] = revs[doc_id]
            if attachment:
                data = content_of(doc_id, version, attachment)
                doc["size"] = attachment
                doc["_attachments"] = {"f": {"data": stream(data) if attachment > 100_000 else data}}
            account.begin(doc_id, version, now())
            docs.append(doc)
        results = await database.bulk_docs(docs)
        for result in results:
            assert isinstance(result, Written), result
            revs[result.id] = result.rev
            account.acknowledge(result.id, version, now())

    for step in range(1, steps + 1):
        lane = [f"{seed}-{rng.randrange(40):02}" for _ in range(3)]
        jobs = [write(sorted(set(lane)), step, 0)]
        if step % 3 == 0:
            jobs.append(write([f"{seed}-new-{step}-{n}" for n in range(20)], step, 0))
        if step % 5 == 0:
            jobs.append(write([f"{seed}-att-{step % 2}"], step, 3000 * (step % 7)))
        if step % 11 == 0:
            jobs.append(write([f"{seed}-large-{step % 2}"], step, 1_300_000))
        if step % 13 == 0:
            jobs.append(database.compact())
        await asyncio.gather(*jobs)


async def losses(database: Storage, account: Account, moment: int) -> list[str]:
    """What an acknowledged write before this moment, or a half-written one, left wrong; nothing when all is well."""
    wrong = await database.check()
    for doc_id, begun in account.begun.items():
        newest = max((v for v, at in account.acknowledged.get(doc_id, {}).items() if at <= moment), default=0)
        possible = {version for version, at in begun.items() if at <= moment}
        try:
            doc = await database.get(doc_id, attachments="bytes")
        except NotFound:
            if newest:
                wrong.append(f"{doc_id} is gone; version {newest} was acknowledged.")
            continue
        version = doc["version"]
        if version < newest or version not in possible:
            wrong.append(f"{doc_id} is at version {version}; {newest} was acknowledged.")
        elif doc["text"] != body_of(doc_id, version)["text"]:
            wrong.append(f"{doc_id} has another version's text.")
        elif "size" in doc and doc["_attachments"]["f"]["data"] != content_of(doc_id, version, doc["size"]):
            wrong.append(f"{doc_id} has another version's attachment.")
    return wrong


async def losses_after(open_: Callable[[], Any], account: Account, moment: int) -> list[str]:
    """The same for a database that may not even open."""
    try:
        async with await open_() as database:
            found = await losses(database, account, moment)
            await database.put({"_id": "afterwards"})
            return found
    except Exception as error:  # whatever it is: a file that was written in full gives none
        return [f"It can't be used any more: {error!r}"]
