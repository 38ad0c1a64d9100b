"""Handlers of Mango queries and of views."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.couchapi.exporting import export
from peerpouch.couchapi.listing import read_params
from peerpouch.couchapi.params import Params
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, Stream, json_response, json_stream
from peerpouch.errors import BadRequest, InvalidQuery, InvalidSelector, NotFound, PeerPouchError
from peerpouch.ports import Database, Document, ViewResult

DEFAULT_LIMIT = 25
"""Documents that ``_find`` gives when nobody says how many: CouchDB's default."""

_KEYS = {"key": "key", "start_key": "startkey", "startkey": "startkey", "end_key": "endkey", "endkey": "endkey"}

_ROWS = 200
"""Rows of a view that are encoded at a time, so that other requests get their turn."""


async def find(request: Request) -> Response:
    """``POST /db/_find``."""
    request.require_json()
    body = await request.json_object()
    options = _mango(body)
    database = await request.database()
    bookmark = body.get("bookmark")
    if bookmark is not None and not isinstance(bookmark, str):
        raise InvalidQuery("`bookmark` must be a string.")
    if bookmark in ("nil", ""):
        bookmark = None
    stats = Params({}, body).boolean("execution_stats")
    return json_response(await database.find(**options, bookmark=bookmark, execution_stats=stats))


async def explain(request: Request) -> Response:
    """``POST /db/_explain``."""
    request.require_json()
    options = _mango(await request.json_object())
    return json_response(await (await request.database()).explain(**options))


_FIND_KEYS: Final = frozenset(
    (
        *("selector", "use_index", "bookmark", "limit", "skip", "sort", "fields", "partition", "r", "conflicts"),
        *("stale", "update", "stable", "execution_stats", "allow_fallback"),
    )
)
_INDEX_KEYS: Final = frozenset(["index", "type", "name", "ddoc", "w", "partitioned", "partial_filter_selector"])
_DEFINITION_KEYS: Final = frozenset(("fields", "partial_filter_selector"))


def _known(body: Mapping[str, Any], keys: frozenset[str]) -> None:
    for key in body:
        if key not in keys:
            raise BadRequest(f"Invalid key {key} for this request.")


def _mango(body: dict[str, Any]) -> dict[str, Any]:
    _known(body, _FIND_KEYS)
    if "selector" not in body:
        raise BadRequest("Missing required key: selector")
    selector = body["selector"]
    if not isinstance(selector, dict):
        raise InvalidSelector("Selector must be a JSON object.")
    params = Params({}, body)
    # An answer is always up to date, and of one server: these are checked, and change nothing.
    params.integer("r", least=1)
    params.boolean("stable")
    params.boolean("update", True)
    if body.get("stale", False) not in (False, "ok", "false"):
        raise InvalidQuery("`stale` must be ok or false.")
    options: dict[str, Any] = {
        "selector": selector,
        "fields": _fields(body),
        "sort": body.get("sort") or None,
        "limit": params.integer("limit", DEFAULT_LIMIT),
        "skip": params.integer("skip", 0),
        "use_index": body.get("use_index") or None,
        "conflicts": params.boolean("conflicts"),
    }
    if options["sort"] is not None and not isinstance(options["sort"], list):
        raise BadRequest("`sort` must be an array")
    if not isinstance(options["use_index"], (str, list, type(None))):
        raise BadRequest("`use_index` must be a string or an array of strings")
    return options


def _fields(body: dict[str, Any]) -> list[str] | None:
    fields = body.get("fields")
    if fields is None or fields == "all_fields":
        return None
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise BadRequest("`fields` must be an array of strings")
    return fields or None


async def create_index(request: Request) -> Response:
    """``POST /db/_index``."""
    request.require_json()
    body = await request.json_object()
    _known(body, _INDEX_KEYS)
    index = body.get("index")
    if not isinstance(index, dict):
        raise BadRequest("Missing required key: index")
    _known(index, _DEFINITION_KEYS)
    fields = index.get("fields")
    if not isinstance(fields, list) or not fields:
        raise BadRequest("`fields` of an index must be an array that is not empty")
    if body.get("type", "json") != "json":
        raise BadRequest("Indexes of the type json are supported, others are not")
    partial = index.get("partial_filter_selector", body.get("partial_filter_selector"))
    if partial is not None and not isinstance(partial, dict):
        raise BadRequest("`partial_filter_selector` must be a JSON object")
    params = Params({}, body)
    database = await request.database()
    result = await database.create_index(
        fields, name=params.text("name"), ddoc=params.text("ddoc"), partial_filter_selector=partial
    )
    return json_response(result)


async def get_indexes(request: Request) -> Response:
    """``GET /db/_index``."""
    skip, limit = request.params.integer("skip", 0) or 0, request.params.integer("limit", least=1)
    listed = await (await request.database()).get_indexes()
    end = None if limit is None else skip + limit
    return json_response({**listed, "indexes": listed["indexes"][skip:end]})


async def delete_index(request: Request) -> Response:
    """``DELETE /db/_index/{ddoc}/json/{name}``, with or without ``_design/`` before the design document."""
    values = request.values
    # PouchDB writes `_design%2Fname` as one part of the path.
    design = "_design/" + values["design"].removeprefix("_design/")
    await (await request.database()).delete_index(design, values["name"])
    return json_response({"ok": True})


async def no_index(request: Request) -> Response:
    """What lies below ``_index`` and is no index's path."""
    await request.database()
    raise NotFound("missing")


async def delete_indexes(request: Request) -> Response:
    """``POST /db/_index/_bulk_delete``: by the ids of design documents. What else is in these stays."""
    request.require_json()
    ids = Params({}, await request.json_object()).strings("docids")
    if ids is None:
        raise BadRequest("Missing required key: docids")
    database = await request.database()
    indexes = (await database.get_indexes())["indexes"]
    done: list[Document] = []
    failed: list[Document] = []
    for doc_id in ("_design/" + name.removeprefix("_design/") for name in ids):
        try:
            names = [index["name"] for index in indexes if index["ddoc"] == doc_id]
            if not names:
                raise NotFound
            for name in names:
                await database.delete_index(doc_id, name)
            done.append({"id": doc_id, "ok": True})
        except PeerPouchError as error:
            failed.append({"id": doc_id, "error": error.error})
    return json_response({"success": done, "fail": failed})


async def design_info(request: Request) -> Response:
    """``GET /db/_design/{ddoc}/_info``: of the views' index. It is brought up to date when a view is asked, and is
    in the database's own file."""
    database = await request.database()
    doc = await database.get("_design/" + request.values["design"])
    facts = await database.info()
    told = {name: doc.get(name) for name in ("language", "options", "views")}
    index = {
        "signature": hashlib.sha256(jsonio.canonical(told)).hexdigest()[:32],
        "language": doc.get("language", "javascript"),
        "update_seq": facts["update_seq"],
        "purge_seq": facts["purge_seq"],
        "sizes": {"file": 0, "external": 0, "active": 0},
        "updates_pending": {"minimum": 0, "preferred": 0, "total": 0},
        "updater_running": False,
        "compact_running": False,
        "waiting_clients": 0,
        "waiting_commit": False,
    }
    return json_response({"name": request.values["design"], "view_index": index})


async def temporary_view(request: Request) -> Response:
    """``POST /db/_temp_view``, which CouchDB has no more."""
    await request.database()
    gone = {"error": "gone", "reason": "Temporary views are not supported in CouchDB"}
    return json_response(gone, status=410)


async def view(request: Request) -> Stream:
    """``GET`` and ``POST /db/_design/{ddoc}/_view/{view}``."""
    params = await read_params(request)
    result = await _query(await request.database(), request, params)
    return Stream(json_stream(_rows(result, params.boolean("att_encoding_info"))))


async def view_queries(request: Request) -> Stream:
    """``POST /db/_design/{ddoc}/_view/{view}/queries``."""
    request.require_json()
    queries = (await request.json_object()).get("queries")
    if not isinstance(queries, list) or not all(isinstance(query, dict) for query in queries):
        raise BadRequest("POST body must include `queries` parameter.")
    database = await request.database()
    asked = [request.params.with_query(query) for query in queries]
    results = [await _query(database, request, params) for params in asked]

    async def body() -> AsyncGenerator[bytes, None]:
        yield b'{"results":['
        for n, (result, params) in enumerate(zip(results, asked, strict=True)):
            if n:
                yield b","
            async for data in _rows(result, params.boolean("att_encoding_info")):
                yield data
        yield b"]}\n"

    return Stream(json_stream(body()))


async def _query(database: Database, request: Request, params: Params) -> ViewResult:
    options: dict[str, Any] = {
        "inclusive_end": params.boolean("inclusive_end", True),
        "group_level": params.integer("group_level"),
        "skip": params.integer("skip", 0),
        "limit": params.integer("limit"),
    }
    for name in ("group", "descending", "include_docs", "conflicts", "attachments", "update_seq"):
        options[name] = params.boolean(name)
    for spelling, name in _KEYS.items():
        if spelling in params:
            options[name] = params.json(spelling)
    for name, other in (("startkey_docid", "start_key_doc_id"), ("endkey_docid", "end_key_doc_id")):
        options[name] = params.text(name, params.text(other))
    keys = params.json("keys")
    if keys is not None and not isinstance(keys, list):
        raise InvalidQuery("`keys` parameter must be an array.")
    options["keys"] = keys
    if "reduce" in params:
        options["reduce"] = params.boolean("reduce")
    options["update"] = _update(params)
    return await database.query(f"{request.values['design']}/{request.values['view']}", **options)


def _update(params: Params) -> str:
    stale = params.text("stale")
    if stale not in (None, "ok", "update_after"):
        raise InvalidQuery("Invalid value for `stale`.")
    default = {"ok": "false", "update_after": "lazy"}.get(stale or "", "true")
    if "update" not in params:
        return default
    try:
        value = params.text("update")
    except InvalidQuery:
        value = "true" if params.boolean("update") else "false"
    if value not in ("true", "false", "lazy"):
        raise InvalidQuery("Invalid value for `update`.")
    return value


async def _rows(result: ViewResult, encoding_info: bool) -> AsyncGenerator[bytes, None]:
    head = {name: value for name, value in result.items() if name != "rows"}
    yield jsonio.dumps(head)[:-1] + (b"," if head else b"") + b'"rows":[\n'
    rows = result["rows"]
    for at in range(0, len(rows), _ROWS):
        page = rows[at : at + _ROWS]
        for row in page:
            doc = row.get("doc")
            if doc is not None and "_attachments" in doc:
                row["doc"] = export(doc, encoding_info=encoding_info)
        # Values of a view come from functions, and may be anything: they are checked.
        yield (b",\n" if at else b"") + jsonio.dumps(page)[1:-1]
    yield b"\n]}\n"
