"""What replication between two peers puts on the channel, in counts."""

from __future__ import annotations

from pathlib import Path

import peerpouch
from tests.node.support import people

MANY = 2000
TEXT = "x" * 200


async def test_a_replicated_document_costs_little_more_than_its_text_on_the_channel(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        shared, copy = await alice.database(), await bob.database()
        await shared.bulk_docs([{"_id": f"record-{n:06d}", "text": TEXT} for n in range(MANY)])
        await alice.hub.share_database(shared, name="records")
        async with await bob.open("records") as remote:
            before = await remote.stats()
            result = await peerpouch.replicate(remote, copy)
            after = await remote.stats()
    assert result.docs_written == MANY
    assert before is not None and after is not None
    # A row of changes, and the document with its id twice, its revision and its history.
    assert (after.received - before.received) / MANY <= len(TEXT) + 350
    # An id and a revision in the request for it.
    assert (after.sent - before.sent) / MANY <= 100
