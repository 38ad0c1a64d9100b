"""Share a database with everybody on a hub, and say who comes.

python examples/share.py notes.db hub.db "Field notes"
"""

from __future__ import annotations

import asyncio
import sys

import peerpouch


def greet(event: peerpouch.RemoteEvent) -> None:
    print(f"{event.peer.fingerprint} opens the database and says {event.info!r}", flush=True)


async def main(file: str, hub_at: str, name: str) -> None:
    async with peerpouch.open(file) as notes, peerpouch.Hub(hub_at) as hub:
        share = await hub.share_database(notes, name=name, on_remote=greet)
        print(f"shared as {share.dbname}", flush=True)

        async for change in notes.changes(since="now", live=True):
            print(f"{change['id']} is now {change['changes'][0]['rev']}", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("withdrawn")
