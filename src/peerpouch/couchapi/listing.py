"""Handlers of listings: ``_all_docs``, ``_design_docs``, ``_local_docs``, each also as several ``queries``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from peerpouch.core import jsonio
from peerpouch.couchapi.exporting import export
from peerpouch.couchapi.params import Params
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Stream, json_stream
from peerpouch.errors import BadRequest, InvalidQuery, NotFound
from peerpouch.ports import AllDocs, AllDocsRow, Database

Listing = Callable[[Database, Params], AllDocs]

# What may follow in an id after "_design/" sorts below the character after the slash.
_DESIGN_START, _DESIGN_END = "_design/", "_design0"


async def all_docs(request: Request) -> Stream:
    return await _list(request, _documents)


async def design_docs(request: Request) -> Stream:
    return await _list(request, _designs)


async def local_docs(request: Request) -> Stream:
    return await _list(request, _locals)


async def all_docs_queries(request: Request) -> Stream:
    return await _queries(request, _documents)


async def design_docs_queries(request: Request) -> Stream:
    return await _queries(request, _designs)


async def local_docs_queries(request: Request) -> Stream:
    return await _queries(request, _locals)


async def read_params(request: Request) -> Params:
    """The options of a listing or a view: the query's, and those of a POST's body."""
    if request.method != "POST":
        return request.params
    request.require_json()
    return request.params.with_body(await request.json_object(required=False))


async def _list(request: Request, listing: Listing) -> Stream:
    params = await read_params(request)
    rows = listing(await request.database(), params)
    try:
        head = await rows.head()
    except BaseException:
        await rows.aclose()
        raise
    body = json_stream(_body(rows, _head(head), params.boolean("att_encoding_info")))
    return Stream(body, on_close=rows.aclose)


async def _queries(request: Request, listing: Listing) -> Stream:
    request.require_json()
    queries = (await request.json_object()).get("queries")
    if not isinstance(queries, list) or not all(isinstance(query, dict) for query in queries):
        raise BadRequest("POST body must include `queries` parameter.")
    database = await request.database()
    asked = [request.params.with_query(query) for query in queries]
    listings = [listing(database, params) for params in asked]

    async def body() -> AsyncGenerator[bytes, None]:
        yield b'{"results":['
        for n, (rows, params) in enumerate(zip(listings, asked, strict=True)):
            if n:
                yield b","
            async with aclosing(rows):
                head = _head(await rows.head())
                async for data in _body(rows, head, params.boolean("att_encoding_info")):
                    yield data
        yield b"]}\n"

    return Stream(json_stream(body()))


def _head(head: Any) -> bytes:
    fields = {"total_rows": head.total_rows, "offset": head.offset}
    if head.update_seq is not None:
        fields["update_seq"] = head.update_seq
    return jsonio.dumps(fields)[:-1] + b',"rows":[\n'


async def _body(rows: AllDocs, head: bytes, encoding_info: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(rows):
        yield head
        separator = b""
        async with aclosing(rows.pages()) as pages:
            async for page in pages:
                if page:
                    yield separator + encode_rows(page, encoding_info)
                    separator = b",\n"
        yield b"\n]}\n"


def encode_rows(page: list[AllDocsRow], encoding_info: bool) -> bytes:
    """Rows as JSON, without the brackets around them."""
    for row in page:
        doc = row.get("doc")
        if doc is not None and "_attachments" in doc:
            row["doc"] = export(doc, encoding_info=encoding_info)
    return jsonio.dumps_trusted(page)[1:-1]


def _documents(database: Database, params: Params) -> AllDocs:
    keys = _keys(params)
    options: dict[str, Any] = {}
    if keys is not None:
        options["keys"] = keys
        if "key" in params or "startkey" in params or "endkey" in params:
            raise InvalidQuery("`keys` is incompatible with `key`, `start_key` and `end_key`")
    else:
        options.update(_range(params))
    options["skip"] = params.integer("skip", 0)
    options.setdefault("limit", params.integer("limit"))
    for name in ("descending", "include_docs", "conflicts", "attachments", "update_seq"):
        options[name] = params.boolean(name)
    if keys is not None and any(not isinstance(key, str) or key.startswith("_local/") for key in keys):
        return _mixed(database, keys, options)
    return database.all_docs(**options)


def _keys(params: Params) -> list[Any] | None:
    keys = params.json("keys")
    if keys is not None and not isinstance(keys, list):
        raise BadRequest("`keys` body member must be an array.")
    return keys


def _mixed(database: Database, keys: list[Any], options: dict[str, Any]) -> AllDocs:
    """Rows for keys of which some are of ``_local`` documents, which no listing has, or no ids at all."""
    skip, limit = options.pop("skip") or 0, options.pop("limit")
    asked = keys[::-1] if options.pop("descending") else keys
    asked = asked[skip:] if limit is None else asked[skip : skip + limit]
    options["keys"] = [key for key in asked if isinstance(key, str) and not key.startswith("_local/")]
    listed = database.all_docs(**options)

    async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
        async with listed:
            rows = aiter(listed)
            for key in asked:
                if not isinstance(key, str):
                    yield [{"key": key, "error": "not_found"}]
                elif key.startswith("_local/"):
                    yield [await _local_row(database, key, include_docs=options["include_docs"])]
                else:
                    yield [await anext(rows)]

    return AllDocs(listed.head, pages)


async def _local_row(database: Database, doc_id: str, *, include_docs: bool) -> AllDocsRow:
    try:
        doc = await database.get(doc_id)
    except NotFound:
        return {"key": doc_id, "error": "not_found"}
    row: AllDocsRow = {"id": doc_id, "key": doc_id, "value": {"rev": doc["_rev"]}}
    if include_docs:
        row["doc"] = doc
    return row


def _range(params: Params) -> dict[str, Any]:
    """``startkey``, ``endkey`` and ``inclusive_end``. Any value that is not a string sorts before all ids."""
    if "key" in params:
        key = params.json("key")
        return {"startkey": key, "endkey": key} if isinstance(key, str) else {"limit": 0}
    descending = params.boolean("descending")
    options: dict[str, Any] = {"inclusive_end": params.boolean("inclusive_end", True)}
    for names, is_lowest in ((("startkey", "start_key"), not descending), (("endkey", "end_key"), descending)):
        name = next((name for name in names if name in params), None)
        if name is None:
            continue
        key = params.json(name)
        if isinstance(key, str):
            options[names[0]] = key
        elif not is_lowest:
            options["limit"] = 0
    return options


def _designs(database: Database, params: Params) -> AllDocs:
    if "keys" in params:
        return _documents(database, params)
    asked = _range(params)
    descending = params.boolean("descending")
    first, last = asked.get("startkey"), asked.get("endkey")
    options: dict[str, Any] = {
        "skip": params.integer("skip", 0),
        "limit": asked.get("limit", params.integer("limit")),
        "descending": descending,
    }
    for name in ("include_docs", "conflicts", "attachments", "update_seq"):
        options[name] = params.boolean(name)
    if descending:
        # From above, the range begins after the last design document: at an id that no design document can have.
        options["startkey"] = _DESIGN_END if first is None else min(first, _DESIGN_END)
        options["endkey"] = _DESIGN_START if last is None else max(last, _DESIGN_START)
        options["inclusive_end"] = asked.get("inclusive_end", True) or last is None
    else:
        options["startkey"] = _DESIGN_START if first is None else max(first, _DESIGN_START)
        options["endkey"] = _DESIGN_END if last is None else min(last, _DESIGN_END)
        options["inclusive_end"] = asked.get("inclusive_end", True) and last is not None
    return database.all_docs(**options)


def _locals(database: Database, params: Params) -> AllDocs:
    """``_local`` documents are few, so the options are applied to the rows as they pass."""
    source = database.local_docs(include_docs=params.boolean("include_docs"))
    descending = params.boolean("descending")
    keys = _keys(params)
    if keys is not None:
        skip, limit = params.integer("skip", 0), params.integer("limit")
        options = {"skip": skip, "limit": limit, "descending": descending}
        return _mixed(database, keys, {**options, "include_docs": params.boolean("include_docs")})
    asked = _range(params)
    first, last = asked.get("startkey"), asked.get("endkey")
    inclusive = asked.get("inclusive_end", True)
    skip = params.integer("skip", 0) or 0
    limit = asked.get("limit", params.integer("limit"))

    async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
        passed = given = 0
        async with aclosing(source):
            async for page in _whole(source) if descending else source.pages():
                rows = [
                    row for row in page if _between(row["key"], first, last, inclusive=inclusive, descending=descending)
                ]
                drop = min(len(rows), skip - passed)
                passed += drop
                rows = rows[drop:] if limit is None else rows[drop : drop + limit - given]
                given += len(rows)
                yield rows

    return AllDocs(source.head, pages)


async def _whole(source: AllDocs) -> AsyncGenerator[list[AllDocsRow], None]:
    """All rows, the last one first."""
    yield [row async for row in source][::-1]


def _between(key: str, first: str | None, last: str | None, *, inclusive: bool, descending: bool) -> bool:
    low, high = (last, first) if descending else (first, last)
    if not inclusive and key == last:
        return False
    return (low is None or key >= low) and (high is None or key <= high)
