"""Update functions: ``POST /db/_design/{ddoc}/_update/{function}``, and with a document's id behind it ``PUT``.

(CouchDB documentation, "Update Functions" and "Request object"; ``chttpd_show.erl``, ``chttpd_external.erl``.) The
function sees the document as whoever asks may see it, and what it gives is written on their behalf. It is not told
what would let it act as somebody else: no Authorization header, and no cookies.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from peerpouch.core import jsonio
from peerpouch.couchapi.params import parse_query
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Header, Response, header
from peerpouch.errors import Forbidden, InvalidJSON, NotFound, PeerPouchError
from peerpouch.ports import Database, Document, user_context

_FORM: Final = "application/x-www-form-urlencoded"
_SECRET: Final = frozenset(("authorization", "cookie", "proxy-authorization", "x-csrf-token"))
_JSON_QUERY: Final = frozenset(("startkey", "endkey", "key", "descending"))
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    ("connection", "content-length", "transfer-encoding", "set-cookie", "server", "content-security-policy", "upgrade")
)
"""Headers of a response that are not a function's to set: they frame the message, or speak for the whole server."""


async def update(request: Request) -> Response:
    """Call the function, write the document that it gives, and answer what it says."""
    await _check_origin(request)
    database = await request.database()
    doc_id = request.values.get("doc")
    doc = None if doc_id is None else await _found(database, doc_id)
    function = f"{request.values['design']}/{request.values['function']}"
    updated = await database.run_update(function, doc, await _describe(request, database, doc_id))
    if updated.doc is None:
        return _answer(updated.response, 200, [])
    written = await database.put(updated.doc)
    told = [header("x-couch-update-newrev", written.rev), header("x-couch-id", quote(written.id, safe=""))]
    return _answer(updated.response, 201, told)


async def invalid_path(request: Request) -> Response:
    """An update function without its name."""
    await request.database()
    raise NotFound("Invalid path.")


async def _check_origin(request: Request) -> None:
    """Refuse what a form on another site sends: browsers let it, without asking, where a body is not JSON."""
    origin, kind = request.header(b"origin"), request.header(b"content-type") or ""
    if origin is None or kind.partition(";")[0].strip().lower() == "application/json":
        return
    if urlsplit(origin).netloc != (request.header(b"host") or ""):
        raise Forbidden("A page of another site may send JSON only.")


async def _found(database: Database, doc_id: str) -> Document | None:
    try:
        return await database.get(doc_id, conflicts=True)
    except NotFound:
        return None


async def _describe(request: Request, database: Database, doc_id: str | None) -> dict[str, Any]:
    """CouchDB's request object."""
    body = await request.read()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    form = parse_query(body) if headers.get("content-type", "").startswith(_FORM) else {}
    client = request.scope.get("client")
    raw_query = request.scope.get("query_string", b"").decode("latin-1")
    path = "/" + "/".join(quote(part, safe="") for part in request.segments)
    return {
        "info": {**await database.info(), "db_name": request.values["db"]},
        "uuid": uuid.uuid4().hex,
        "id": doc_id,
        "method": request.method,
        "requested_path": request.segments,
        "path": request.segments,
        "raw_path": path + ("?" + raw_query if raw_query else ""),
        "query": {name: _query_value(name, value) for name, value in request.params.raw_query().items()},
        "headers": {name: value for name, value in headers.items() if name not in _SECRET},
        "body": body.decode(errors="replace"),
        "peer": client[0] if client else "",
        "form": form,
        "cookie": {},
        "userCtx": user_context(request.principal, request.values["db"]),
        "secObj": await _security(database),
    }


def _query_value(name: str, value: str) -> Any:
    if name not in _JSON_QUERY:
        return value
    try:
        return jsonio.loads(value)
    except InvalidJSON:
        return value


async def _security(database: Database) -> Document:
    try:
        return await database.get_security()
    except Forbidden:
        return {}  # a peer is not told who else there is


def _answer(response: str | Mapping[str, Any], status: int, told: list[Header]) -> Response:
    said: Mapping[str, Any] = {"body": response} if isinstance(response, str) else response
    code = said.get("code", status)
    if type(code) is not int or not 200 <= code <= 599:
        raise PeerPouchError(f"The update function answers with the status {code!r}.")
    headers = said.get("headers") or {}
    unknown = said.keys() - {"code", "headers", "body", "base64", "json", "stop"}
    if unknown or type(headers) is not dict:
        raise PeerPouchError(f"The update function's answer is no response: {sorted(unknown) or headers!r:.80}.")
    data, kind = _content(said)
    given = [
        header(name.lower(), str(value))
        for name, value in headers.items()
        if _NAME.fullmatch(name) and name.lower() not in _OURS
    ]
    if not any(name == b"content-type" for name, _ in given):
        given.append(header("content-type", kind))
    # As for attachments: a page that somebody made must not run with the rights of this server's own pages.
    return Response(data, status=code, headers=[*given, *told, (b"content-security-policy", b"sandbox")])


def _content(said: Mapping[str, Any]) -> tuple[bytes, str]:
    if "json" in said:
        return jsonio.dumps(said["json"]) + b"\n", "application/json"
    if "base64" in said:
        try:
            return base64.b64decode(str(said["base64"]), validate=True), "application/binary"
        except (binascii.Error, ValueError):
            raise PeerPouchError("The update function answers with base64 that is none.") from None
    return str(said.get("body", "")).encode(errors="replace"), "text/html; charset=utf-8"
