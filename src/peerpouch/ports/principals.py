"""On whose behalf a request runs, and the registry that opens databases for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from peerpouch.ports.queries import Database


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that opened the file: may do everything."""


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Somebody over HTTP who did not log in."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logged in over HTTP."""

    name: str
    roles: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        """Whether the role ``_admin`` is among the roles."""
        return "_admin" in self.roles


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody at the other end of a data channel, whose signature was verified.

    Attributes:
        key: The Ed25519 public key, 32 bytes.
        session: The session id of the peer's process; with the key it makes the peer's *address*.
    """

    key: bytes
    session: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """A stranger at a public hub, and what its request proved.

    Attributes:
        address: Where the request comes from, as far as the server knows.
        session: The id of a session that the visitor holds.
        reply_to: A reply tag whose secret the visitor knows.
    """

    address: str
    session: str | None = None
    reply_to: str | None = None


Principal = Owner | Anonymous | User | Peer | Visitor
"""On whose behalf a request runs. It travels in the ASGI scope under ``"peerpouch.principal"``."""

_acting: ContextVar[Principal | None] = ContextVar("peerpouch_acting", default=None)


@contextmanager
def acting_for(principal: Principal) -> Iterator[None]:
    """Say on whose behalf the calls within are made. Gates do, around every write and every feed.

    Functions of design documents are told; what somebody may do is never decided by it, but by the gate.
    """
    token = _acting.set(principal)
    try:
        yield
    finally:
        _acting.reset(token)


def acting_principal() -> Principal:
    """On whose behalf this call is made; without a gate, the owner's."""
    return _acting.get() or Owner()


def user_context(who: Principal, database: str) -> dict[str, Any]:
    """The ``userCtx`` that stored functions are given. A peer is nobody that the database knows by name."""
    match who:
        case Owner():
            return {"db": database, "name": None, "roles": ["_admin"]}
        case User(name=name, roles=roles):
            return {"db": database, "name": name or None, "roles": sorted(roles)}
        case Peer() | Anonymous() | Visitor():
            return {"db": database, "name": None, "roles": []}


class Registry(ABC):
    """Databases by name, already gated for who asks: no route can forget the gate."""

    @property
    @abstractmethod
    def uuid(self) -> str:
        """Identifies this server, stable over restarts: 32 hexadecimal digits."""

    @abstractmethod
    async def open(self, name: str, principal: Principal) -> Database:
        """The database as this principal may see it. The registry owns it: the caller does not close it.

        Raises:
            DatabaseNotFound: also when the principal may not know that it exists.
            Unauthorized, Forbidden
        """

    @abstractmethod
    async def names(self, principal: Principal) -> list[str]: ...

    @abstractmethod
    async def create(self, name: str, principal: Principal) -> None: ...

    @abstractmethod
    async def delete(self, name: str, principal: Principal) -> None: ...
