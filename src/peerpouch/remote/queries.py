"""Mango queries and views, answered by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peerpouch.errors import NotSupported
from peerpouch.ports import AttachmentMode, Document, FindResult, ViewResult
from peerpouch.remote.client import AnswerTooLarge, Client, document_path, quote_part
from peerpouch.remote.pacing import Pacer
from peerpouch.remote.values import attachment_params, json_param, received


def mango(
    selector: Mapping[str, Any],
    fields: Sequence[str] | None,
    sort: Sequence[str | Mapping[str, str]] | None,
    use_index: str | Sequence[str] | None,
    conflicts: bool,
) -> dict[str, Any]:
    """The body that ``_find`` and ``_explain`` share."""
    body: dict[str, Any] = {"selector": dict(selector)}
    if fields is not None:
        body["fields"] = list(fields)
    if sort is not None:
        body["sort"] = list(sort)
    if use_index is not None:
        body["use_index"] = use_index if isinstance(use_index, str) else list(use_index)
    if conflicts:
        body["conflicts"] = True
    return body


async def find(
    client: Client, body: dict[str, Any], *, limit: int | None, skip: int, bookmark: str | None
) -> FindResult:
    """The port's ``find``: page by page, since a server limits what it gives when nobody says how much."""
    pacer = Pacer(200, 10_000)
    found: FindResult = {"docs": [], "bookmark": bookmark or "nil"}
    passed = skip
    while True:
        left = None if limit is None else limit - len(found["docs"])
        asked = pacer.size if left is None else min(pacer.size, left)
        page = {**body, "limit": asked, "skip": passed, **({"bookmark": bookmark} if bookmark else {})}
        try:
            answer, size = await client.sized_json("POST", "/_find", body=page, limit=pacer.limit)
        except AnswerTooLarge:
            if pacer.size == 1:
                raise
            pacer.shrink()
            continue
        with client.shape():
            docs = list(answer["docs"])
            pacer.seen(len(docs), size)
            found["docs"] += docs
            _merge(found, answer)
        if len(docs) < asked or (limit is not None and len(found["docs"]) >= limit):
            return found
        given = answer.get("bookmark")
        if given and given != "nil" and given != bookmark:
            bookmark, passed = given, 0  # what was skipped is before the bookmark
        elif bookmark:
            return found
        else:
            passed = skip + len(found["docs"])  # PouchDB has no bookmarks


def _merge(found: FindResult, answer: Mapping[str, Any]) -> None:
    found["bookmark"] = answer.get("bookmark") or "nil"
    if answer.get("warning"):
        found["warning"] = answer["warning"]
    stats = answer.get("execution_stats")
    if stats is not None:
        known = found.setdefault("execution_stats", {})
        for name, value in stats.items():
            known[name] = known.get(name, 0) + value if isinstance(value, (int, float)) else value


async def delete_index(client: Client, ddoc: str, name: str) -> None:
    """The port's ``delete_index``; a design document's id may have its prefix or not."""
    design = quote_part(ddoc.removeprefix("_design/"))
    await client.json("DELETE", f"/_index/_design/{design}/json/{quote_part(name)}")


def view_path(view: Any) -> str:
    """The path of a view below its database.

    Raises:
        NotSupported: for a Python function, which can't be sent.
    """
    if not isinstance(view, str):
        raise NotSupported("A Python map function can't be sent to another database; replicate, or store a view there.")
    ddoc, slash, name = view.partition("/")
    return f"{document_path('_design/' + ddoc)}/_view/{quote_part(name if slash else ddoc)}"


async def query(client: Client, path: str, options: Mapping[str, Any], attachments: AttachmentMode) -> ViewResult:
    """The port's ``query``. Options that are ``...`` are not given."""
    params: dict[str, Any] = attachment_params(attachments)
    body: dict[str, Any] | None = None
    for name, value in options.items():
        if name in ("key", "startkey", "endkey"):
            if value is not ...:
                params[name] = json_param_or_null(value)
        elif name == "keys":
            body = None if value is None else {"keys": list(value)}
        elif name in ("reduce", "inclusive_end"):
            params[name] = None if value is None else str(value).lower()
        else:
            params[name] = value
    answer: ViewResult = await client.json("GET" if body is None else "POST", path, params=params, body=body)
    with client.shape():
        if attachments:
            for row in answer["rows"]:
                doc: Document | None = row.get("doc")
                if doc is not None:
                    row["doc"] = received(doc, attachments)
        elif not isinstance(answer["rows"], list):
            raise TypeError("rows are not a list")
    return answer


def json_param_or_null(value: Any) -> str:
    """A key as a parameter; null is a key too."""
    return "null" if value is None else json_param(value) or "null"
