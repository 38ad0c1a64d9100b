"""Writing documents: in batches through ``_bulk_docs``, and one by one where attachments are streams.

A document whose attachments are streams, or gzipped, or large, goes as ``multipart/related`` while its streams are
read; inlined as base64 it would have to be held in memory, and CouchDB takes inline data for unencoded. The streams of
a batch may depend on the order in which they are read, so the requests of a batch follow each other.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from typing import Any

from peerpouch.core import jsonbatch, jsonio
from peerpouch.core.multipart import closing, part_head
from peerpouch.core.revisions import parse
from peerpouch.errors import (
    BadRequest,
    InvalidDocument,
    InvalidDocumentId,
    MethodNotAllowed,
    NotSupported,
    PeerPouchError,
    ProtocolError,
    TooLarge,
    UnsupportedMediaType,
)
from peerpouch.exchange import Response
from peerpouch.ports import Attachment, Document, PlainRevisions, WriteFailure, WriteResult, Written
from peerpouch.remote.client import Client, document_path, error_of
from peerpouch.remote.uploads import Piece, Uploads
from peerpouch.remote.values import revision_of

_PURGE_IDS = 100
# CouchDB's own limit for one request.

MAX_INLINE = 64 * 1024
"""Bytes of an attachment that may travel as base64 among other documents: above it, a request of its own costs less."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of one request: several round trips' worth, and below what servers and proxies commonly refuse."""

MAX_BATCH_DOCS = 2000


async def bulk_docs(
    client: Client, uploads: Uploads, docs: Sequence[Document], *, new_edits: bool
) -> list[WriteResult]:
    """Write documents; one result for each, in order."""
    results: list[WriteResult] = []
    batch = _Batch(client, new_edits)
    for doc in docs:
        if _is_alone(doc):
            results += await batch.flush()
            results.append(await _put(client, uploads, doc, new_edits=new_edits))
            continue
        try:
            encoded = jsonio.dumps(_inlined(doc))
        except PeerPouchError as error:
            results += await batch.flush()
            results.append(WriteFailure(_id_of(doc), error, None if new_edits else revision_of(doc)))
            continue
        if not batch.has_room(len(encoded)):
            results += await batch.flush()
        batch.add(doc, encoded)
    return results + await batch.flush()


async def write_plain(client: Client, revisions: PlainRevisions) -> list[WriteFailure] | None:
    """Write revisions with their bodies as they are, without a value made of each; gives what was not written, and
    ``None``, with nothing sent, where one of them is to be looked at as a document."""
    if not jsonbatch.are_stored(revisions.bodies):
        return None
    try:
        heads = [
            _head(doc_id, rev, earlier)
            for doc_id, rev, earlier in zip(revisions.ids, revisions.revs, revisions.ancestors, strict=True)
        ]
        openings = list(map(jsonio.dumps, heads))
    except (BadRequest, InvalidDocument):
        return None
    results: list[WriteResult] = []
    batch = _Batch(client, False)
    for head, opening, body in zip(heads, openings, revisions.bodies, strict=True):
        encoded = opening[:-1] + (b"," + body[1:] if len(body) > 2 else b"}")
        if not batch.has_room(len(encoded)):
            results += await batch.flush()
        batch.add(head, encoded)
    results += await batch.flush()
    return [result for result in results if isinstance(result, WriteFailure)]


def _head(doc_id: str, rev: str, ancestors: str) -> Document:
    start, item = parse(rev)
    ids = [item, *ancestors.split(",")] if ancestors else [item]
    return {"_id": doc_id, "_rev": rev, "_revisions": {"start": start, "ids": ids}}


def _id_of(doc: Mapping[str, Any]) -> str:
    doc_id = doc.get("_id")
    return doc_id if isinstance(doc_id, str) else ""


def _is_alone(doc: Document) -> bool:
    """Whether a document needs a request of its own."""
    if _id_of(doc).startswith("_local/"):
        return True
    entries = doc.get("_attachments")
    if not isinstance(entries, dict) or not _id_of(doc):
        return False
    return any(isinstance(entry, dict) and _must_stream(entry) for entry in entries.values())


def _must_stream(entry: Mapping[str, Any]) -> bool:
    data = entry.get("data")
    if data is None:
        return False
    if entry.get("encoding") or isinstance(data, AsyncIterable):
        return True
    return isinstance(data, (bytes, str)) and len(data) > MAX_INLINE


def _inlined(doc: Document) -> Document:
    entries = doc.get("_attachments")
    if not isinstance(entries, dict):
        return doc
    inlined = {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(entry.get("data"), (bytes, bytearray)):
            entry = {**entry, "data": base64.b64encode(entry["data"]).decode()}
        elif isinstance(entry, dict) and isinstance(entry.get("data"), AsyncIterable):
            raise InvalidDocument(f"The attachment {name!r} is a stream: its document needs an _id.")
        inlined[name] = entry
    return {**doc, "_attachments": inlined}


class _Batch:
    """Documents that go in one request."""

    def __init__(self, client: Client, new_edits: bool) -> None:
        self._client = client
        self._new_edits = new_edits
        self._docs: list[Document] = []
        self._encoded: list[bytes] = []
        self._size = 0

    def has_room(self, size: int) -> bool:
        return not self._docs or (self._size + size <= MAX_BATCH_BYTES and len(self._docs) < MAX_BATCH_DOCS)

    def add(self, doc: Document, encoded: bytes) -> None:
        self._docs.append(doc)
        self._encoded.append(encoded)
        self._size += len(encoded)

    async def flush(self) -> list[WriteResult]:
        docs, encoded = self._docs, self._encoded
        self._docs, self._encoded, self._size = [], [], 0
        return await self._send(docs, encoded) if docs else []

    async def _send(self, docs: list[Document], encoded: list[bytes]) -> list[WriteResult]:
        body = b'{"docs":[' + b",".join(encoded) + (b"]}" if self._new_edits else b'],"new_edits":false}')
        try:
            rows = await self._client.json("POST", "/_bulk_docs", body=body)
        except (TooLarge, BadRequest) as error:
            # One document that is too large, or has an id or a field that none may have, makes a server refuse all of
            # them. Nothing was written.
            if len(docs) == 1:
                rev = None if self._new_edits else revision_of(docs[0])
                return [WriteFailure(_id_of(docs[0]), error, rev)]
            half = len(docs) // 2
            return await self._send(docs[:half], encoded[:half]) + await self._send(docs[half:], encoded[half:])
        with self._client.shape():
            return self._new(docs, rows) if self._new_edits else self._as_given(docs, rows)

    def _new(self, docs: list[Document], rows: list[dict[str, Any]]) -> list[WriteResult]:
        if len(rows) != len(docs):
            raise ValueError("there is not one result for each document")
        results: list[WriteResult] = []
        for doc, row in zip(docs, rows, strict=True):
            if "error" in row:
                results.append(WriteFailure(row.get("id") or _id_of(doc), error_of(row)))
            else:
                results.append(_written(row, doc))
        return results

    def _as_given(self, docs: list[Document], rows: list[dict[str, Any]]) -> list[WriteResult]:
        failed = {(row.get("id"), row.get("rev")): row for row in rows if "error" in row}
        results: list[WriteResult] = []
        for doc in docs:
            doc_id, rev = _id_of(doc), revision_of(doc)
            row = failed.get((doc_id, rev)) or failed.get((doc_id, None))
            if row is not None or rev is None:
                error = InvalidDocument("The document has no revision.") if row is None else error_of(row)
                results.append(WriteFailure(doc_id, error, rev))
            else:
                results.append(Written(doc_id, rev))
        return results


def _written(row: Mapping[str, Any], doc: Document) -> Written:
    doc_id, rev = row["id"], row["rev"]
    if not isinstance(doc_id, str) or not isinstance(rev, str) or doc.get("_id", doc_id) != doc_id:
        raise ValueError("a result is of another document")
    return Written(doc_id, rev)


async def _put(client: Client, uploads: Uploads, doc: Document, *, new_edits: bool) -> WriteResult:
    doc_id = _id_of(doc)
    rev = None if new_edits else revision_of(doc)
    if doc_id == "_local/":  # which a server takes for a path of its own
        return WriteFailure(doc_id, InvalidDocumentId("Only reserved document ids may start with underscore."), rev)
    try:
        entries, streams = _followed(doc)
        response = None
        if streams and rev is not None:
            response = await uploads.put(doc_id, rev, lambda boundary: _pieces(doc, entries, streams, boundary))
        if response is None:
            response = await _put_at_once(client, doc, entries, streams, new_edits=new_edits)
        row, _ = await client.read_json(response, MAX_BATCH_BYTES)
        if rev is not None:
            uploads.forget(doc_id, rev)
        if not new_edits and row == [] and rev is not None:
            return Written(doc_id, rev)  # a pouchdb-server has nothing else to say of a revision that it took
        with client.shape():
            return _written(row, doc)
    except PeerPouchError as error:
        if _is_about_document(error):
            return WriteFailure(doc_id, error, rev)
        raise


async def _put_at_once(
    client: Client,
    doc: Document,
    entries: dict[str, Any],
    streams: list[tuple[str, dict[str, Any], Any]],
    *,
    new_edits: bool,
) -> Response:
    params = {} if new_edits else {"new_edits": "false"}
    headers = {"content-type": "application/json"}
    content: AsyncIterable[bytes] | bytes
    if streams:
        boundary = secrets.token_hex(16)
        pieces = _pieces(doc, entries, streams, boundary)
        headers["content-type"] = f'multipart/related; boundary="{boundary}"'
        sizes = [size for size, _ in pieces if size is not None]
        if len(sizes) == len(pieces):
            headers["content-length"] = str(sum(sizes))
        content = _body(pieces)
    else:
        content = jsonio.dumps(doc)
    return await client.send("PUT", document_path(_id_of(doc)), params=params, content=content, headers=headers)


def _is_about_document(error: PeerPouchError) -> bool:
    """Whether an error is one document's own, and not the request's, the connection's or the server's."""
    return 400 <= error.status < 500 and error.status not in (401, 408, 429)


def _followed(doc: Document) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any], Any]]]:
    """The attachments as the document has them whose content follows, and those contents in order."""
    entries: dict[str, Any] = {}
    streams: list[tuple[str, dict[str, Any], Any]] = []
    for name, entry in (doc.get("_attachments") or {}).items():
        if isinstance(entry, dict) and entry.get("data") is not None:
            data = _decoded(entry["data"], name)
            entry = _announced(entry, data)
            streams.append((name, entry, data))
        entries[name] = entry
    return entries, streams


def _pieces(
    doc: Document, entries: dict[str, Any], streams: list[tuple[str, dict[str, Any], Any]], boundary: str
) -> list[Piece]:
    """The body of a PUT as ``multipart/related``."""
    head = part_head(boundary, {"Content-Type": "application/json"}, first=True)
    head += jsonio.dumps({**doc, "_attachments": entries})
    pieces: list[Piece] = [(len(head), head)]
    for name, entry, data in streams:
        part = part_head(boundary, _part_headers(name, entry))
        pieces += [(len(part), part), (_length(entry), data)]
    tail = closing(boundary)
    return [*pieces, (len(tail), tail)]


def _decoded(data: Any, name: str) -> Any:
    if not isinstance(data, str):
        return data
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise InvalidDocument(f"The data of the attachment {name!r} are not valid base64.") from None


def _announced(entry: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """An entry as the document has it whose attachments follow."""
    announced = {key: value for key, value in entry.items() if key not in ("data", "stub")}
    announced["follows"] = True
    length = len(data) if isinstance(data, (bytes, bytearray)) else None
    if isinstance(data, Attachment):
        length = data.end - data.start
        if data.encoding:
            announced.setdefault("encoding", data.encoding)
    if length is not None:
        announced["encoded_length" if announced.get("encoding") else "length"] = length
        announced.setdefault("length", length)
    return announced


def _length(entry: Mapping[str, Any]) -> int | None:
    length = entry.get("encoded_length" if entry.get("encoding") else "length")
    return length if isinstance(length, int) else None


def _part_headers(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    headers = {
        "Content-Disposition": f'attachment; filename="{escaped}"',
        "Content-Type": str(entry.get("content_type") or "application/octet-stream"),
    }
    length = _length(entry)
    if length is not None:
        headers["Content-Length"] = str(length)
    if entry.get("encoding"):
        headers["Content-Encoding"] = str(entry["encoding"])
    return headers


async def _body(pieces: Sequence[Piece]) -> AsyncGenerator[bytes, None]:
    for length, data in pieces:
        if isinstance(data, (bytes, bytearray)):
            yield bytes(data)
            continue
        size = 0
        async for chunk in data:
            size += len(chunk)
            yield chunk
        if length is not None and size != length:
            # The request is broken off: a body of another length than announced must not be taken for whole.
            raise ProtocolError(f"An attachment was to have {length} bytes, and its stream gave {size}.")


async def purge(client: Client, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Forget leaves; what was forgotten.

    Raises:
        NotSupported: the server can't do that.
    """
    ids = list(revs)
    purged: dict[str, list[str]] = {}
    for at in range(0, len(ids), _PURGE_IDS):
        asked = {doc_id: list(revs[doc_id]) for doc_id in ids[at : at + _PURGE_IDS]}
        try:
            answer = await client.json("POST", "/_purge", body=asked)
        except (MethodNotAllowed, UnsupportedMediaType, BadRequest) as error:
            # A pouchdb-server has no such endpoint, and takes it for a form that is sent to a document.
            if isinstance(error, BadRequest) and error.reason != "only_multipart_accepted":
                raise
            raise NotSupported("This server can't purge.") from error
        with client.shape():
            purged.update({doc_id: list(answer["purged"].get(doc_id, ())) for doc_id in asked})
    return purged
