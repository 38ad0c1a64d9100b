"""A process that pushes a database file to a share until all is there, for tests that kill it:
``python -m tests.faults.pusher FILE HUB SEED``. It says how many bytes went over its last connection."""

from __future__ import annotations

import asyncio
import sys

import peerpouch
from tests.node.support import eventually


async def main(file: str, hub: str, seed: str) -> None:
    identity = peerpouch.Identity.ephemeral(bytes.fromhex(seed))
    contacts = peerpouch.Contacts(memory=True)
    async with (
        peerpouch.open(file, durability="normal") as local,
        peerpouch.Hub(hub, identity=identity, contacts=contacts, ice_servers=[]) as meeting,
    ):
        shares = await eventually(meeting.get_shared_databases)
        async with await shares[0].open() as remote:
            progress = await peerpouch.replicate(local, remote, retry=True)
            stats = await remote.stats()
            assert progress.ok and stats is not None
            print(stats.sent, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
