"""Which share an argument means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from peerpouch.errors import BadRequest, ShareNotFound


class Listed(Protocol):
    """What is looked at to choose a share."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def dbname(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


AnyShare = TypeVar("AnyShare", bound=Listed)


def choose(shares: Iterable[AnyShare], wanted: str, hub: str) -> AnyShare:
    """The share that has this dbname, id or name.

    Raises:
        ShareNotFound: none has; the reason lists those that there are.
        BadRequest: several have the name; the reason lists their ids and owners.
    """
    listed = list(shares)
    for share in listed:
        if wanted in (share.dbname, share.id):
            return share
    named = [share for share in listed if share.name == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        candidates = "".join(f"\n  {share.id}  of {share.fingerprint}" for share in named)
        raise BadRequest(f"{len(named)} shares are called {wanted!r}; give the id of the one you mean:{candidates}")
    others = ", ".join(sorted({repr(share.name) for share in listed})) or "none"
    raise ShareNotFound(f"The hub {hub} has no share {wanted!r}. It has: {others}.")
