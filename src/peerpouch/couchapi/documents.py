"""Handlers of one document: GET with every option, PUT, DELETE, COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import unquote as unquote_text

from peerpouch.couchapi.checks import check_document, check_rev
from peerpouch.couchapi.exporting import export
from peerpouch.couchapi.multipart import put_multipart, send_document, send_revisions
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Header, Response, Stream, error_fields, etag, header, json_response
from peerpouch.errors import BadRequest, Conflict, NotFound
from peerpouch.ports import Database, Document, RevisionResult, WriteFailure, Written

_TWO_REVS = "Document rev and etag have different values"

_TELLING = ("revs_info", "conflicts", "deleted_conflicts", "local_seq")


def document_id(request: Request) -> str:
    """The id that the path names."""
    values = request.values
    if "design" in values:
        return "_design/" + values["design"]
    if "local" in values:
        return "_local/" + values["local"]
    if values["doc"] in ("_local", "_local/"):
        raise BadRequest("Invalid _local document id.")
    return values["doc"]


def created(request: Request, written: Written, *, status: int = 201, attachment: str | None = None) -> Response:
    """The response to a write; of an attachment, if one is named.

    With ``batch=ok`` it is 202, though the write is on disk already.
    """
    if status == 201 and request.params.text("batch") == "ok":
        status = 202
    headers: list[Header] = [] if status == 202 else [etag(written.rev)]
    if status != 200:
        path = [request.values["db"], *written.id.split("/", _slashes(written))]
        if attachment is not None:
            path += attachment.split("/")
        headers.append(header("location", request.url(*path)))
    body = {"ok": True, "id": written.id}
    if status != 202:  # by which CouchDB does not know the revision yet
        body["rev"] = written.rev
    return json_response(body, status=status, headers=headers)


def _slashes(written: Written) -> int:
    return 1 if written.id.startswith(("_design/", "_local/")) else 0


def revision(request: Request) -> str | None:
    """The revision that a write extends, from the query or the If-Match header.

    Raises:
        BadRequest: when both are there and differ.
    """
    asked = request.params.text("rev")
    matched = request.header(b"if-match")
    if matched is not None:
        matched = matched.strip().removeprefix("W/").strip('"')
        if asked is not None and asked != matched:
            raise BadRequest(_TWO_REVS)
        asked = matched
    return None if asked is None else check_rev(asked)


def revisions(request: Request, name: str) -> list[str] | None:
    """A parameter that is a JSON list of revisions."""
    revs = request.params.strings(name)
    return None if revs is None else [check_rev(rev) for rev in revs]


async def get(request: Request) -> Response | Stream:
    params = request.params
    database = await request.database()
    doc_id = document_id(request)
    if "open_revs" in params:
        return await _open_revs(request, database, doc_id)
    meta = params.boolean("meta")
    telling = {name: (meta and name != "local_seq") or params.boolean(name) for name in _TELLING}
    rev = params.text("rev")
    atts_since = revisions(request, "atts_since")
    attachments = params.boolean("attachments") or atts_since is not None
    related = attachments and request.accepts("multipart/related", wildcard=False)
    doc = await database.get(
        doc_id,
        rev=None if rev is None else check_rev(rev),
        revs=params.boolean("revs"),
        latest=params.boolean("latest"),
        attachments=attachments and not related,
        atts_since=atts_since,
        **telling,
    )
    headers: list[Header] = []
    if not any(telling.values()):
        headers.append(etag(doc["_rev"]))
        if _unmodified(request, doc["_rev"]):
            return Response(status=304, headers=headers)
    if related and doc.get("_attachments"):
        return await send_document(database, doc, atts_since=atts_since, headers=headers)
    return json_response(export(doc, encoding_info=params.boolean("att_encoding_info")), headers=headers)


def _unmodified(request: Request, tag: str) -> bool:
    known = request.header(b"if-none-match")
    if known is None:
        return False
    return any(item.strip().removeprefix("W/") in (f'"{tag}"', "*") for item in known.split(","))


async def _open_revs(request: Request, database: Database, doc_id: str) -> Response | Stream:
    params = request.params
    raw = params.text("open_revs")
    wanted: Sequence[str] | Literal["all"] = "all" if raw == "all" else revisions(request, "open_revs") or []
    atts_since = revisions(request, "atts_since")
    mixed = request.accepts("multipart/mixed", wildcard=True)
    attachments = params.boolean("attachments") or atts_since is not None
    results = await database.open_revs(
        doc_id,
        wanted,
        latest=params.boolean("latest"),
        with_revisions=params.boolean("revs"),
        attachments=attachments and not mixed,
        atts_since=atts_since,
    )
    if wanted == "all" and not results:
        raise NotFound("missing")
    if mixed:
        return send_revisions(database, results, atts_since=atts_since)
    encoding_info = params.boolean("att_encoding_info")
    return json_response([_revision_row(result, encoding_info=encoding_info) for result in results])


def _revision_row(result: RevisionResult, *, encoding_info: bool) -> dict[str, Any]:
    if result.doc is not None:
        return {"ok": export(result.doc, encoding_info=encoding_info)}
    if result.error is not None and not isinstance(result.error, NotFound):
        return {"rev": result.rev, **error_fields(result.error)}
    return {"missing": result.rev}


async def put(request: Request) -> Response:
    """``PUT /db/doc``: JSON, or ``multipart/related`` with the attachments after the document."""
    new_edits = request.params.boolean("new_edits", True)
    content_type = request.header(b"content-type") or ""
    rev = revision(request)
    doc_id = document_id(request)
    database = await request.database()
    if content_type.strip().lower().startswith("multipart/related"):
        written = await put_multipart(request, database, doc_id, rev=rev, new_edits=new_edits)
    else:
        doc = address(check_document(await request.json()), doc_id, rev, asked="rev" in request.params)
        written = await write(database, doc, new_edits=new_edits)
    return created(request, written)


def address(doc: Document, doc_id: str, rev: str | None, *, asked: bool = True) -> Document:
    """Give a document of a body the id of the URL, and the revision of the query or header.

    Args:
        asked: Whether the revision is from the query, and not from the header.

    Raises:
        BadRequest: when the body has another revision.
    """
    doc["_id"] = doc_id
    if rev is not None:
        if doc.get("_rev", rev) != rev:
            raise BadRequest(
                "Document rev from request body and query string have different values" if asked else _TWO_REVS
            )
        doc["_rev"] = rev
    return doc


async def write(database: Database, doc: Document, *, new_edits: bool = True) -> Written:
    """Write one document; raises what went wrong."""
    (result,) = await database.bulk_docs([doc], new_edits=new_edits)
    if isinstance(result, WriteFailure):
        raise result.error
    return result


async def delete(request: Request) -> Response:
    database = await request.database()
    doc_id, rev = document_id(request), revision(request)
    doc: Document = {"_id": doc_id, "_deleted": True}
    if rev is not None:
        doc["_rev"] = rev
    try:
        if rev is None:
            raise Conflict
        written = await write(database, doc)
    except Conflict:
        await database.get(doc_id)  # a document that is not there is "missing" or "deleted", and no conflict
        raise
    return created(request, written, status=200)


async def copy(request: Request) -> Response:
    """``COPY /db/doc`` with a Destination header: an id, and the revision that is replaced, if one is."""
    destination = request.header(b"destination")
    if destination is None:
        raise BadRequest("Destination header is mandatory for COPY.")
    if destination.startswith(("http://", "https://")):
        raise BadRequest("Destination URL must be relative.")
    target, _, query = destination.partition("?")
    database = await request.database()
    source_rev = request.params.text("rev")
    doc_id = document_id(request)
    doc = await database.get(doc_id, rev=None if source_rev is None else check_rev(source_rev))
    doc["_id"] = unquote_text(target)
    doc.pop("_rev", None)
    if query:
        name, _, rev = query.partition("=")
        if name != "rev":
            raise BadRequest("The Destination header takes a rev and nothing else.")
        doc["_rev"] = check_rev(rev)
    for name, entry in (doc.get("_attachments") or {}).items():
        entry.pop("stub", None)
        entry["data"] = await database.get_attachment(doc_id, name, rev=source_rev, encoded=True)
    return created(request, await write(database, doc))
