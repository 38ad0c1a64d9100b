"""The invites of one database, and the keys that were shut out of it: kept with the database, tokens as hashes.

They are a ``_local`` document, which is never replicated and which no visitor reaches::

    _local/peerpouch-invites  {"invites": [{"hash": …, "once": …, "expires": ms or null, "access": {…} or null,
                                            "key": … or null, "made": ms}, …],
                               "revoked": ["<whole key>", …]}
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from peerpouch.core.policy import Access
from peerpouch.errors import BadRequest, Conflict, Forbidden, NotFound
from peerpouch.identity.invites import TOKEN_SIZE
from peerpouch.identity.keys import PublicKey
from peerpouch.ports import Clock, Database, Document

DOC_ID: Final = "_local/peerpouch-invites"

MAX_INVITES: Final = 1000
"""Each is some 250 bytes of a document that is read at every opening."""

MAX_REVOKED: Final = 1000

_ATTEMPTS: Final = 8

_UNKNOWN: Final = "This invite is not valid any more: it was withdrawn, or has run out. Ask for another one."
_TAKEN: Final = "This invite was made for one person, and somebody else has used it already. Ask for another one."


class Invitations:
    """The invites of one database.

    Args:
        database: The owner's.
        clock: When invites run out.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def any(self) -> bool:
        """Whether there ever was an invite that was not taken back: then the database is for the invited."""
        return bool((await self._read()).get("invites"))

    async def add(self, *, once: bool, expires: float | None, access: Access | None) -> bytes:
        """Make a token.

        Args:
            once: Whether it is for the first key that uses it alone.
            expires: Seconds that it can be used for.
            access: What it gives; ``None`` for what the share gives.

        Raises:
            BadRequest: there are too many, or the access can't be kept.
        """
        if expires is not None and not expires > 0:
            raise BadRequest("An invite is valid for more than no time.")
        token = secrets.token_bytes(TOKEN_SIZE)
        now = round(1000 * self._clock.now())
        entry = {
            "hash": _hash(token),
            "once": once,
            "expires": None if expires is None else now + round(1000 * expires),
            "access": None if access is None else to_json(access),
            "key": None,
            "made": now,
        }

        def change(doc: Document) -> None:
            # One that ran out stays while there is room: the share must not open up to everybody when the last is gone.
            invites = doc.setdefault("invites", [])
            invites.append(entry)
            if len(invites) > MAX_INVITES:
                expired = [each for each in invites if _is_over(each, now)]
                if not expired:
                    raise BadRequest(f"There are {MAX_INVITES} invites already.")
                invites.remove(expired[0])

        await self._change(change)
        return token

    async def redeem(self, token: bytes, key: PublicKey) -> Access | None:
        """What a token gives to a key; ``None`` for what the share gives. A token for one binds itself to the key.

        Raises:
            Forbidden: it is unknown, has run out, or is bound to another key.
        """
        given: list[Access | None] = []

        def change(doc: Document) -> bool:
            given.clear()
            entry = _find(doc.get("invites") or [], token)
            if entry is None or _is_over(entry, round(1000 * self._clock.now())):
                raise Forbidden(_UNKNOWN)
            bound = entry.get("key")
            if bound is not None and bound != key.text:
                raise Forbidden(_TAKEN)
            given.append(None if entry.get("access") is None else from_json(entry["access"]))
            if not entry.get("once") or bound is not None:
                return False
            entry["key"] = key.text
            return True

        await self._change(change)
        return given[0]

    async def take_back(self, token: bytes) -> None:
        """Make a token useless. Raises NotFound if there is no such one."""

        def change(doc: Document) -> None:
            entry = _find(doc.get("invites") or [], token)
            if entry is None:
                raise NotFound("There is no such invite.")
            entry["expires"] = 0

        await self._change(change)

    async def is_revoked(self, key: PublicKey) -> bool:
        """Whether a key was shut out."""
        return key.text in ((await self._read()).get("revoked") or [])

    async def revoke(self, key: PublicKey, revoked: bool = True) -> None:
        """Shut a key out, or let it in again."""

        def change(doc: Document) -> None:
            keys = [text for text in doc.get("revoked") or [] if text != key.text]
            if revoked and len(keys) >= MAX_REVOKED:
                raise BadRequest(f"{MAX_REVOKED} keys are shut out already: share with named peers instead.")
            doc["revoked"] = [*keys, key.text] if revoked else keys

        await self._change(change)

    async def _read(self) -> Document:
        try:
            return await self._database.get(DOC_ID)
        except NotFound:
            return {"_id": DOC_ID}

    async def _change(self, change: Callable[[Document], bool | None]) -> None:
        for _ in range(_ATTEMPTS):
            doc = await self._read()
            if change(doc) is False:
                return
            try:
                await self._database.put(doc)
            except Conflict:
                continue
            return
        raise Conflict("The invites are being changed by others all the time.")


def _hash(token: bytes) -> str:
    # A token has 128 random bits, so its hash needs neither salt nor work.
    return hashlib.sha256(b"peerpouch token 1\0" + token).hexdigest()


def _find(invites: list[Any], token: bytes) -> dict[str, Any] | None:
    wanted = _hash(token)
    found: dict[str, Any] | None = None
    for entry in invites:
        # All are compared, each in constant time, so that the time tells nothing.
        if hmac.compare_digest(str(entry.get("hash")), wanted):
            found = entry
    return found


def _is_over(entry: Mapping[str, Any], now: int) -> bool:
    expires = entry.get("expires")
    return expires is not None and now >= expires


def to_json(access: Access) -> Document:
    """An access as it can be kept.

    Raises:
        BadRequest: it has a function, names peers, or gives administration, which no string of characters should.
    """
    if access.validate is not None or access.peers is not None:
        raise BadRequest("An invite's access has neither validate nor peers: give those to share_database.")
    if access.admin:
        raise BadRequest("An invite does not give administration: name the peers in access= of share_database.")
    queries = access.queries if isinstance(access.queries, bool) else list(access.queries)
    value: Document = {"read": access.read, "write": access.write, "queries": queries}
    if access.select is not None:
        value["select"] = dict(access.select)
    return value


def from_json(value: Document) -> Access:
    """The access that :func:`to_json` gave."""
    return Access(
        read=value["read"] is True,
        write=value["write"] is True,
        select=value.get("select"),
        queries=value.get("queries", True),
    )
