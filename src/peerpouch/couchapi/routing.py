"""The route table as a value, and the matching of a path against it.

Routes are declared, never decorated, so that a test can list every one of them and try it with every kind of
principal. A pattern is a path whose parts are literal, ``{name}`` for one part, or ``{name*}`` for all that remain.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, Stream
from peerpouch.errors import MethodNotAllowed, NotFound

Handler = Callable[[Request], Coroutine[Any, Any, Response | Stream]]


class Access(Enum):
    """What a route does, from the view of whoever grants rights. The gate decides; this is what it is tested by."""

    SERVER = "server"  # tells about the server, and nothing of any database
    READ = "read"
    WRITE = "write"
    CHECKPOINT = "checkpoint"  # writes a `_local` document, which a replicator that only reads does too
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one pattern.

    Attributes:
        slow: The answer may take long to compute, and is of no use once the client has gone: it is cancelled then.
    """

    method: str
    pattern: str
    handler: Handler
    access: Access
    slow: bool = False


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    variable: tuple[str, _Node] | None = None
    rest: tuple[str, _Node] | None = None
    methods: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds the route of a request.

    A literal part wins over a variable one. A path that follows literals into a place without routes is tried again
    as variables: ``/db/_design/d/_view`` is an attachment's name.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.pattern.split("/"):
            if not part:
                continue
            if part.endswith("*}"):
                if node.rest is None:
                    node.rest = (part[1:-2], _Node())
                node = node.rest[1]
            elif part.startswith("{"):
                if node.variable is None:
                    node.variable = (part[1:-1], _Node())
                node = node.variable[1]
            else:
                node = node.literals.setdefault(part, _Node())
        if route.method in node.methods:
            raise ValueError(f"The route {route.method} {route.pattern} is there twice.")
        node.methods[route.method] = route

    def match(self, request: Request) -> Route:
        """The route of a request; sets the request's variables.

        Raises:
            NotFound: no pattern matches.
            NotAllowed: a pattern matches, but not with this method.
        """
        values: list[tuple[str, str]] = []
        node = _find(self._root, request.segments, 0, values)
        if node is None:
            raise NotFound("missing")
        request.values = dict(values)
        method = "GET" if request.method == "HEAD" else request.method
        route = node.methods.get(method)
        if route is None:
            raise NotAllowed(node.methods)
        return route


class NotAllowed(MethodNotAllowed):
    """:class:`~peerpouch.errors.MethodNotAllowed` that knows the methods which are allowed."""

    def __init__(self, methods: Iterable[str]) -> None:
        allowed = {*methods}
        if "GET" in allowed:
            allowed.add("HEAD")
        self.allow = ",".join(sorted(allowed))
        super().__init__(f"Only {self.allow} allowed")


def _find(node: _Node, segments: Sequence[str], at: int, values: list[tuple[str, str]]) -> _Node | None:
    if at == len(segments):
        return node if node.methods else None
    literal = node.literals.get(segments[at])
    if literal is not None:
        found = _find(literal, segments, at + 1, values)
        if found is not None:
            return found
    known = len(values)
    if node.variable is not None:
        name, child = node.variable
        values.append((name, segments[at]))
        found = _find(child, segments, at + 1, values)
        if found is not None:
            return found
        del values[known:]
    if node.rest is not None:
        name, child = node.rest
        values.append((name, "/".join(segments[at:])))
        return child
    return None
