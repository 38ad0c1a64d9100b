"""Handlers of the server itself: the welcome, the list of databases, uuids."""

from __future__ import annotations

import secrets
from importlib import metadata

from peerpouch.core import jsonio
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import JSON_TYPE, Response, etag, json_response
from peerpouch.errors import BadRequest, NotFound, PeerPouchError

COUCHDB_VERSION = "3.4.0"
"""The version of CouchDB whose API this is: clients choose what they use by it."""


async def welcome(request: Request) -> Response:
    """``GET /``. Replicators derive checkpoints from the uuid."""
    return json_response(
        {
            "couchdb": "Welcome",
            "version": COUCHDB_VERSION,
            "uuid": request.registry.uuid,
            "features": ["pluggable-storage-engines", "scheduler"],
            "vendor": {"name": "peerpouch", "version": metadata.version("peerpouch")},
        }
    )


async def up(request: Request) -> Response:
    return json_response({"status": "ok", "seeds": {}})


async def uuids(request: Request) -> Response:
    count = request.params.integer("count", 1) or 0
    if count > request.limits.uuids:
        raise BadRequest("count parameter too large")
    made = sorted(secrets.token_hex(16) for _ in range(count))  # inserted in order they are appended to indexes
    headers = (
        JSON_TYPE,
        (b"cache-control", b"must-revalidate, no-cache"),
        (b"pragma", b"no-cache"),
        (b"expires", b"Fri, 01 Jan 1990 00:00:00 GMT"),
        etag(secrets.token_hex(12)),
    )
    return Response(jsonio.dumps({"uuids": made}) + b"\n", headers=headers)


async def all_dbs(request: Request) -> Response:
    """``GET /_all_dbs``, with the keys and limits that CouchDB has there."""
    return json_response(await _names(request))


async def _names(request: Request) -> list[str]:
    params = request.params
    descending = params.boolean("descending")
    names = sorted(await request.registry.names(request.principal), reverse=descending)
    first = params.json("startkey", params.json("start_key"))
    last = params.json("endkey", params.json("end_key"))
    low, high = (last, first) if descending else (first, last)
    inclusive = params.boolean("inclusive_end", True)
    names = [
        name
        for name in names
        if (low is None or name >= str(low))
        and (high is None or name <= str(high))
        and (inclusive or last is None or name != last)
    ]
    skip = params.integer("skip", 0) or 0
    limit = params.integer("limit")
    return names[skip:] if limit is None else names[skip : skip + limit]


async def dbs_info(request: Request) -> Response:
    """``GET /_dbs_info`` of all databases, or ``POST`` of those named by ``keys``."""
    if request.method == "POST":
        request.require_json()
        names = request.params.with_body(await request.json_object()).strings("keys")
        if names is None:
            raise BadRequest("POST body must include `keys` parameter.")
        if len(names) > 100:  # CouchDB's own default, `max_db_number_for_dbs_info_req`
            raise BadRequest("`keys` parameter must be an array of at most 100 names.")
    else:
        names = await _names(request)
    rows: list[dict[str, object]] = []
    for name in names:
        try:
            database = await request.registry.open(name, request.principal)
            rows.append({"key": name, "info": describe(name, await database.info())})
        except NotFound:
            rows.append({"key": name, "error": "not_found"})
        except PeerPouchError as error:
            rows.append({"key": name, "error": error.error})
    return json_response(rows)


def describe(name: str, info: object) -> dict[str, object]:
    """``info`` as ``GET /db`` gives it: by the name that the client knows, with what CouchDB's clients look for."""
    assert isinstance(info, dict)
    return {
        **info,
        "db_name": name,
        "compact_running": False,
        "disk_format_version": 8,
        "props": {},
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }
