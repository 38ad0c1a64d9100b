"""Handlers of uploads that go on where they broke off; what they are is told in :mod:`peerpouch.couchapi.staging`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from peerpouch.core import jsonio
from peerpouch.couchapi.documents import created
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.multipart import put_multipart
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, json_response
from peerpouch.couchapi.spool import Key, Saved
from peerpouch.couchapi.staging import Upload, Uploads, Write
from peerpouch.errors import BadRequest, NotFound, NotSupported, PeerPouchError, RangeNotSatisfiable
from peerpouch.ports import Database, Peer, Principal, User, Written

MAX_DOCUMENT: Final = 1 << 20
"""Bytes of the document itself. It is held while the upload rests, when its request gave its room back; a larger one
goes in one request."""

_NAME = re.compile(r"[0-9a-f]{32}")


class _Body:
    """What the write reads in place of one request's body."""

    def __init__(self, limits: Limits, content_type: str | None, stream: AsyncGenerator[bytes, None]) -> None:
        self.limits = replace(limits, json_body=min(MAX_DOCUMENT, limits.json_body))
        self._stream = stream
        self._content_type = content_type

    def header(self, name: bytes) -> str | None:
        return self._content_type if name == b"content-type" else None

    def stream(self) -> AsyncGenerator[bytes, None]:
        return self._stream

    async def hold(self, size: int) -> None:
        """It takes no room: it is small."""


def _uploads(request: Request) -> Uploads:
    if request.limits.uploads is None:
        raise NotSupported("Documents are taken in one request here.")
    return request.limits.uploads


def _key(request: Request) -> Key:
    name = request.values["upload"]
    if not _NAME.fullmatch(name):
        raise BadRequest("An upload is called by 32 hexadecimal digits, made at random.")
    return Key(_who(request.principal), request.values["db"], name)


def _who(principal: Principal) -> str:
    """Whose an upload is, in a form that outlives the process."""
    match principal:
        case Peer(key=key):
            return f"peer {key.hex()}"  # its next session goes on with what this one began
        case User(name=name, roles=roles):
            return f"user {jsonio.dumps([name, *sorted(roles)]).decode()}"
        case _:
            return f"{type(principal).__name__.lower()} {getattr(principal, 'address', '')}"


def _number(request: Request, name: str) -> int:
    value = request.params.integer(name)
    if value is None or value < 0:
        raise BadRequest(f"`{name}` must be a number of bytes.")
    return value


async def _may_go_on(database: Database, uploads: Uploads, upload: Upload) -> None:
    """Who may write no more, or no longer by the rules under which it began, does not finish it."""
    try:
        await upload.database.check_write(upload.doc_id)
        await database.check_write(upload.doc_id)
    except PeerPouchError:
        uploads.drop(upload)
        raise


async def _may_go_on_with_saved(database: Database, uploads: Uploads, saved: Saved) -> None:
    try:
        await database.check_write(saved.doc_id)
    except PeerPouchError:
        uploads.forget(saved)
        raise


async def get(request: Request) -> Response:
    """``GET /db/_upload/ID``: how much of it came."""
    database = await request.database()
    uploads = _uploads(request)
    key = _key(request)
    upload = uploads.find(key)
    if upload is None:
        saved = uploads.saved(key)
        if saved is None:
            raise NotFound("There is no such upload.")
        await _may_go_on_with_saved(database, uploads, saved)
        return json_response({"offset": saved.offset, "length": saved.length})
    await _may_go_on(database, uploads, upload)
    upload.interrupt()
    return json_response({"offset": upload.offset, "length": upload.length})


async def put(request: Request) -> Response:
    """``PUT /db/_upload/ID``: begin it, or bring more of it."""
    database = await request.database()
    uploads, key = _uploads(request), _key(request)
    offset, length = _number(request, "offset"), _number(request, "length")
    doc_id = request.params.text("doc")
    if not doc_id or doc_id.startswith("_local/"):
        raise BadRequest("`doc` must be the id of a document that can have attachments.")
    await database.check_write(doc_id)
    upload = uploads.find(key)
    saved = uploads.saved(key) if upload is None else None
    there = upload or saved
    if there is not None and (there.doc_id, there.length) != (doc_id, length):
        raise BadRequest("This upload is of another document, or of another length.")
    if upload is None and offset != (here := 0 if saved is None else saved.offset):
        raise RangeNotSatisfiable(f"Of this upload {here} bytes are here, and not {offset}.")
    content_type = request.header(b"content-type")
    if upload is not None:
        await _may_go_on(database, uploads, upload)
    elif saved is None:
        upload = uploads.begin(key, database, doc_id, length, _write(request, database, doc_id), content_type)
    elif saved.content_type != content_type:
        raise BadRequest("The body of an upload has one boundary in all of its requests.")
    else:
        upload = uploads.resume(saved, database, _write(request, database, doc_id))
    written = await upload.take(offset, request.stream())
    if written is None:
        return json_response({"offset": upload.offset, "length": upload.length}, status=202)
    return created(request, written)


def _write(request: Request, database: Database, doc_id: str) -> Write:
    # Not the request itself, which ends before the upload does.
    limits, content_type = request.limits, request.header(b"content-type")

    async def write(stream: AsyncGenerator[bytes, None]) -> Written:
        body = _Body(limits, content_type, stream)
        return await put_multipart(body, database, doc_id, rev=None, new_edits=False)

    return write
