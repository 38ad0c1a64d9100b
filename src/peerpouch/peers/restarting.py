"""ICE restart: another path for a connection whose path broke, so that nothing on it is lost.

The offer of a restart travels inside an ordinary offer, in the field ``restart``: whoever can't or won't restart
answers the ordinary one, and a new connection is made. ``docs/protocol/connections.md`` has the rules.
"""

from __future__ import annotations

import logging

from peerpouch.errors import InvalidSignal, PeerPouchError
from peerpouch.ports import Document, Link

_LOG = logging.getLogger("peerpouch.peers")


class Restart:
    """One attempt to restart a link, beside an offer for a new one."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def describe(self) -> Document:
        """What is added to the offer's body; nothing if the link can't be restarted any more."""
        try:
            return {"restart": await self.link.restart()}
        except PeerPouchError as error:
            _LOG.info("A connection could not be restarted: %s", error.reason)
            return {}

    async def taken(self, answer: Document) -> bool:
        """Whether the answer goes on with the link, which is restarted then.

        Raises:
            InvalidSignal: it pretends to, and is of another connection.
        """
        description = answer.get("restart")
        if description is None or self.link.closed:
            await self.link.take_back()
            return False
        if not isinstance(description, str):
            raise InvalidSignal("The answer's restart is malformed.")
        await self.link.restarted(description)
        return True


async def answered(link: Link, description: object) -> str | None:
    """The answer to another end's restart, or nothing where it is not of this link, or can't be done."""
    if not isinstance(description, str) or link.closed or not link.can_restart:
        return None
    try:
        return await link.answer_restart(description)
    except PeerPouchError as error:
        _LOG.info("A restart was not taken: %s", error.reason)
        return None
