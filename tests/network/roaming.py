"""A peer that reads while its machine moves: ``python -m tests.network.roaming FOLDER HUB``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from peerpouch.cli.processes import serve
from peerpouch.transports.webrtc.link import PeerLink
from tests.network.peer import FILE, NetworkPeer


class RoamingPeer(NetworkPeer):
    """Reads an attachment in one request, so that whatever loses the connection loses the reading."""

    def __init__(self, folder: Path, hub: str) -> None:
        super().__init__(folder, hub)
        self._read = 0

    async def read_on(self) -> dict[str, Any]:
        """Read it in place; gives the bytes, and whether the connection is the same before and after."""
        before = self._link()
        async for chunk in await self._opened().get_attachment(FILE, FILE):
            self._read += len(chunk)
        return {"bytes": self._read, "same": self._link() is before}

    async def so_far(self) -> int:
        """How much of it came."""
        return self._read

    async def get(self, doc_id: str) -> str:
        """Read a document in place; gives its id."""
        doc = await self._opened().get(doc_id)
        return str(doc["_id"])

    def _link(self) -> Any:
        connection = self._opened()._lease._connection
        return None if connection is None else connection.link


if __name__ == "__main__":
    if os.environ.get("PEERPOUCH_TEST_NO_RESTART"):
        PeerLink.can_restart = False  # type: ignore[assignment,method-assign]
    serve(RoamingPeer(Path(sys.argv[1]), sys.argv[2]))
