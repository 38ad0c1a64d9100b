"""What somebody may do with a database: a pure policy, asked by the gate in :mod:`peerpouch.access`.

Everything that can be done with a database is one :class:`Action`; an :class:`Access` says which of them are allowed,
and, for a write, which documents. Administration is never part of what a name such as ``"read-write"`` grants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum, auto
from typing import Any

from peerpouch.core import jsonio
from peerpouch.core.selector import compile_selector
from peerpouch.errors import BadRequest, Forbidden, InvalidDocument, InvalidSelector

LOCAL_PREFIX = "_local/"
DESIGN_PREFIX = "_design/"


class Action(Enum):
    """A kind of thing that is done with a database."""

    DESCRIBE = auto()
    """What tells of the database but not of its documents' content; whoever may read or write may do it."""
    READ = auto()
    QUERY = auto()
    """Mango queries and views, which cost the owner time beside what they tell."""
    WRITE = auto()
    OWN = auto()
    """What touches nothing but the visitor's own: its ``_local`` documents, and its handle on the database."""
    ADMIN = auto()


_REFUSALS = {
    Action.DESCRIBE: "This database is not shared with you.",
    Action.READ: "This database is not shared for reading.",
    Action.QUERY: "This database is not shared for queries; replicate it, and query the copy.",
    Action.WRITE: "This database is shared for reading only.",
    Action.OWN: "This database is not shared with you.",
    Action.ADMIN: "Only the owner of a database may administer it.",
}


Validate = Callable[[dict[str, Any], list[dict[str, Any]], Any], object]
"""``validate(new document, visible leaves, peer)``: raises Forbidden, or gives ``False``, to refuse a document."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do with a shared database.

    Attributes:
        read: Documents, attachments, changes and queries.
        write: Documents and attachments, but not design documents.
        admin: All the rest too: destroying, compacting, purging, design documents, indexes, ``_security``.
        select: A Mango selector of the documents that are shared. All others are as if they were not there, and
            what is written must match too.
        validate: Called for every document that is written, inside the write transaction, in another thread, with the
            new document, the leaves that it would join (those that the writer may see), and who writes. It refuses
            by raising :class:`~peerpouch.errors.Forbidden` or giving ``False``; any other exception refuses too. It
            must be quick, and must not use the database.
        peers: Who may come: public keys, fingerprints, whole keys as text, or names of contacts. ``None``: anybody.
        queries: Whether queries are answered; or the names of the stored views that may be asked (``"ddoc/view"``),
            and ``"_find"`` for Mango queries.

    Raises:
        InvalidSelector: ``select`` is malformed.
        BadRequest: administration can't be limited by a selector.
    """

    read: bool = True
    write: bool = True
    admin: bool = False
    _: KW_ONLY
    select: Mapping[str, Any] | None = None
    validate: Validate | None = None
    peers: Sequence[Any] | None = None
    queries: bool | Sequence[str] = True

    def __post_init__(self) -> None:
        if self.select is not None:
            object.__setattr__(self, "select", _checked(self.select))
            if self.admin:
                raise BadRequest("Who administers a database sees all of it: give either admin or select.")
        for name in ("peers", "queries"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise BadRequest(f"{name} of an Access is a list.")
            if value is not None and not isinstance(value, bool):
                object.__setattr__(self, name, tuple(value))

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
        if action is Action.QUERY:
            return self.read and self.queries is not False
        if action is Action.WRITE:
            return self.write
        return action is not Action.ADMIN and (self.read or self.write)

    def require(self, action: Action) -> None:
        """Raise Forbidden, with a reason for the visitor, if this kind of thing may not be done."""
        if not self.allows(action):
            raise Forbidden(_REFUSALS[action])

    def require_query(self, name: str) -> None:
        """Raise Forbidden if this stored view (``"ddoc/view"``), or ``"_find"``, may not be asked."""
        self.require(Action.QUERY)
        if (
            not self.admin
            and not isinstance(self.queries, bool)
            and name.removeprefix(DESIGN_PREFIX) not in self.queries
        ):
            raise Forbidden(_REFUSALS[Action.QUERY])

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
        value: dict[str, Any] = {"read": self.read, "write": self.write, "admin": self.admin}
        if self.select is not None:
            value["select"] = self.select
        if self.validate is not None:
            # All that can be told of a function across restarts is its name.
            kind = self.validate if hasattr(self.validate, "__qualname__") else type(self.validate)
            value["validate"] = f"{kind.__module__}.{kind.__qualname__}"
        return hashlib.sha256(b"peerpouch access 1\0" + jsonio.canonical(value)).hexdigest()[:32]


def _checked(select: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that nobody changes afterwards."""
    if not isinstance(select, Mapping):
        raise InvalidSelector("A selector is a mapping.")
    try:
        copy: dict[str, Any] = jsonio.loads(jsonio.canonical(dict(select)))
    except InvalidDocument as error:
        raise InvalidSelector(f"A selector is JSON: {error.reason}") from None
    compile_selector(copy)
    return copy


_NAMED = {"read-write": Access(), "read-only": Access(write=False)}
