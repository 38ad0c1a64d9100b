"""Open a share by its name, look into it without copying anything, then keep a copy in sync with it.

python examples/follow.py copy.db hub.db "Field notes"
"""

from __future__ import annotations

import asyncio
import sys

import peerpouch


async def main(file: str, hub_at: str, name: str) -> None:
    async with peerpouch.open(file) as copy, peerpouch.Hub(hub_at) as hub:
        shares = await hub.get_shared_databases()
        share = next(each for each in shares if each.name == name)
        async with share.open(info={"who": "an example"}) as remote:
            async for row in remote.all_docs(limit=3, include_docs=True):
                print(f"there: {row['doc']}", flush=True)

            async for progress in peerpouch.sync(copy, remote, live=True):
                print(f"{progress.state}: {progress.docs_written} documents", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("ended")
