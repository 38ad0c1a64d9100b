"""``_replicate``, ``_active_tasks`` and ``_scheduler``, over whatever runs replications.

They are for server administrators: a replication reaches whatever the server's machine reaches. Users may replicate
between databases of the server, with the rights that they have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from peerpouch.core.security import NOT_SERVER_ADMIN
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, json_response
from peerpouch.couchapi.routing import Access, Route
from peerpouch.errors import DatabaseNotFound, NotFound, Unauthorized
from peerpouch.ports import Owner, User


class Replications(Protocol):
    """What runs replications; all values are in CouchDB's form."""

    async def replicate(self, fields: Mapping[str, Any], user: str | None) -> tuple[int, dict[str, Any]]:
        """``_replicate`` of an administrator: the status and the answer."""

    async def replicate_for(self, fields: Mapping[str, Any], user: User) -> tuple[int, dict[str, Any]]:
        """``_replicate`` of somebody who is none, within the user's own rights: the status and the answer."""

    def active_tasks(self) -> list[dict[str, Any]]:
        """The rows of ``_active_tasks``."""

    def scheduler_jobs(self) -> list[dict[str, Any]]:
        """The rows of ``_scheduler/jobs``."""

    async def scheduler_docs(
        self, states: Collection[str] | None, skip: int, limit: int | None
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many rows ``_scheduler/docs`` has, of documents in these states, and some of them."""

    async def scheduler_doc(self, doc_id: str) -> dict[str, Any] | None:
        """The row of one document."""


def require_admin(request: Request) -> str | None:
    """The server administrator's name.

    Raises:
        Unauthorized: it is none.
    """
    principal = request.principal
    if isinstance(principal, User) and principal.is_admin:
        return principal.name or None
    if isinstance(principal, Owner):
        return None
    raise Unauthorized(NOT_SERVER_ADMIN)


class ReplicationRoutes:
    """The routes, to be added to the application's."""

    def __init__(self, replications: Replications) -> None:
        self._replications = replications

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes."""
        return (
            Route("POST", "/_replicate", self.replicate, Access.ADMIN, slow=True),
            Route("GET", "/_active_tasks", self.active_tasks, Access.ADMIN),
            Route("GET", "/_scheduler/jobs", self.jobs, Access.ADMIN),
            Route("GET", "/_scheduler/jobs/{id}", self.job, Access.ADMIN),
            Route("GET", "/_scheduler/docs", self.docs, Access.ADMIN),
            Route("GET", "/_scheduler/docs/{database}", self.docs, Access.ADMIN),
            Route("GET", "/_scheduler/docs/{database}/{doc}", self.doc, Access.ADMIN),
        )

    async def replicate(self, request: Request) -> Response:
        principal = request.principal
        user = principal if isinstance(principal, User) and principal.name and not principal.is_admin else None
        admin = None if user is not None else require_admin(request)
        request.require_json()
        body = await request.json_object()
        try:
            if user is not None:
                status, answer = await self._replications.replicate_for(body, user)
            else:
                status, answer = await self._replications.replicate(body, admin)
        except DatabaseNotFound as error:
            # The name that CouchDB's replicator has for it.
            return json_response({"error": "db_not_found", "reason": error.reason}, status=404)
        return json_response(answer, status=status)

    async def active_tasks(self, request: Request) -> Response:
        require_admin(request)
        return json_response(self._replications.active_tasks())

    async def jobs(self, request: Request) -> Response:
        require_admin(request)
        rows = self._replications.scheduler_jobs()
        skip, limit = _which(request)
        shown = rows[skip:] if limit is None else rows[skip : skip + limit]
        return json_response({"total_rows": len(rows), "offset": min(skip, len(rows)), "jobs": shown})

    async def job(self, request: Request) -> Response:
        require_admin(request)
        for row in self._replications.scheduler_jobs():
            if row["id"] == request.values["id"]:
                return json_response(row)
        raise NotFound("missing")

    async def docs(self, request: Request) -> Response:
        require_admin(request)
        states = request.params.text("states")
        skip, limit = _which(request)
        count, rows = 0, list[dict[str, Any]]()
        if request.values.get("database", "_replicator") == "_replicator":
            chosen = None if states is None else states.split(",")
            count, rows = await self._replications.scheduler_docs(chosen, skip, limit)
        return json_response({"total_rows": count, "offset": min(skip, count), "docs": rows})

    async def doc(self, request: Request) -> Response:
        require_admin(request)
        replicator = request.values["database"] == "_replicator"
        row = await self._replications.scheduler_doc(request.values["doc"]) if replicator else None
        if row is None:
            raise NotFound("missing")
        return json_response(row)


def _which(request: Request) -> tuple[int, int | None]:
    return request.params.integer("skip", 0) or 0, request.params.integer("limit", 25)
