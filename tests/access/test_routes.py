"""Every route of the HTTP API, for every kind of access and of document, with every parameter that is read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from peerpouch.core.policy import Access
from peerpouch.couchapi.app import create_app
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.params import Params
from peerpouch.couchapi.routes import ROUTES
from peerpouch.couchapi.routing import Access as Kind
from peerpouch.couchapi.routing import Route
from peerpouch.couchapi.staging import Uploads
from peerpouch.exchange import Request
from peerpouch.transports.inprocess import AppExchange
from tests.access.test_matrix import revs_of
from tests.access.world import ABSENT, EVERY, LEFT, PEER, RED, SECRET, World, WorldRegistry, made

ACCESSES = {
    "limited": Access(select=RED),
    "limited-read-only": Access(write=False, select=RED),
    "limited-without-queries": Access(select=RED, queries=False),
    "nothing": Access(read=False, write=False),
}

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/{db}"): lambda doc: [{"_id": doc, "team": "red"}, {"_id": doc, "_deleted": True}],
    ("PUT", "/{db}"): lambda doc: [None],
    ("POST", "/_dbs_info"): lambda doc: [{"keys": ["db", "other"]}],
    ("POST", "/{db}/_changes"): lambda doc: [{}, {"doc_ids": [doc]}],
    ("POST", "/{db}/_bulk_docs"): lambda doc: [{"docs": [{"_id": doc, "team": "red"}]}],
    ("POST", "/{db}/_bulk_get"): lambda doc: [{"docs": [{"id": doc}, {"id": "visible"}]}],
    ("POST", "/{db}/_revs_diff"): lambda doc: [{doc: ["1-a"]}],
    ("POST", "/{db}/_missing_revs"): lambda doc: [{doc: ["1-a"]}],
    ("POST", "/{db}/_ensure_full_commit"): lambda doc: [None],
    ("PUT", "/{db}/_security"): lambda doc: [{"admins": {"names": ["me"]}}],
    ("PUT", "/{db}/_revs_limit"): lambda doc: [1],
    ("PUT", "/{db}/_purged_infos_limit"): lambda doc: [1],
    ("POST", "/{db}/_purge"): lambda doc: [{doc: ["1-a"]}],
    ("POST", "/{db}/_compact"): lambda doc: [None],
    ("POST", "/{db}/_compact/{design}"): lambda doc: [None],
    ("POST", "/{db}/_view_cleanup"): lambda doc: [None],
    **{("POST", f"/{{db}}/_{name}_docs"): lambda doc: [{}, {"keys": [doc]}] for name in ("all", "design", "local")},
    **{
        ("POST", f"/{{db}}/_{name}_docs/queries"): lambda doc: [{"queries": [{}, {"include_docs": True}]}]
        for name in ("all", "design", "local")
    },
    ("POST", "/{db}/_find"): lambda doc: [{"selector": {"_id": doc}}, {"selector": {}, "execution_stats": True}],
    ("POST", "/{db}/_explain"): lambda doc: [{"selector": {"_id": doc}}],
    ("POST", "/{db}/_index"): lambda doc: [{"index": {"fields": ["word"]}}],
    ("POST", "/{db}/_index/_bulk_delete"): lambda doc: [{"docids": ["_design/app"]}],
    ("POST", "/{db}/_design/{design}/_view/{view}"): lambda doc: [{}, {"keys": ["SECR" + "ET", "plain"]}],
    ("POST", "/{db}/_design/{design}/_view/{view}/queries"): lambda doc: [{"queries": [{}, {"include_docs": True}]}],
    **{
        (method, f"/{{db}}/_design/{{design}}/_update{rest}"): lambda doc: [{"team": "red"}]
        for method in ("POST", "PUT")
        for rest in ("", "/{function}", "/{function}/{doc*}")
    },
    ("POST", "/{db}/_temp_view"): lambda doc: [{"map": "function (doc) { emit(doc) }"}],
    ("PUT", "/{db}/_upload/{upload}"): lambda doc: [None],
    ("POST", "/{db}/{doc}"): lambda doc: [{"team": "red"}],
    ("PUT", "/{db}/{doc}"): lambda doc: [{"team": "red"}, {"_deleted": True}],
    ("PUT", "/{db}/_design/{design}"): lambda doc: [{"views": {}}],
    ("PUT", "/{db}/_local/{local}"): lambda doc: [{"mine": True}],
    ("PUT", "/{db}/{doc}/{attachment*}"): lambda doc: [None],
    ("PUT", "/{db}/_design/{design}/{attachment*}"): lambda doc: [None],
}
"""Bodies of the routes that take one. A route that takes one and is not here fails the test."""

WITHOUT_BODY = {"GET", "HEAD", "DELETE", "COPY"}

TRIED = ("true", "false", "1")
PLAIN = (
    "att_encoding_info attachments batch bookmark conflicts count ddoc deleted_conflicts descending execution_stats "
    "group include_docs inclusive_end latest local_seq meta name new_edits next reduce revs revs_info seq_interval "
    "skip limit group_level update_seq w full_commit docids queries index sort fields use_index r stable "
    "length"
)
PARAMETERS: dict[str, tuple[str, ...]] = dict.fromkeys(PLAIN.split(), ())
PARAMETERS |= {
    "last-event-id": ("0",),
    "partitioned": (),
    "doc": ("{doc}",),
    "offset": ("0", "5"),
    "style": ("all_docs",),
    "feed": ("continuous", "eventsource"),
    "heartbeat": ("5",),
    "ahead": ("4096",),
    "timeout": ("1",),
    "since": ("now", "1", "5-abc"),
    "filter": ("_design", "app/all", "_doc_ids", "_selector", "_view"),
    "doc_ids": ('["{doc}"]',),
    "selector": ('{{"word":{{"$regex":"S"}}}}',),
    "open_revs": ("all", '["{rev}"]'),
    "rev": ("{rev}",),
    "atts_since": ('["{rev}"]',),
    "key": ('"{doc}"', '"SECR"'),
    "keys": ('["{doc}"]',),
    **dict.fromkeys(("startkey", "endkey", "start_key", "end_key"), ('"{doc}"',)),
    **dict.fromkeys(("startkey_docid", "endkey_docid", "start_key_doc_id", "end_key_doc_id"), ("{doc}",)),
    "update": ("false", "lazy"),
    "stale": ("ok", "update_after"),
}
"""Every parameter that a handler looks at, and values beside the common ones; one that is not here fails the test."""


def test_every_route_with_a_body_is_tried() -> None:
    taking = {(route.method, route.pattern) for route in ROUTES if route.method not in WITHOUT_BODY}
    assert taking == set(BODIES)


@contextmanager
def recorded(names: set[str]) -> Iterator[None]:
    """Note which parameters handlers look at."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("text", "boolean", "integer", "json", "strings", "__contains__"):
            original = getattr(Params, method)

            def wrapped(self: Params, name: str, *rest: Any, original: Any = original, **more: Any) -> Any:
                names.add(name)
                return original(self, name, *rest, **more)

            patch.setattr(Params, method, wrapped)
        yield


class Visitor:
    """Sends requests as a peer."""

    def __init__(self, world: World, access: Access) -> None:
        self._exchange = AppExchange(create_app(WorldRegistry(world, access), limits=Limits(uploads=Uploads())), PEER)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        content = b"mine" if body is None and method == "PUT" else None if body is None else json.dumps(body).encode()
        # The same name for every request, as answers are compared.
        sent = {
            "host": "peer",
            "x-couch-request-id": "mine",
            "content-type": "application/json",
            "destination": "copied",
            **(headers or {}),
        }
        request = Request(method, f"http://peer{path}", headers=sent, content=content)
        response = await self._exchange.handle_async_request(request)
        try:
            data = b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()
        shown = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        return response.status_code, shown + "\n\n" + data.decode(errors="replace")


def path_of(route: Route, doc_id: str) -> str:
    values = {
        "db": "db",
        "doc": doc_id,
        "design": "app",
        "local": "owner",
        "attachment*": "note",
        "view": "words",
        "upload": "0" * 32,
    }
    path = route.pattern
    for name, value in {**values, "name": "words"}.items():
        path = path.replace("{" + name + "}", value)
    return path


def queries(world: World, doc_id: str, names: set[str]) -> Iterator[str]:
    revs = revs_of(world, doc_id)
    for name in sorted(names):
        for value in (*TRIED, *PARAMETERS[name]):
            for rev in revs if "{rev}" in value else revs[:1]:
                filled = value.replace("{{", "{").replace("}}", "}").replace("{doc}", doc_id).replace("{rev}", rev)
                live = name == "feed" or (name == "heartbeat")
                more = "&timeout=1" if live and name != "heartbeat" else ""
                if name == "heartbeat":
                    more = "&limit=1"
                yield f"?{name}={quote(filled)}{more}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made() as world:
        yield world


@pytest.mark.parametrize("kind", sorted(ACCESSES))
async def test_nothing_hidden_is_given_and_nothing_hidden_is_changed_by_any_route(world: World, kind: str) -> None:
    access = ACCESSES[kind]
    before = await world.hidden_state()
    visitor = Visitor(world, access)
    asked: set[str] = set()
    for route in ROUTES:
        for doc_id in EVERY if "{doc}" in route.pattern else ("hidden", LEFT, "conflicted"):
            make = BODIES.get((route.method, route.pattern))
            for body in make(doc_id) if make else [None]:
                names: set[str] = set()
                with recorded(names):
                    await check(visitor, route, access, path_of(route, doc_id), body)
                asked |= names
                # Some parameters are looked at only if another one is there.
                if route.method in ("GET", "POST", "COPY", "DELETE") and doc_id in ("hidden", "conflicted"):
                    for query in queries(world, doc_id, names & PARAMETERS.keys()):
                        with recorded(asked):
                            await check(visitor, route, access, path_of(route, doc_id) + query, body)
    unknown = asked - PARAMETERS.keys()
    assert not unknown, f"parameters that are not classified: {sorted(unknown)}"
    assert await world.hidden_state() == before


@pytest.mark.parametrize("limited", [True, False], ids=["gate", "twin"])
async def test_a_feed_brings_along_nothing_hidden(world: World, limited: bool) -> None:
    access = ACCESSES["limited"] if limited else Access()
    seqs = {row["id"]: row["seq"] async for row in world.visit(access).changes()}
    brought = set()
    for since in ["0", *seqs.values()]:
        query = f"?feed=continuous&style=all_docs&since={since}&timeout=1&ahead=4096"
        _, answer = await Visitor(world, access).ask("GET", f"/db/_changes{query}")
        assert not limited or SECRET not in answer
        rows = [json.loads(line) for line in answer.partition("\n\n")[2].splitlines() if line]
        brought |= {doc["_id"] for row in rows for doc in row.get("ahead", ())}
    assert "conflicted" in brought  # with the leaf that may be seen, or with both
    assert ("hidden" in brought or "left" in brought) != limited


async def check(visitor: Visitor, route: Route, access: Access, path: str, body: Any) -> None:
    status, answer = await visitor.ask(route.method, path, body)
    where = (route.method, path, body, status)
    assert status != 500, (where, answer)
    assert SECRET not in answer.replace("SECR" + "ET", "", 1 if "SECR" in path + str(body) else 0), (where, answer)
    if route.access is Kind.ADMIN:
        assert status >= 400 or "_bulk_delete" in path or route.method == "COPY", (where, answer)
    if not access.read and not access.write and route.pattern.startswith("/{db}") and "_purged_infos" not in path:
        assert status >= 400 or "_local" in path or '"error"' in answer or '"rows":[\n\n]' in answer, (where, answer)


async def test_without_the_selector_the_same_routes_give_what_is_hidden_away(world: World) -> None:
    visitor = Visitor(world, Access())
    found = []
    for route in ROUTES:
        if route.method == "GET" and "{doc}" in route.pattern:
            status, answer = await visitor.ask("GET", path_of(route, "hidden"))
            found.append(status == 200 and SECRET in answer)
    assert found == [True, True]
    status, answer = await visitor.ask("POST", "/db/_design/app/_update/echo/hidden")
    assert SECRET in answer


async def test_update_functions_are_those_that_can_be_seen_and_see_what_can_be_seen(world: World) -> None:
    visitor = Visitor(world, Access(select=RED))
    hidden = await visitor.ask("POST", "/db/_design/app/_update/echo/visible")
    assert hidden == await visitor.ask("POST", "/db/_design/absent/_update/echo/visible")
    assert hidden[0] == 404
    echo = "function (doc, req) { return [doc, {json: [doc, req]}]; }"
    await world.owner.put({"_id": "_design/open", "team": "red", "updates": {"echo": echo}})
    for doc_id in ("hidden", LEFT, "conflicted", "_design/app", "_local/owner"):
        _, answer = await visitor.ask("POST", f"/db/_design/open/_update/echo/{doc_id}")
        assert SECRET not in answer, doc_id
    _, answer = await visitor.ask("POST", "/db/_design/open/_update/echo")
    told = json.loads(answer.partition("\n\n")[2])[1]
    assert told["userCtx"] == {"db": "db", "name": None, "roles": []}
    assert told["secObj"] == {}
    assert (await Visitor(world, Access(write=False)).ask("POST", "/db/_design/open/_update/echo"))[0] == 403


PATHS = (
    "/db/hidden", "/db//hidden", "//db/hidden", "/db/./hidden", "/db/x/../hidden", "/db/%68idden", "/db/hidden/",
    "/db/hidden%2Fnote", "/db/hidden/note", "/db/hidden//note", "/db/visible/../hidden", "/db/visible/..%2fhidden",
    "/db/visible%2f..%2fhidden", "/db/%2e%2e/db/hidden", "/db/_design/app", "/db/_design%2Fapp", "/db/%5fdesign/app",
    "/db/%5Fdesign%2Fapp", "/db//_design//app", "/db/_design/app/_view/words", "/db/_local/owner",
    "/db/_local%2Fowner", "/db/%5Flocal/owner", "/db/_local//owner", "/db/_local/../_local/owner", "/db/_LOCAL/owner",
    "/db/_local/peerpouch-guests", "/db/_local_docs?include_docs=true", "/../db/hidden", "/db/hidden%00",
    "/db/hidden?rev=1-x&rev=", "/db/_all_docs?key=%22hidden%22&include_docs=true", "/db/_design/app/note",
    "/db/hidden;x", "/db/%2fhidden", "/db%2fhidden", "/db/hidden%3Frev=1",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_no_spelling_of_a_path_leads_around_the_gate(world: World, path: str) -> None:
    before = await world.hidden_state()
    visitor = Visitor(world, Access(select=RED))
    for method in ("GET", "PUT", "DELETE", "COPY", "POST"):
        for headers in (
            {},
            {"destination": "hidden"},
            {"destination": "_design%2Fapp"},
            {"destination": "_local/owner"},
        ):
            _, answer = await visitor.ask(method, path, {"team": "red"} if method in ("PUT", "POST") else None, headers)
            assert SECRET not in answer
    assert await world.hidden_state() == before


async def test_over_http_hidden_and_absent_documents_give_equal_answers(world: World) -> None:
    visitor = Visitor(world, Access(select=RED))
    for query in ("", "?revs=true", "?open_revs=all", "?meta=true", "?attachments=true", "?latest=true&rev=1-a"):
        answers = [await visitor.ask("GET", f"/db/{doc_id}{query}") for doc_id in ("hidden", "deleted-hidden", ABSENT)]
        assert answers[0] == answers[1] == answers[2]
    attachments = [await visitor.ask("GET", f"/db/{doc_id}/note") for doc_id in ("hidden", ABSENT)]
    assert attachments[0] == attachments[1]
