"""A process that shares a database file, for tests that kill it: ``python -m tests.faults.sharer FILE HUB SEED``."""

from __future__ import annotations

import asyncio
import sys

import peerpouch


async def main(file: str, hub: str, seed: str) -> None:
    identity = peerpouch.Identity.ephemeral(bytes.fromhex(seed))
    contacts = peerpouch.Contacts(memory=True)
    async with (
        peerpouch.open(file, durability="normal") as database,
        peerpouch.Hub(hub, identity=identity, contacts=contacts, ice_servers=[]) as meeting,
    ):
        share = await meeting.share_database(database, name="share")
        print(share.id, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
