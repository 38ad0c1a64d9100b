"""``/_node/…/_config`` and ``/_membership``, as far as clients need them: to see and set the administrators.

All else that CouchDB configures there is given when the server is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from peerpouch.couchapi.replications import require_admin
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, json_response
from peerpouch.couchapi.routing import Access, Route
from peerpouch.errors import BadRequest, Forbidden, NotFound

_NODE: Final = "nonode@nohost"
_NODES: Final = ("_local", _NODE)
_ADMINS: Final = "admins"


class Administrators(Protocol):
    """Where administrators are kept; the methods wait for the disk."""

    @property
    def admins(self) -> Mapping[str, Mapping[str, Any]]:
        """Password records by name."""

    def set_admin(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one, or change the password."""

    def remove_admin(self, name: str) -> None:
        """Remove one."""


class ConfigurationRoutes:
    """The routes, to be added to the application's.

    Args:
        administrators: Where they are kept.
        make_record: Hashes a password.
    """

    def __init__(self, administrators: Administrators, make_record: Callable[[str], Mapping[str, Any]]) -> None:
        self._administrators = administrators
        self._make_record = make_record

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes."""
        root = "/_node/{node}/_config"
        return (
            Route("GET", "/_membership", self.membership, Access.ADMIN),
            Route("GET", "/_node/{node}", self.node, Access.ADMIN),
            Route("GET", root, self.show, Access.ADMIN),
            Route("GET", root + "/{section}", self.show, Access.ADMIN),
            Route("GET", root + "/{section}/{key}", self.show, Access.ADMIN),
            Route("PUT", root + "/{section}/{key}", self.put, Access.ADMIN),
            Route("DELETE", root + "/{section}/{key}", self.delete, Access.ADMIN),
        )

    async def membership(self, request: Request) -> Response:
        require_admin(request)
        return json_response({"all_nodes": [_NODE], "cluster_nodes": [_NODE]})

    async def node(self, request: Request) -> Response:
        _check(request)
        return json_response({"name": _NODE})

    def _shown(self) -> dict[str, Any]:
        admins = self._administrators.admins
        hashes = {
            name: f"-pbkdf2-{record.get('derived_key')},{record.get('salt')},{record.get('iterations')}"
            for name, record in admins.items()
        }
        return {_ADMINS: hashes, "chttpd": {"require_valid_user": "false"}, "couchdb": {"users_db_suffix": "_users"}}

    async def show(self, request: Request) -> Response:
        """``GET`` of all, a section, or a value."""
        _check(request)
        value: Any = self._shown()
        for part in ("section", "key"):
            if part in request.values:
                if request.values[part] not in value:
                    if part == "section":
                        return json_response({})
                    raise NotFound("unknown_config_value")
                value = value[request.values[part]]
        return json_response(value)

    async def put(self, request: Request) -> Response:
        """``PUT /_node/_local/_config/admins/NAME`` with the password as a JSON string; gives the old value."""
        name = _admin_name(request)
        password = await request.json()
        if not isinstance(password, str) or not password:
            raise BadRequest("The password must be a string that is not empty")
        if name.startswith("_") or ":" in name:
            raise BadRequest("An administrator's name has no colon, and does not start with an underscore")
        old = self._shown()[_ADMINS].get(name, "")
        record = await asyncio.to_thread(self._make_record, password)
        await asyncio.to_thread(self._administrators.set_admin, name, record)
        return json_response(old)

    async def delete(self, request: Request) -> Response:
        """``DELETE``: all but the last administrator, without whom everybody would be one."""
        name = _admin_name(request)
        old = self._shown()[_ADMINS].get(name)
        if old is None:
            raise NotFound("unknown_config_value")
        if len(self._administrators.admins) == 1:
            raise Forbidden("The last administrator can't be removed: everybody would be one.")
        await asyncio.to_thread(self._administrators.remove_admin, name)
        return json_response(old)


def _check(request: Request) -> None:
    require_admin(request)
    if request.values["node"] not in _NODES:
        raise NotFound(f"no such node: {request.values['node']}")


def _admin_name(request: Request) -> str:
    _check(request)
    if request.values["section"] != _ADMINS:
        raise Forbidden("Only administrators can be set here; all else is given when the server is started.")
    return request.values["key"]
