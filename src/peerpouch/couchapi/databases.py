"""Handlers of a database: its life, its settings, its maintenance."""

from __future__ import annotations

from peerpouch.couchapi.checks import check_document, check_revs
from peerpouch.couchapi.documents import created
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, header, json_response
from peerpouch.couchapi.server import describe
from peerpouch.errors import BadRequest, NotFound, NotSupported
from peerpouch.ports import Database

_OK = {"ok": True}

_PURGED_INFOS = "_local/peerpouch-purged-infos"

MAX_PURGED_DOCUMENTS = 100
MAX_PURGED_REVISIONS = 1000
"""CouchDB's own limits for one request of ``_purge``."""


async def create(request: Request) -> Response:
    name = request.values["db"]
    if request.params.boolean("partitioned"):
        raise NotSupported("Partitioned databases are not supported.")
    await request.registry.create(name, request.principal)
    return json_response(_OK, status=201, headers=[header("location", request.url(name))])


async def delete(request: Request) -> Response:
    if "rev" in request.params:
        raise BadRequest(
            "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?"
        )
    await request.registry.delete(request.values["db"], request.principal)
    return json_response(_OK)


async def info(request: Request) -> Response:
    database = await request.database()
    facts = describe(request.values["db"], await database.info())
    if request.limits.uploads is not None:
        facts["uploads"] = 1
    return json_response(facts)


async def post(request: Request) -> Response:
    """``POST /db``: write a document, whose id is made up if it has none."""
    request.require_json()
    doc = check_document(await request.json())
    database = await request.database()
    return created(request, await database.post(doc))


async def get_security(request: Request) -> Response:
    return json_response(await (await request.database()).get_security())


async def put_security(request: Request) -> Response:
    security = await request.json_object()
    await (await request.database()).put_security(security)
    return json_response(_OK)


async def get_revs_limit(request: Request) -> Response:
    return json_response(await (await request.database()).get_revs_limit())


async def put_revs_limit(request: Request) -> Response:
    limit = await request.json()
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest("`revs_limit` must be a positive integer")
    await (await request.database()).put_revs_limit(limit)
    return json_response(_OK)


async def get_purged_infos_limit(request: Request) -> Response:
    """CouchDB keeps this many purges for its own replicas and indexes. Here indexes take part in the purge itself, so
    the number is only remembered."""
    try:
        kept = await (await request.database()).get(_PURGED_INFOS)
    except NotFound:
        return json_response(1000)
    return json_response(kept["limit"])


async def put_purged_infos_limit(request: Request) -> Response:
    limit = await request.json()
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest("`purged_infos_limit` must be positive integer")
    database = await request.database()
    await _only_admins(database)
    try:
        doc = await database.get(_PURGED_INFOS)
    except NotFound:
        doc = {"_id": _PURGED_INFOS}
    await database.put({**doc, "limit": limit})
    return json_response(_OK)


async def _only_admins(database: Database) -> None:
    # Purging nothing is refused to whom purging is.
    await database.purge({})


async def compact(request: Request) -> Response:
    """``POST /db/_compact``, also of one design document's views: the indexes are in the same file."""
    request.require_json()
    await (await request.database()).compact()
    return json_response(_OK, status=202)


async def view_cleanup(request: Request) -> Response:
    await (await request.database()).view_cleanup()
    return json_response(_OK, status=202)


async def ensure_full_commit(request: Request) -> Response:
    """Every acknowledged write is on disk already."""
    request.require_json()
    facts = await (await request.database()).info()
    return json_response({**_OK, "instance_start_time": facts["instance_start_time"]}, status=201)


async def purge(request: Request) -> Response:
    request.require_json()
    revs = check_revs(await request.json_object())
    if len(revs) > MAX_PURGED_DOCUMENTS:
        raise BadRequest("Exceeded maximum number of documents.")
    if sum(map(len, revs.values())) > MAX_PURGED_REVISIONS:
        raise BadRequest("Exceeded maximum number of revisions.")
    purged = await (await request.database()).purge(revs)
    return json_response({"purge_seq": None, "purged": {**{doc_id: [] for doc_id in revs}, **purged}}, status=201)
