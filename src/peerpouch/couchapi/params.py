"""Parameters of a request: from its query string, where values are text, and from its JSON body.

CouchDB takes most options of a listing or a feed in either place. :class:`Params` reads both through the same typed
accessors, each of which raises :class:`~peerpouch.errors.InvalidQuery` for a value of the wrong kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidJSON, InvalidQuery

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def unquote(raw: bytes, *, plus: bool = True) -> str:
    """The text that a percent-encoded part of a URL stands for.

    Args:
        plus: Whether ``+`` is a space, as in a query and, by CouchDB's default, in a path.

    Raises:
        BadRequest: when an escape is incomplete, or the bytes are not UTF-8.
    """
    if plus and b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        if _BAD_PERCENT.search(raw):
            raise BadRequest("The URL has an incomplete percent-encoding.")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("The URL is not percent-encoded UTF-8.") from None


def parse_query(raw: bytes) -> dict[str, str]:
    """The parameters of a query string; of one given twice the last counts."""
    values: dict[str, str] = {}
    for pair in raw.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            values[unquote(name)] = unquote(value)
    return values


class Params:
    """Typed access to parameters.

    Args:
        query: Values as text.
        body: Values as JSON, which win over the query's.
    """

    __slots__ = ("_body", "_query")

    def __init__(self, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> None:
        self._query = query
        self._body = {} if body is None else body

    def __contains__(self, name: str) -> bool:
        return name in self._body or name in self._query

    def with_body(self, body: Mapping[str, Any]) -> Params:
        """The same query with the options of a body; what the query says comes first."""
        return Params(self._query, {name: value for name, value in body.items() if name not in self._query})

    def with_query(self, query: Mapping[str, Any]) -> Params:
        """One of several queries of a body; what it says comes first."""
        return Params(self._query, query)

    def raw_query(self) -> dict[str, str]:
        """The query's parameters as they are, which functions of design documents may read."""
        return dict(self._query)

    def text(self, name: str, default: str | None = None) -> str | None:
        if name in self._body:
            value = self._body[name]
            if not isinstance(value, str):
                raise InvalidQuery(f"Invalid value for string: {_show(value)} (parameter `{name}`).")
            return value
        return self._query.get(name, default)

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self._body.get(name, self._query.get(name))
        if value is None:
            return default
        if value is True or value == "true":
            return True
        if value is False or value == "false":
            return False
        raise InvalidQuery(f"Invalid boolean parameter: {_show(value)} (parameter `{name}`).")

    def integer(self, name: str, default: int | None = None, *, least: int = 0) -> int | None:
        value: Any = self._body.get(name, self._query.get(name))
        if value is None:
            return default
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidQuery(f"Invalid value for integer: {_show(value)} (parameter `{name}`).")
        if value < least:
            kind = "positive" if least > 0 else "non-negative"
            raise InvalidQuery(f"Invalid value for {kind} integer: {_show(value)} (parameter `{name}`).")
        return value

    def json(self, name: str, default: Any = None) -> Any:
        """A parameter that is JSON: decoded already in a body, encoded in a query."""
        if name in self._body:
            return self._body[name]
        if name not in self._query:
            return default
        try:
            return jsonio.loads(self._query[name])
        except InvalidJSON:
            raise InvalidQuery(f"Invalid JSON in parameter `{name}`.") from None

    def strings(self, name: str) -> list[str] | None:
        """A parameter that is a list of strings."""
        value = self.json(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidQuery(f"`{name}` parameter must be an array of strings.")
        return value


def _show(value: Any) -> str:
    return repr(value)[:80]
