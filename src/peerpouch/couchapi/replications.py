"""``_replicate``, ``_active_tasks`` and ``_scheduler``, over whatever runs replications.

All of them are for server administrators: a replication reaches whatever the server's machine reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """``_replicate``: the status and the answer."""

    def active_tasks(self) -> list[dict[str, Any]]:
        """The rows of ``_active_tasks``."""

    def scheduler_jobs(self) -> list[dict[str, Any]]:
        """The rows of ``_scheduler/jobs``."""

    async def scheduler_docs(self) -> list[dict[str, Any]]:
        """The rows of ``_scheduler/docs``."""


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
        user = require_admin(request)
        request.require_json()
        body = await request.json_object()
        try:
            status, answer = await self._replications.replicate(body, user)
        except DatabaseNotFound as error:
            # The name that CouchDB's replicator has for it.
            return json_response({"error": "db_not_found", "reason": error.reason}, status=404)
        return json_response(answer, status=status)

    async def active_tasks(self, request: Request) -> Response:
        require_admin(request)
        return json_response(self._replications.active_tasks())

    async def jobs(self, request: Request) -> Response:
        require_admin(request)
        return _page(request, "jobs", self._replications.scheduler_jobs())

    async def job(self, request: Request) -> Response:
        require_admin(request)
        return json_response(_one(self._replications.scheduler_jobs(), "id", request.values["id"]))

    async def docs(self, request: Request) -> Response:
        require_admin(request)
        rows = await self._replications.scheduler_docs()
        if request.values.get("database", "_replicator") != "_replicator":
            rows = []
        states = request.params.text("states")
        if states is not None:
            rows = [row for row in rows if row["state"] in states.split(",")]
        return _page(request, "docs", rows)

    async def doc(self, request: Request) -> Response:
        require_admin(request)
        if request.values["database"] != "_replicator":
            raise NotFound("missing")
        return json_response(_one(await self._replications.scheduler_docs(), "doc_id", request.values["doc"]))


def _page(request: Request, name: str, rows: list[dict[str, Any]]) -> Response:
    skip, limit = request.params.integer("skip", 0) or 0, request.params.integer("limit", 25)
    shown = rows[skip:] if limit is None else rows[skip : skip + limit]
    return json_response({"total_rows": len(rows), "offset": min(skip, len(rows)), name: shown})


def _one(rows: list[dict[str, Any]], field: str, value: str) -> dict[str, Any]:
    for row in rows:
        if row[field] == value:
            return row
    raise NotFound("missing")
