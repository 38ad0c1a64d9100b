"""``POST /db/doc`` as ``multipart/form-data``: attachments from a plain HTML form, as CouchDB takes them.

The form has ``_rev``, the revision that is extended, or ``_doc``, the whole document as JSON, and any number of files
named ``_attachments``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from peerpouch.core import jsonio
from peerpouch.core.multipart import MultipartParser, PartBegin, PartData, PartEnd, boundary_of
from peerpouch.couchapi.checks import check_document, check_id, check_rev
from peerpouch.couchapi.documents import created, document_id, write
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response
from peerpouch.errors import BadRequest, UnsupportedMediaType
from peerpouch.ports import Document


async def post(request: Request) -> Response:
    """Write a document, or add attachments to one."""
    database = await request.database()
    doc_id = document_id(request)
    check_id({"_id": doc_id})
    content_type = request.header(b"content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("Content-Type must be multipart/form-data")
    _check_referer(request)
    fields, files = _read(boundary_of(content_type), await request.read())
    doc: Document
    if "_doc" in fields:
        doc = check_document(jsonio.loads(fields["_doc"]))
    elif "_rev" in fields:
        doc = await database.get(doc_id, rev=check_rev(fields["_rev"].decode("utf-8", "replace")))
    else:
        raise BadRequest("The form has neither a _doc nor a _rev.")
    doc["_id"] = doc_id
    entries = doc.setdefault("_attachments", {})
    if not isinstance(entries, dict):
        raise BadRequest("_attachments must be an object")
    entries.update(files)
    return created(request, await write(database, doc))


def _check_referer(request: Request) -> None:
    # A form needs no script to be sent from another site's page, so its origin is checked, as CouchDB does.
    referer = request.header(b"referer")
    if referer is None:
        raise BadRequest("Referer header required.")
    if urlsplit(referer).netloc.rpartition("@")[2] != request.header(b"host"):
        raise BadRequest("Referer header must match host.")


def _read(boundary: str, body: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The form's fields, and its files as entries of ``_attachments``."""
    fields: dict[str, bytes] = {}
    files: dict[str, Any] = {}
    parser = MultipartParser(boundary)
    head: PartBegin | None = None
    content = bytearray()
    for event in parser.feed(body):
        if isinstance(event, PartBegin):
            head, content = event, bytearray()
        elif isinstance(event, PartData):
            content += event.data
        elif isinstance(event, PartEnd) and head is not None:
            name, filename = _disposition(head.headers.get("content-disposition", ""))
            if name == "_attachments" and filename:
                content_type = head.headers.get("content-type", "application/octet-stream")
                files[filename] = {"content_type": content_type, "data": bytes(content)}
            elif name is not None:
                fields[name] = bytes(content)
    if not parser.done:
        raise BadRequest("The form ended too early.")
    return fields, files


def _disposition(value: str) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    for item in value.split(";")[1:]:
        key, _, text = item.strip().partition("=")
        found[key.lower()] = text.strip('"')
    return found.get("name"), found.get("filename")
