"""Handlers of many documents at once: ``_bulk_docs``, ``_bulk_get``, ``_revs_diff``, ``_missing_revs``."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from peerpouch.core import jsonio
from peerpouch.core.multipart import closing
from peerpouch.couchapi.checks import check_document, check_id, check_members, check_rev, check_revs
from peerpouch.couchapi.exporting import export
from peerpouch.couchapi.multipart import revision_part
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import CHUNK, Response, Stream, error_fields, gather, json_response, json_stream
from peerpouch.errors import BadRequest, NotFound
from peerpouch.ports import Database, PlainRevisions, RevisionRequest, RevisionResult, WriteFailure, WriteResult

_PLAIN = 500
"""Revisions of one answer that may be put together in memory: a replicator's batch, of bodies that are small, 4 MB."""


async def bulk_docs(request: Request) -> Response:
    """``POST /db/_bulk_docs``: a row per document; with ``new_edits: false`` only for those that failed."""
    request.require_json()
    body = await request.json_object()
    if "docs" not in body:
        raise BadRequest("POST body must include `docs` parameter.")
    docs = body["docs"]
    if not isinstance(docs, list):
        raise BadRequest("`docs` parameter must be an array.")
    new_edits = body.get("new_edits", True)
    if not isinstance(new_edits, bool):
        raise BadRequest("`new_edits` parameter must be a boolean.")
    if body.get("all_or_nothing"):
        refusal = {"error": "not_implemented", "reason": "all_or_nothing is not supported"}
        return json_response([refusal for _ in docs], status=417)
    docs = [check_document(doc) for doc in docs]
    for doc in docs:
        check_id(doc)
        check_members(doc, new_edits=new_edits)
    database = await request.database()
    results = await database.bulk_docs(docs, new_edits=new_edits) if docs else []
    if new_edits:
        rows = [_written(result) for result in results]
    else:
        rows = [_written(result) for result in results if isinstance(result, WriteFailure)]
    return json_response(rows, status=201)


def _written(result: WriteResult) -> dict[str, Any]:
    if not isinstance(result, WriteFailure):
        return {"ok": True, "id": result.id, "rev": result.rev}
    row: dict[str, Any] = {"id": result.id}
    if result.rev is not None:
        row["rev"] = result.rev
    return {**row, **error_fields(result.error)}


async def bulk_get(request: Request) -> Stream:
    """``POST /db/_bulk_get``: as JSON, or as ``multipart/mixed`` with attachments as parts when that is accepted."""
    request.require_json()
    body = await request.json_object()
    docs = body.get("docs")
    if not isinstance(docs, list):
        raise BadRequest("Missing JSON list of 'docs'.")
    wanted = [_revision_request(entry) for entry in docs]
    params = request.params
    database = await request.database()
    mixed = request.accepts("multipart/mixed", wildcard=False) or request.accepts("multipart/related", wildcard=False)
    if params.boolean("revs") and not mixed and 0 < len(wanted) <= _PLAIN:
        plain = await _plainly(database, wanted)
        if plain is not None:
            return Stream(json_stream(_plain_rows(plain)), soon=True)
    results = database.bulk_get(
        wanted,
        revs=params.boolean("revs"),
        latest=params.boolean("latest"),
        attachments=params.boolean("attachments") and not mixed,
    )
    if mixed:
        return _bulk_get_mixed(database, wanted, results, attachments=params.boolean("attachments"))
    return Stream(json_stream(_bulk_get_json(wanted, results, params.boolean("att_encoding_info"))), soon=True)


async def _plainly(database: Database, wanted: Sequence[RevisionRequest]) -> PlainRevisions | None:
    """The revisions asked for, if all are there and plain: such have no attachments, and no leaves above them."""
    revs = {entry.id: entry.rev for entry in wanted if entry.rev is not None}
    if len(revs) < len(wanted):
        return None
    plain = await database.read_plain(revs)
    return plain if plain is not None and plain.ids == [*revs] else None


async def _plain_rows(plain: PlainRevisions) -> AsyncGenerator[bytes, None]:
    """What :func:`_bulk_get_json` gives, with each body as it is."""
    held: list[bytes] = []
    size = 0
    before = b'{"results":['
    for doc_id, rev, ancestors, body in zip(*plain, strict=True):
        start, _, item = rev.partition("-")
        history = {"start": int(start), "ids": [item, *ancestors.split(",")] if ancestors else [item]}
        head = jsonio.dumps({"_id": doc_id, "_rev": rev})
        fields = b"," + body[1:-1] if len(body) > 2 else b""
        held += (before, b'{"id":', jsonio.dumps(doc_id), b',"docs":[{"ok":', head[:-1], fields)
        held += (b',"_revisions":', jsonio.dumps(history), b"}}]}")
        before = b","
        size += len(body)
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join([*held, b"]}\n"])


def _revision_request(entry: Any) -> RevisionRequest:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise BadRequest("document id missed")
    rev, atts_since = entry.get("rev"), entry.get("atts_since")
    if atts_since is not None and not isinstance(atts_since, list):
        raise BadRequest("`atts_since` must be an array of revisions")
    return RevisionRequest(
        entry["id"],
        None if rev is None else check_rev(rev),
        None if atts_since is None else [check_rev(known) for known in atts_since],
    )


async def _bulk_get_json(
    wanted: Sequence[RevisionRequest], results: AsyncIterator[RevisionResult], encoding_info: bool
) -> AsyncGenerator[bytes, None]:
    # Gathered here, since every step of an asynchronous generator costs as much as the encoding of a small document.
    held = [b'{"results":[']
    size = 0
    at = -1  # the request that the last result answers: a request without a revision has one for every leaf
    async with closing_results(results):
        async for result in results:
            if _answers_next(wanted, at, result):
                opening = b"]}," if at >= 0 else b""
                at += 1
                held += (opening, b'{"id":', jsonio.dumps(result.id), b',"docs":[')
            else:
                held.append(b",")
            row = jsonio.dumps_trusted(_bulk_get_row(result, encoding_info))
            held.append(row)
            size += len(row)
            if size >= CHUNK:
                yield b"".join(held)
                held.clear()
                size = 0
    held.append(b"]}]}\n" if at >= 0 else b"]}\n")
    yield b"".join(held)


def _answers_next(wanted: Sequence[RevisionRequest], at: int, result: RevisionResult) -> bool:
    if at < 0:
        return True
    if at + 1 >= len(wanted) or wanted[at + 1].id != result.id:
        return wanted[at].id != result.id
    return wanted[at + 1].rev in (None, result.rev)


def _bulk_get_row(result: RevisionResult, encoding_info: bool) -> dict[str, Any]:
    if result.doc is not None:
        return {"ok": export(result.doc, encoding_info=encoding_info)}
    fields = error_fields(result.error or NotFound("missing"))
    return {"error": {"id": result.id, "rev": result.rev or "undefined", **fields}}


def closing_results(stream: AsyncIterator[Any]) -> aclosing[Any]:
    # An iterator of the port need not be a generator, but it frees what it holds when it is closed.
    assert hasattr(stream, "aclose")
    return aclosing(stream)


def _bulk_get_mixed(
    database: Database, wanted: Sequence[RevisionRequest], results: AsyncIterator[RevisionResult], *, attachments: bool
) -> Stream:
    outer = secrets.token_hex(16)
    since = {(entry.id, entry.rev): entry.atts_since for entry in wanted}

    async def body() -> AsyncGenerator[bytes, None]:
        first = True
        async with closing_results(results):
            async for result in results:
                headers = {"X-Doc-Id": result.id}
                if result.rev is not None:
                    headers["X-Rev-Id"] = result.rev
                async for data in revision_part(
                    database,
                    result,
                    outer,
                    first=first,
                    atts_since=since.get((result.id, result.rev)),
                    attachments=attachments,
                    headers=headers,
                ):
                    yield data
                first = False
        yield b"--" + outer.encode() + b"--" if first else closing(outer)

    content_type = (b"content-type", f'multipart/mixed; boundary="{outer}"'.encode())
    return Stream(gather(body()), headers=[content_type])


async def revs_diff(request: Request) -> Response:
    request.require_json()
    revs = check_revs(await request.json_object())
    return json_response(await (await request.database()).revs_diff(revs))


async def missing_revs(request: Request) -> Response:
    request.require_json()
    revs = check_revs(await request.json_object())
    return json_response({"missing_revs": await (await request.database()).missing_revs(revs)})
