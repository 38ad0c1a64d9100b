"""What somebody may do with a database: a pure policy, asked by the gate in :mod:`peerpouch.access`.

Everything that can be done with a database is one :class:`Action`; an :class:`Access` says which of them are allowed,
and, for a write, which documents. Administration is never part of what a name such as ``"read-write"`` grants.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, Forbidden

LOCAL_PREFIX = "_local/"
DESIGN_PREFIX = "_design/"


class Action(Enum):
    """A kind of thing that is done with a database."""

    DESCRIBE = auto()
    """What tells of the database but not of its documents' content; whoever may read or write may do it."""
    READ = auto()
    WRITE = auto()
    OWN = auto()
    """What touches nothing but the visitor's own: its ``_local`` documents, and its handle on the database."""
    ADMIN = auto()


_REFUSALS = {
    Action.DESCRIBE: "This database is not shared with you.",
    Action.READ: "This database is not shared for reading.",
    Action.WRITE: "This database is shared for reading only.",
    Action.OWN: "This database is not shared with you.",
    Action.ADMIN: "Only the owner of a database may administer it.",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do with a shared database.

    Attributes:
        read: Documents, attachments, changes and queries.
        write: Documents and attachments, but not design documents.
        admin: All the rest too: destroying, compacting, purging, design documents, indexes, ``_security``.
    """

    read: bool = True
    write: bool = True
    admin: bool = False

    @classmethod
    def parse(cls, value: Access | str) -> Access:
        """``"read-write"``, ``"read-only"`` or an :class:`Access`.

        Raises:
            BadRequest: for anything else.
        """
        if isinstance(value, Access):
            return value
        named = _NAMED.get(value)
        if named is None:
            raise BadRequest(f"{value!r} is not an access: give one of {', '.join(map(repr, _NAMED))}, or an Access.")
        return named

    def allows(self, action: Action) -> bool:
        """Whether this kind of thing may be done at all."""
        if self.admin:
            return True
        if action is Action.READ:
            return self.read
        if action is Action.WRITE:
            return self.write
        return action is not Action.ADMIN and (self.read or self.write)

    def require(self, action: Action) -> None:
        """Raise Forbidden, with a reason for the visitor, if this kind of thing may not be done."""
        if not self.allows(action):
            raise Forbidden(_REFUSALS[action])

    def refusal(self, doc_id: object) -> Forbidden | None:
        """Why a document with this id may not be written, or ``None`` if it may. ``_local`` documents are not judged.

        An id that is missing or malformed is let through: the database itself says what is wrong with it.
        """
        if isinstance(doc_id, str) and doc_id.startswith(DESIGN_PREFIX) and not self.allows(Action.ADMIN):
            return Forbidden("Only the owner of a database may write design documents.")
        if not self.allows(Action.WRITE):
            return Forbidden(_REFUSALS[Action.WRITE])
        return None

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, equal for equal policies.

        What a visitor remembers of its replications is kept under it, so that a widened policy starts over: documents
        that were passed by under the old one are looked at again.
        """
        value = {"read": self.read, "write": self.write, "admin": self.admin}
        return hashlib.sha256(b"peerpouch access 1\0" + jsonio.dumps(value)).hexdigest()[:32]


_NAMED = {"read-write": Access(), "read-only": Access(write=False)}
