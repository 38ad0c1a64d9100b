"""A public hub over HTTP: what strangers may do, what attackers may not, and what happens without the defence.

The twin of an attack is the same requests to a plain database, which everybody of an admin party may use as a hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from peerpouch.errors import Forbidden
from peerpouch.hub import shares, signals
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.identity import proofs
from peerpouch.identity.encoding import to_text
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.node.invitations import Invitations
from peerpouch.ports import SystemClock
from tests.node.support import Person, eventually

Json = Any


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    """A server with an administrator, a public hub, and a plain database that is used as a hub."""
    async with peerpouch.Server(tmp_path / "server", port=0, admins={"root": "secret"}, hub="hub") as server:
        async with httpx2.AsyncClient(base_url=server.url, auth=("root", "secret"), trust_env=False) as http:
            assert (await http.put("plain")).status_code == 201
            assert (await http.put("plain/_security", json={})).status_code == 200
        yield server


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A server without an administrator, and a client of it."""
    async with (
        peerpouch.Server(folder, port=0, hub="hub", **options) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False) as http,
    ):
        yield http


@dataclass
class Stranger:
    """Somebody without an account, who speaks HTTP by hand."""

    http: httpx2.AsyncClient
    db: str
    identity: Identity = field(default_factory=Identity.ephemeral)
    session: HubSession = field(default_factory=HubSession)
    hub: tuple[bytes, int] | None = None
    renewal: int = 0

    async def ask(self, method: str, path: str = "", *, proof: str = "both", **options: Any) -> httpx2.Response:
        headers = {**options.pop("headers", {}), **self.proof(proof)}
        response = await self.http.request(method, self.db + path, headers=headers, **options)
        if proofs.HUB_HEADER in response.headers:
            self.hub = proofs.read_announcement(response.headers[proofs.HUB_HEADER])
        return response

    def proof(self, which: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.hub is not None and which in ("both", "session"):
            headers[proofs.SESSION_HEADER] = proofs.prove_session(self.session.key, *self.hub)
        if self.hub is not None and which in ("both", "reply"):
            headers[proofs.REPLY_HEADER] = to_text(self.session.secret)
        return headers

    def share(self, uuid: str = "uuid", **changes: Any) -> Json:
        self.renewal += 1
        document = shares.to_document(
            self.identity,
            self.session.key,
            database=shares.database_digest(self.identity.key, uuid),
            name="Notes",
            info=None,
            lease=changes.pop("lease", 90),
            renewal=changes.pop("renewal", self.renewal),
            now=1_700_000_000_000,  # a clock that is years behind
        )
        return {**document, **changes}

    async def publish(self, uuid: str = "uuid") -> Json:
        document = self.share(uuid)
        response = await self.ask("PUT", f"/{document['_id']}", json=document)
        assert response.status_code == 201, response.text
        return {**document, "_rev": response.json()["rev"]}

    def offer(self, share: Json) -> Json:
        return signals.make_offer(
            self.identity,
            shares.from_document(share),
            {"sdp": "v=0"},
            session=self.session.key.id,
            reply_to=self.session.reply_to,
            nonce=signals.new_nonce(Identity.ephemeral().key.raw[:17]),
            time=1_700_000_000_000,
        ).document

    async def send(self, share: Json) -> Json:
        document = self.offer(share)
        response = await self.ask("PUT", f"/{document['_id']}", json=document)
        assert response.status_code == 201, response.text
        return {**document, "_rev": response.json()["rev"]}

    async def changes(self, **params: Any) -> list[str]:
        response = await self.ask("GET", "/_changes", params={"include_docs": "true", **params})
        return [row["id"] for row in response.json()["results"]]


@pytest.fixture
async def strangers(server: peerpouch.Server) -> AsyncIterator[Any]:
    """Makes strangers; each has made a first request, and so knows the hub's key."""
    async with AsyncExitStack() as stack:

        async def make(db: str = "hub") -> Stranger:
            http = httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30)
            stranger = Stranger(await stack.enter_async_context(http), db)
            assert (await stranger.ask("GET")).status_code == 200
            return stranger

        yield make


async def test_strangers_announce_renew_find_and_withdraw_shares(strangers: Any) -> None:
    alice, bob = await strangers(), await strangers()
    share = await alice.publish()
    listed = (await bob.ask("GET", "/_all_docs", proof="none", params={"include_docs": "true"})).json()
    assert [row["doc"] for row in listed["rows"]] == [share]
    assert listed["total_rows"] == 1
    renewed = {**alice.share(), "_rev": share["_rev"]}
    (row,) = (await alice.ask("POST", "/_bulk_docs", json={"docs": [renewed]})).json()
    assert row["ok"]
    assert await bob.changes() == [share["_id"]]
    gone = await alice.ask("DELETE", f"/{share['_id']}", params={"rev": row["rev"]})
    assert gone.status_code == 200
    assert (await bob.ask("GET", f"/{share['_id']}")).status_code == 404
    (tombstone,) = (await bob.ask("GET", "/_changes")).json()["results"]
    assert (tombstone["id"], tombstone["deleted"]) == (share["_id"], True)


async def test_a_signal_is_for_its_two_ends_and_for_nobody_else(strangers: Any) -> None:
    alice, bob, eve = await strangers(), await strangers(), await strangers()
    share = await alice.publish()
    signal = await bob.send(share)
    path = f"/{signal['_id']}"
    for reader, proof in ((alice, "session"), (bob, "reply")):
        assert (await reader.ask("GET", path, proof=proof)).json() == signal
        assert signal["_id"] in await reader.changes()
    for proof in ("both", "none"):
        assert (await eve.ask("GET", path, proof=proof)).status_code == 404
        assert (await eve.ask("GET", path, proof=proof, params={"rev": signal["_rev"]})).status_code == 404
    assert await eve.changes() == [share["_id"]]
    assert await eve.changes(style="all_docs", descending="true") == [share["_id"]]
    # Answered by its recipient, read by its sender, deleted by its sender.
    answered = {**{name: signal[name] for name in signal if name != "offer"}, "answer": to_text(bytes(80))}
    rev = (await alice.ask("PUT", path, json=answered)).json()["rev"]
    assert (await bob.ask("GET", path)).json()["answer"] == answered["answer"]
    assert (await bob.ask("DELETE", path, params={"rev": rev})).status_code == 200
    assert (await bob.ask("GET", path)).json()["reason"] == "missing"  # without a tombstone
    assert await alice.changes() == [share["_id"]]


async def test_a_live_feed_brings_its_own_signals_only(strangers: Any) -> None:
    alice, bob, eve = await strangers(), await strangers(), await strangers()
    share = await alice.publish()
    seen: dict[str, list[str]] = {"alice": [], "eve": []}

    async def follow(name: str, who: Stranger) -> None:
        params = {"feed": "continuous", "since": "now", "heartbeat": "1000"}
        headers = who.proof("both")
        async with who.http.stream("GET", "hub/_changes", params=params, headers=headers) as response:
            seen[name].append("open")
            async for line in response.aiter_lines():
                if line:
                    seen[name].append(line)

    feeds = [asyncio.create_task(follow("alice", alice)), asyncio.create_task(follow("eve", eve))]
    await eventually(lambda: all(seen.values()))
    signal = await bob.send(share)
    other = await bob.publish("another")
    await eventually(lambda: all(other["_id"] in "".join(lines) for lines in seen.values()))
    assert signal["_id"] in "".join(seen["alice"])
    assert "signal:" not in "".join(seen["eve"])
    for feed in feeds:
        feed.cancel()


# Attacks, each with the same on a plain hub


async def _attack(strangers: Any, db: str) -> tuple[Stranger, Stranger, Stranger, Json, Json]:
    alice, bob, eve = await strangers(db), await strangers(db), await strangers(db)
    share = await alice.publish()
    return alice, bob, eve, share, await bob.send(share)


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_signals_of_others_are_not_read_by_any_way(strangers: Any, db: str, works: bool) -> None:
    _, _, eve, _, signal = await _attack(strangers, db)
    selector = {"_id": {"$gt": "signal:"}}
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/{signal['_id']}", {}),
        ("GET", f"/{signal['_id']}", {"params": {"open_revs": "all"}, "headers": {"accept": "application/json"}}),
        ("GET", "/_all_docs", {"params": {"include_docs": "true"}}),
        ("GET", "/_all_docs", {"params": {"startkey": '"signal:"', "endkey": '"signal;"'}}),
        ("POST", "/_all_docs", {"json": {"keys": [signal["_id"]], "include_docs": True}}),
        ("POST", "/_all_docs/queries", {"json": {"queries": [{"startkey": "signal:"}]}}),
        ("GET", "/_changes", {"params": {"filter": "_doc_ids", "doc_ids": f'["{signal["_id"]}"]'}}),
        ("POST", "/_changes?filter=_doc_ids", {"json": {"doc_ids": [signal["_id"]]}}),
        ("POST", "/_changes?filter=_selector&include_docs=true", {"json": {"selector": selector}}),
        ("POST", "/_changes?filter=_selector", {"json": {"selector": {"$or": [selector, {}]}}}),
        ("GET", "/_changes", {"params": {"since": "0", "style": "all_docs"}}),
        ("POST", "/_bulk_get", {"json": {"docs": [{"id": signal["_id"]}]}}),
        ("POST", "/_find", {"json": {"selector": selector}}),
    ]
    for method, path, options in tries:
        answer = await eve.ask(method, path, **options)
        told = signal["offer"] in answer.text or signal["_rev"] in answer.text
        assert told is works, (method, path, answer.text)
    diff = await eve.ask("POST", "/_revs_diff", json={signal["_id"]: [signal["_rev"]]})
    assert (diff.status_code == 200) is works  # an empty answer would tell that the revision is there


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_a_listing_by_keys_tells_nothing_of_what_is_hidden(strangers: Any, db: str, works: bool) -> None:
    _, _, eve, share, signal = await _attack(strangers, db)
    keys = [signal["_id"], share["_id"], "nothing"]
    rows = (await eve.ask("POST", "/_all_docs", json={"keys": keys})).json()["rows"]
    assert [row["key"] for row in rows] == keys
    assert rows[1]["value"]["rev"] == share["_rev"]
    assert ("value" in rows[0]) is works
    assert rows[2] == {"key": "nothing", "error": "not_found"}


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_shares_and_signals_of_others_are_not_deleted_or_changed(strangers: Any, db: str, works: bool) -> None:
    alice, _, eve, share, signal = await _attack(strangers, db)
    statuses = []
    for path, document in ((f"/{signal['_id']}", signal), (f"/{share['_id']}", share)):
        forged = {**document, "name": "Eve's"} if document is share else {**document, "answer": to_text(bytes(80))}
        statuses.append((await eve.ask("PUT", path, json=forged)).status_code)
        other = "hub" if works else "nobody"
        rev = (await alice.ask("GET", path)).json()["_rev"] if other == "hub" else document["_rev"]
        statuses.append((await eve.ask("DELETE", path, params={"rev": rev})).status_code)
    assert [status < 300 for status in statuses] == [works] * 4, statuses
    (row,) = (
        await eve.ask("POST", "/_bulk_docs", json={"docs": [{"_id": share["_id"], "_rev": share["_rev"]}]})
    ).json()
    assert "error" in row


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_a_withdrawn_share_is_not_played_back(strangers: Any, db: str, works: bool) -> None:
    alice, eve = await strangers(db), await strangers(db)
    share = await alice.publish()
    recorded = (await eve.ask("GET", f"/{share['_id']}")).json()
    await alice.ask("DELETE", f"/{share['_id']}", params={"rev": share["_rev"]})
    del recorded["_rev"]
    assert ((await eve.ask("PUT", f"/{share['_id']}", json=recorded)).status_code == 201) is works


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_an_older_renewal_does_not_come_back(strangers: Any, db: str, works: bool) -> None:
    alice = await strangers(db)
    share = await alice.publish()
    answer = await alice.ask(
        "PUT", f"/{share['_id']}", json={**alice.share(renewal=share["renewal"]), "_rev": share["_rev"]}
    )
    assert (answer.status_code == 201) is works


@pytest.mark.parametrize(("db", "works"), [("hub", False), ("plain", True)])
async def test_a_share_under_somebody_elses_session_is_refused(strangers: Any, db: str, works: bool) -> None:
    # Eve signs with her own key a share that names Alice's session: its signals would be hers to read.
    alice, eve = await strangers(db), await strangers(db)
    await alice.publish()
    mine = eve.session
    eve.session = HubSession(alice.session.key, mine.secret)
    forged = eve.share()
    eve.session = mine
    assert ((await eve.ask("PUT", f"/{forged['_id']}", json=forged)).status_code == 201) is works


FOREIGN: list[tuple[str, str, Json]] = [
    ("PUT", "/anything", {}),
    ("POST", "", {"a": 1}),
    ("PUT", "/_design/x", {"views": {}}),
    ("PUT", "/_local/x", {"a": 1}),
    ("PUT", "/share:short", {}),
    ("PUT", "/signal:short:x", {}),
    ("POST", "/_bulk_docs", {"docs": [{"_id": "x", "_rev": "1-a"}], "new_edits": False}),
    ("POST", "/_index", {"index": {"fields": ["a"]}}),
]


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
async def test_nothing_but_shares_and_signals_is_written(strangers: Any, method: str, path: str, body: Json) -> None:
    eve = await strangers()
    answer = await eve.ask(method, path, json=body)
    assert answer.status_code in (401, 403), answer.text
    rows = answer.json() if isinstance(answer.json(), list) else []
    assert not any("ok" in row for row in rows)


async def test_whatever_is_no_part_of_a_hub_is_refused(strangers: Any) -> None:
    alice = await strangers()
    share = await alice.publish()
    forced = {**alice.share(), "_rev": "9-" + "a" * 32, "_revisions": {"start": 9, "ids": ["a" * 32]}}
    refused = {401, 403, 404}
    tries: list[tuple[str, str, Json]] = [
        ("PUT", f"/{share['_id']}?new_edits=false", forced),
        ("PUT", f"/{share['_id']}/attachment?rev={share['_rev']}", {}),
        ("PUT", f"/{share['_id']}", {**alice.share(), "_rev": share["_rev"], "_attachments": {"a": {"data": ""}}}),
        ("PUT", f"/{share['_id']}", {**alice.share(lease=3601), "_rev": share["_rev"]}),
        ("PUT", f"/{share['_id']}", {**alice.share(name="Altered"), "_rev": share["_rev"]}),
        ("POST", "/_purge", {share["_id"]: [share["_rev"]]}),
        ("POST", "/_compact", {}),
        ("POST", "/_view_cleanup", {}),
        ("GET", "/_security", None),
        ("PUT", "/_security", {}),
        ("PUT", "/_revs_limit", 1),
        ("GET", "/_local/x", None),
        ("GET", "/_local_docs", None),
        ("GET", "/_design/x", None),
        ("GET", "/_design/x/_view/y", None),
        ("GET", "/_index", None),
        ("POST", "/_explain", {"selector": {}}),
        ("POST", "/_bulk_get", {"docs": []}),
        ("POST", "/_missing_revs", {}),
        ("GET", "/_changes?filter=a/b", None),
        ("GET", f"/{share['_id']}/attachment", None),
        ("DELETE", "", None),
        ("PUT", "", None),
    ]
    for method, path, body in tries:
        answer = await alice.ask(method, path, **({} if body is None else {"json": body}))
        ok = answer.status_code in refused
        if method == "GET" and path.endswith("filter=a/b"):
            ok = answer.status_code in (*refused, 400)
        assert ok, (method, path, answer.status_code, answer.text)
    assert (await alice.ask("GET", f"/{share['_id']}")).json() == share


async def test_a_missing_or_wrong_proof_is_asked_for(strangers: Any) -> None:
    alice, bob = await strangers(), await strangers()
    document = alice.share()
    answer = await alice.ask("PUT", f"/{document['_id']}", proof="none", json=document)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    share = await alice.publish()
    offer = bob.offer(share)
    assert (await bob.ask("PUT", f"/{offer['_id']}", proof="session", json=offer)).status_code == 401
    # Somebody else's tag, whose owner would be sent what it never asked for.
    foreign = {**offer, "reply_to": alice.session.reply_to}
    assert (await bob.ask("PUT", f"/{offer['_id']}", json=foreign)).status_code == 403
    for name in (proofs.SESSION_HEADER, proofs.REPLY_HEADER):
        assert (await bob.ask("GET", headers={name: "nonsense"}, proof="none")).status_code == 401
    key, time = alice.hub
    stale = proofs.prove_session(alice.session.key, key, time - 1_000_000)
    assert (await alice.ask("GET", headers={proofs.SESSION_HEADER: stale}, proof="none")).status_code == 401


async def test_a_signal_to_a_session_that_serves_nothing_is_refused(strangers: Any) -> None:
    alice, bob = await strangers(), await strangers()
    offer = bob.offer(alice.share())
    answer = await bob.ask("PUT", f"/{offer['_id']}", json=offer)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_what_is_large_is_refused(strangers: Any) -> None:
    alice, bob = await strangers(), await strangers()
    share = await alice.publish()
    offer = {**bob.offer(share), "offer": to_text(bytes(100_000))}
    assert (await bob.ask("PUT", f"/{offer['_id']}", json=offer)).status_code == 403
    body = b'{"docs": [' + b" " * PublicLimits().body + b"]}"
    json_type = {"content-type": "application/json"}
    assert (await bob.ask("POST", "/_bulk_docs", content=body, headers=json_type)).status_code == 413
    many = {"docs": [{"_id": f"share:{n}"} for n in range(201)]}
    assert (await bob.ask("POST", "/_bulk_docs", json=many)).status_code == 413
    wide = {"selector": {"$or": [{"a": "x" * 3000}]}}
    assert (await bob.ask("POST", "/_changes?filter=_selector", json=wide)).status_code == 400


async def test_an_administrator_and_only_one_uses_it_as_any_database(server: peerpouch.Server, strangers: Any) -> None:
    _, _, _, _, signal = await _attack(strangers, "hub")
    async with httpx2.AsyncClient(base_url=server.url, auth=("root", "secret"), trust_env=False) as http:
        answer = await http.get(f"hub/{signal['_id']}")
        assert answer.json() == signal
        assert proofs.HUB_HEADER not in answer.headers
        assert (await http.get("_peerpouch/status")).json()["hub"] == {
            "name": "hub",
            "shares": 1,
            "signals": 1,
            "feeds": 0,
        }
        assert (await http.delete("hub")).status_code == 403  # it is in use
        user = {"name": "ben", "password": "b", "type": "user", "roles": []}
        assert (await http.put("_users/org.couchdb.user:ben", json=user)).status_code == 201
    async with httpx2.AsyncClient(base_url=server.url, auth=("ben", "b"), trust_env=False) as http:
        assert (await http.get(f"hub/{signal['_id']}")).status_code == 404


async def test_the_hubs_headers_pass_to_web_pages(tmp_path: Path) -> None:
    async with serving(tmp_path, cors=["https://app.example"]) as http:
        origin = {"origin": "https://app.example"}
        asked = {**origin, "access-control-request-method": "PUT"}
        allowed = (await http.options("hub/x", headers=asked)).headers["access-control-allow-headers"]
        assert {"peerpouch-session", "peerpouch-reply"} <= {name.strip() for name in allowed.split(",")}
        answer = await http.get("hub", headers=origin)
        assert "peerpouch-hub" in answer.headers["access-control-expose-headers"]
        assert proofs.HUB_HEADER in answer.headers
        assert proofs.HUB_HEADER not in (await http.get("_up", headers=origin)).headers


async def test_two_people_meet_at_a_public_hub(tmp_path: Path, server: peerpouch.Server) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(Person(tmp_path, "alice", server.hub_url))
        bob = await stack.enter_async_context(Person(tmp_path, "bob", server.hub_url))
        notes = await alice.database()
        await notes.put({"_id": "heron", "seen": 3})
        await alice.hub.share_database(notes, name="Notes")
        remote = await bob.open("Notes")
        assert (await remote.get("heron"))["seen"] == 3
        await alice.hub.unshare_database(notes)

        async def listed() -> bool:
            return not await bob.hub.get_shared_databases()

        await eventually(listed)


async def test_a_server_shares_at_its_own_public_hub(tmp_path: Path) -> None:
    options = peerpouch.ShareOptions("notes", "hub", "Notes")
    async with (
        peerpouch.Server(
            tmp_path / "server", port=0, hub="hub", shares=[options], identity=peerpouch.Identity.ephemeral()
        ) as server,
        Person(tmp_path, "bob", server.hub_url) as bob,
    ):
        remote = await bob.open("Notes")
        assert (await remote.info())["doc_count"] == 0


async def _uninvited_at_a_standing_share(tmp_path: Path) -> bool:
    (tmp_path / "server").mkdir()
    async with peerpouch.open(tmp_path / "server" / "notes.db") as notes:
        await Invitations(notes, SystemClock()).add(once=False, expires=None, access=None)
    options = peerpouch.ShareOptions("notes", "hub", "Notes")
    async with (
        peerpouch.Server(
            tmp_path / "server", port=0, hub="hub", shares=[options], identity=peerpouch.Identity.ephemeral()
        ) as server,
        Person(tmp_path, "bob", server.hub_url) as bob,
    ):
        try:
            await bob.open("Notes")
        except Forbidden:
            return False
        return True


async def test_a_servers_share_of_a_database_with_invites_is_for_the_invited(tmp_path: Path) -> None:
    assert not await _uninvited_at_a_standing_share(tmp_path)


async def test_twin_without_looking_for_invites_everybody_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*given: object) -> bool:
        return False

    monkeypatch.setattr(peerpouch.Hub, "has_invites", none)
    assert await _uninvited_at_a_standing_share(tmp_path)


async def test_a_hub_that_holds_shares_starts_again_with_them(tmp_path: Path) -> None:
    async with serving(tmp_path) as http:
        alice = Stranger(http, "hub")
        await alice.ask("GET")
        share = await alice.publish()
    async with serving(tmp_path) as http:
        bob = Stranger(http, "hub")
        await bob.ask("GET")
        assert alice.hub is not None
        assert bob.hub is not None
        assert bob.hub[0] == alice.hub[0]
        await bob.send(share)
