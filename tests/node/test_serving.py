"""The server over a socket: who gets in, replications, CORS, its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

import peerpouch
from peerpouch.couchapi import front
from peerpouch.errors import BadRequest, Unauthorized
from peerpouch.node import serving
from peerpouch.node.folder import FolderRegistry
from peerpouch.node.punctual import PunctualProtocol
from peerpouch.storage import Storage

LIMIT = 30.0
AUTH = ("root", "secret")


@pytest.fixture
async def party(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    """A server without administrators."""
    async with peerpouch.Server(tmp_path / "party", port=0, cors=["https://app.example"]) as server:
        yield server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    """A server with an administrator."""
    async with peerpouch.Server(tmp_path / "server", port=0, admins={"root": "secret"}) as server:
        yield server


def client(server: peerpouch.Server, auth: tuple[str, str] | None = None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, auth=auth, trust_env=False)


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition; gives what it gave."""
    async with asyncio.timeout(LIMIT):
        while True:
            found = condition()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0.02)


async def test_who_opens_by_url_may_show_who_it_is_by_headers(server: peerpouch.Server) -> None:
    async with client(server, AUTH) as http:
        assert (await http.put("notes")).status_code == 201
        given = (await http.post("_session", json={"name": AUTH[0], "password": AUTH[1]})).headers["set-cookie"]
    async with peerpouch.open(server.url + "notes", headers={"Cookie": given.partition(";")[0]}) as notes:
        assert (await notes.put({"_id": "a"})).id == "a"
    async with peerpouch.open(server.url + "notes") as stranger:
        with pytest.raises(Unauthorized):
            await stranger.get("a")
    with pytest.raises(BadRequest, match="none"):
        await peerpouch.open(":memory:", headers={"Cookie": "x"})


HALF = b"GET / HTTP/1.1\r\nHost: local"
WHOLE = b"GET /_up HTTP/1.1\r\nHost: localhost\r\n\r\n"


BODY = b"POST /_session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"


@pytest.mark.parametrize("said", [b"", HALF, WHOLE + HALF, BODY])
@pytest.mark.parametrize("protocol", [PunctualProtocol, H11Protocol])
async def test_who_never_asks_to_the_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, protocol: type[H11Protocol]
) -> None:
    monkeypatch.setattr(PunctualProtocol, "within", 0.3)
    monkeypatch.setattr(PunctualProtocol, "more_within", 0.3)
    monkeypatch.setattr(serving, "PunctualProtocol", protocol)
    async with peerpouch.Server(tmp_path / "server", port=0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        if said.startswith(WHOLE):  # the rest begins a further request of the same connection
            writer.write(WHOLE)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}\n"), LIMIT)
        writer.write(said.removeprefix(WHOLE))
        if protocol is PunctualProtocol:
            assert await asyncio.wait_for(reader.read(), LIMIT) == b""
        else:  # without the defence
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 1.0)
        writer.close()


async def test_who_has_asked_may_wait_as_long_as_it_takes(
    party: peerpouch.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PunctualProtocol, "within", 0.2)
    monkeypatch.setattr(PunctualProtocol, "more_within", 2.0)

    async def slowly() -> AsyncIterator[bytes]:
        for part in (b"{", b'"a"', b":", b"1", b"}"):
            yield part
            await asyncio.sleep(0.1)

    async with client(party) as http:
        await http.put("notes")
        kind = {"content-type": "application/json"}
        assert (await http.post("notes", content=slowly(), headers=kind)).status_code == 201
        async with http.stream("GET", "notes/_changes?feed=continuous&heartbeat=100") as feed:
            beats = feed.aiter_raw()
            for _ in range(6):
                assert await asyncio.wait_for(anext(beats), LIMIT)


async def test_without_an_administrator_everybody_of_this_machine_is_one(party: peerpouch.Server) -> None:
    async with client(party) as http:
        assert (await http.put("notes")).status_code == 201
        assert (await http.get("_session")).json()["userCtx"] == {"name": None, "roles": ["_admin"]}
        assert (await http.get("_all_dbs")).json() == ["_replicator", "_users", "notes"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5984", "192.0.2.1", "localhost.evil.example", ""])
async def test_an_admin_party_answers_to_this_machines_own_names_only(
    party: peerpouch.Server, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(party) as http:
        assert (await http.get("_all_dbs", headers={"host": host})).status_code == 403
        assert (await http.get("_all_dbs", headers={"host": "localhost:5984"})).status_code == 200
        # Without the guard a page that rebinds its name to this machine gets in.
        monkeypatch.setattr(front, "is_loopback", lambda host: True)
        assert (await http.get("_all_dbs", headers={"host": host})).status_code == 200


async def test_without_an_administrator_no_other_address_is_listened_at(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="--admin"):
        async with peerpouch.Server(tmp_path, host="0.0.0.0", port=0):
            pass


async def test_a_port_that_is_taken_is_told(party: peerpouch.Server, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="can't be listened at"):
        async with peerpouch.Server(tmp_path / "other", port=party.port):
            pass


async def test_with_an_administrator_others_get_nothing_that_is_not_theirs(server: peerpouch.Server) -> None:
    async with client(server) as nobody, client(server, AUTH) as root:
        assert (await nobody.put("notes")).status_code == 401
        assert (await root.put("notes")).status_code == 201
        for path in ("notes", "_all_dbs", "_active_tasks", "_scheduler/jobs", "_peerpouch/status", "_users/_all_docs"):
            assert (await nobody.get(path)).status_code in (401, 403), path
            assert (await root.get(path)).status_code == 200, path
        answer = await nobody.get("notes")
        assert answer.json() == {"error": "unauthorized", "reason": "You are not authorized to access this db."}
        assert (await nobody.get("")).json()["couchdb"] == "Welcome"
        assert (await nobody.get("_up")).status_code == 200


async def test_a_user_logs_in_by_cookie_and_stays_logged_in_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    async with peerpouch.Server(folder, port=0, admins={"root": "secret"}) as server:
        async with client(server, AUTH) as root:
            ben = {"name": "ben", "type": "user", "roles": ["staff"], "password": "pass"}
            assert (await root.put("_users/org.couchdb.user:ben", json=ben)).status_code == 201
            await root.put("notes")
            await root.put("notes/_security", json={"members": {"roles": ["staff"]}})
        async with client(server) as http:
            wrong = await http.post("_session", json={"name": "ben", "password": "wrong"})
            assert wrong.status_code == 401
            right = await http.post("_session", json={"name": "ben", "password": "pass"})
            assert right.json() == {"ok": True, "name": "ben", "roles": ["staff"]}
            cookie = right.cookies["AuthSession"]
            assert (await http.get("notes")).status_code == 200
            assert (await http.get("_users/org.couchdb.user:ben")).json()["roles"] == ["staff"]
    async with peerpouch.Server(folder, port=0, admins={"root": "secret"}) as server, client(server) as http:
        answer = await http.get("_session", headers={"cookie": f"AuthSession={cookie}"})
        assert answer.json()["userCtx"] == {"name": "ben", "roles": ["staff"]}


async def test_an_administrator_is_remembered_without_the_password_in_clear(tmp_path: Path) -> None:
    async with peerpouch.Server(tmp_path, port=0, admins={"root": "in the clear"}):
        pass
    async with peerpouch.Server(tmp_path, port=0) as server, client(server, ("root", "in the clear")) as http:
        assert not server.admin_party
        assert (await http.get("_all_dbs")).status_code == 200
    assert not any(b"in the clear" in file.read_bytes() for file in tmp_path.iterdir())


async def test_web_pages_of_named_origins_get_in_and_others_do_not(party: peerpouch.Server) -> None:
    async with client(party) as http:
        named = {"origin": "https://app.example"}
        preflight = await http.options("notes", headers={**named, "access-control-request-method": "PUT"})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "PUT" in preflight.headers["access-control-allow-methods"]
        answer = await http.get("none", headers=named)
        assert answer.status_code == 404
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        other = await http.get("", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_the_log_has_a_line_for_a_request_that_nobody_can_forge(
    party: peerpouch.Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "peerpouch.access"):
        async with client(party) as http:
            await http.get("a%0Ab", params={"password": "geheim"})
        (line,) = [record.getMessage() for record in caplog.records if record.name == "peerpouch.access"]
    assert line.startswith("127.0.0.1 - GET /a%0Ab 404 ")
    assert "geheim" not in line


async def test_forwarded_addresses_are_believed_from_named_proxies_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    for name, trusted, address in (("a", ["127.0.0.1"], "203.0.113.9"), ("b", [], "127.0.0.1")):
        async with peerpouch.Server(tmp_path / name, port=0, forwarded_from=trusted) as server:
            caplog.clear()
            with caplog.at_level(logging.INFO, "peerpouch.access"):
                async with client(server) as http:
                    location = (await http.put("db", headers=forwarded)).headers["location"]
            (line,) = [record.getMessage() for record in caplog.records if record.name == "peerpouch.access"]
        assert line.startswith(address)
        assert location.startswith("https:" if trusted else "http:")


async def test_closing_the_server_ends_feeds_in_order(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (server, http):
        await http.put("notes")
        await http.put("notes/a", json={})
        async with http.stream("GET", "notes/_changes", params={"feed": "continuous", "heartbeat": "60000"}) as feed:
            lines = feed.aiter_lines()
            assert json.loads(await anext(lines))["id"] == "a"
            closing = asyncio.create_task(server.close())
            rest = [line async for line in lines if line]
            await closing
        assert "last_seq" in json.loads(rest[-1])


class client_of:
    """A server and a client of it, where the test itself closes the server."""

    def __init__(self, folder: Path) -> None:
        self._server = peerpouch.Server(folder, port=0)

    async def __aenter__(self) -> tuple[peerpouch.Server, httpx2.AsyncClient]:
        await self._server.__aenter__()
        self._client = client(self._server)
        return self._server, self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._server.close()


# Replications


async def test_replicate_copies_once_and_says_what_it_did(party: peerpouch.Server) -> None:
    async with client(party) as http:
        await http.put("a")
        await http.post("a/_bulk_docs", json={"docs": [{"_id": str(n)} for n in range(30)]})
        body = {"source": "a", "target": party.url + "b", "create_target": True}
        first = (await http.post("_replicate", json=body)).json()
        assert first["ok"]
        assert first["history"][0]["docs_written"] == 30
        again = (await http.post("_replicate", json=body)).json()
        assert again["no_changes"]
        assert (await http.get("b")).json()["doc_count"] == 30


async def test_a_continuous_replication_goes_on_until_it_is_cancelled(party: peerpouch.Server) -> None:
    async with client(party) as http:
        await http.put("a")
        await http.put("b")
        body = {"source": "a", "target": "b", "continuous": True}
        begun = await http.post("_replicate", json=body)
        assert begun.status_code == 202
        await http.put("a/x", json={})
        await until(lambda: _found(http, "b/x"))
        (task,) = (await http.get("_active_tasks")).json()
        assert (task["type"], task["replication_id"], task["source"]) == ("replication", begun.json()["_local_id"], "a")
        (job,) = (await http.get("_scheduler/jobs")).json()["jobs"]
        assert job["id"] == begun.json()["_local_id"]
        assert (await http.get(f"_scheduler/jobs/{job['id'].replace('+', '%2B')}")).json()["target"] == "b"
        ended = await http.post("_replicate", json={**body, "cancel": True})
        assert ended.json() == {"ok": True, "_local_id": job["id"]}
        assert (await http.get("_active_tasks")).json() == []
        assert (await http.post("_replicate", json={**body, "cancel": True})).status_code == 404


async def _found(http: httpx2.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    return answer.json() if answer.status_code == 200 else None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": "a"},
        {"source": "a", "target": 3},
        {"source": "a", "target": "file:///etc/passwd"},
        {"source": "a", "target": "b", "continuous": "yes"},
        {"source": "a", "target": "b", "doc_ids": ["x"], "selector": {}},
        {"source": {"url": "http://x/", "auth": {"basic": {}}}, "target": "b"},
    ],
)
async def test_a_malformed_replication_is_refused(party: peerpouch.Server, body: Any) -> None:
    async with client(party) as http:
        assert (await http.post("_replicate", json=body)).status_code == 400


async def test_a_replication_of_a_missing_database_fails(party: peerpouch.Server) -> None:
    async with client(party) as http:
        answer = await http.post("_replicate", json={"source": "none", "target": "neither"})
        assert answer.status_code == 404


async def test_documents_of_the_replicator_are_jobs_that_survive_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    async with peerpouch.Server(folder, port=0) as server, client(server) as http:
        for name in ("a", "b"):
            await http.put(name)
        await http.put("a/x", json={})
        await http.put("_replicator/live", json={"source": "a", "target": "b", "continuous": True})
        await until(lambda: _found(http, "b/x"))
        await http.put("_replicator/once", json={"source": "a", "target": "c", "create_target": True})
        done = await until(lambda: _ended(http, "once"))
        assert done["_replication_state"] == "completed"
        assert done["_replication_stats"]["docs_written"] == 1
        await http.put("_replicator/wrong", json={"source": "a"})
        failed = await until(lambda: _ended(http, "wrong"))
        assert failed["_replication_state"] == "failed"
        assert "target" in failed["_replication_state_reason"]
        rows = (await http.get("_scheduler/docs")).json()["docs"]
        (row,) = [row for row in rows if row["state"] not in ("completed", "failed")]
        assert (row["doc_id"], row["state"], row["database"]) == ("live", "running", "_replicator")
    async with peerpouch.Server(folder, port=0) as server, client(server) as http:
        await http.put("a/y", json={})
        await until(lambda: _found(http, "b/y"))
        assert (await _found(http, "_replicator/once"))["_replication_state"] == "completed"
        doc = await _found(http, "_replicator/live")
        assert "_replication_state" not in doc
        await http.delete("_replicator/live", params={"rev": doc["_rev"]})

        async def none() -> bool:
            jobs: list[Any] = (await http.get("_scheduler/jobs")).json()["jobs"]
            return not jobs

        await until(none)


async def _ended(http: httpx2.AsyncClient, doc_id: str) -> Any:
    doc = await _found(http, f"_replicator/{doc_id}")
    return doc if doc and "_replication_state" in doc else None


async def test_a_job_waits_for_a_source_that_is_not_there_yet(party: peerpouch.Server) -> None:
    async with client(party) as http:
        await http.put("b")
        await http.put("_replicator/later", json={"source": "a", "target": "b"})

        async def crashed() -> Any:
            rows = (await http.get("_scheduler/docs/_replicator")).json()["docs"]
            return [row for row in rows if row["state"] == "crashing" and row["error_count"]]

        (row,) = await until(crashed)
        assert row["info"]["error"] == "Database does not exist."
        await http.put("a")
        assert (await until(lambda: _ended(http, "later")))["_replication_state"] == "completed"


async def test_the_scheduler_tells_of_documents_that_ended_too(party: peerpouch.Server) -> None:
    async with client(party) as http:
        await http.put("a")
        await http.put("_replicator/good", json={"source": "a", "target": "b", "create_target": True})
        await http.put("_replicator/wrong", json={"source": "http://ann:secret@127.0.0.1:1/a"})
        await until(lambda: _ended(http, "good"))
        await until(lambda: _ended(http, "wrong"))
        answer = await http.get("_scheduler/docs")
        good, wrong = answer.json()["docs"]
        assert (good["doc_id"], good["state"], good["source"], good["error_count"]) == ("good", "completed", "a", 0)
        assert (wrong["doc_id"], wrong["state"], wrong["error_count"]) == ("wrong", "failed", 1)
        assert "target" in wrong["info"]["error"]
        assert "secret" not in answer.text
        assert (await http.get("_scheduler/docs/_replicator/good")).json() == good
        assert (await http.get("_scheduler/docs?states=failed")).json()["docs"] == [wrong]


# Configuration


async def test_administrators_are_seen_set_and_removed_but_for_the_last(server: peerpouch.Server) -> None:
    async with client(server, AUTH) as root, client(server) as nobody:
        path = "_node/_local/_config/admins/"
        assert (await nobody.put(path + "eve", json="x")).status_code == 401
        assert (await root.put(path + "amy", json="pass")).json() == ""
        assert (await root.get(path + "amy")).json().startswith("-pbkdf2-")
        async with client(server, ("amy", "pass")) as amy:
            assert (await amy.delete(path + "root")).status_code == 200
            assert (await amy.delete(path + "amy")).status_code == 403
            assert (await amy.put("_node/_local/_config/couchdb/x", json="y")).status_code == 403
            assert (await amy.get("_node/nonode@nohost/_config")).json()["admins"].keys() == {"amy"}
            assert (await amy.get("_node/other/_config")).status_code == 404
            assert (await amy.get("_membership")).json()["all_nodes"] == ["nonode@nohost"]
        assert (await root.get("_all_dbs")).status_code == 401


@pytest.mark.parametrize("defended", [True, False])
async def test_a_feed_ends_when_its_reader_is_no_member_any_more(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    if not defended:

        async def nothing(self: FolderRegistry, name: str, entry: object) -> None:
            pass

        monkeypatch.setattr(FolderRegistry, "_security_changed", nothing)
    async with client(server, AUTH) as root, client(server, ("ben", "b")) as ben, client(server, AUTH) as other:
        user = {"name": "ben", "password": "b", "type": "user", "roles": []}
        await root.put("_users/org.couchdb.user:ben", json=user)
        await root.put("notes")
        await root.put("notes/_security", json={"members": {"names": ["ben"]}})
        feed = {"feed": "continuous", "heartbeat": "100"}
        async with (
            ben.stream("GET", "notes/_changes", params=feed) as reading,
            other.stream("GET", "notes/_changes", params=feed) as administrating,
        ):
            lines, others = reading.aiter_lines(), administrating.aiter_lines()
            assert await anext(lines) == await anext(others) == ""
            await root.put("notes/_security", json={"members": {"names": ["carol"]}})
            await root.put("notes/secret", json={})
            async with asyncio.timeout(LIMIT):
                told = [line async for line in _up_to_content(lines)]
                seen = [line async for line in _up_to_content(others)]
        assert ("secret" in told[-1]) is not defended
        assert ("forbidden" in told[-1]) is defended
        assert "secret" in seen[-1]


async def _up_to_content(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line:
            return


async def test_active_tasks_tell_how_far_an_index_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with peerpouch.Server(tmp_path / "data", port=0) as server, httpx2.AsyncClient(base_url=server.url) as client:
        await client.put("/db")
        await client.post("/db/_bulk_docs", json={"docs": [{"_id": f"{n:04}", "n": n} for n in range(10_500)]})
        await client.post("/db/_index", json={"index": {"fields": ["n"]}, "ddoc": "by-n"})
        told: list[dict[str, Any]] = []
        original = Storage.update_index

        async def update_index(self: Storage, *arguments: Any, **options: Any) -> bool:
            told.extend((await client.get("/_active_tasks")).json())
            return await original(self, *arguments, **options)

        monkeypatch.setattr(Storage, "update_index", update_index)
        assert len((await client.post("/db/_find", json={"selector": {"n": {"$lt": 5}}})).json()["docs"]) == 5
        assert [(task["type"], task["database"], task["design_document"]) for task in told] == [
            ("indexer", "db", "_design/by-n")
        ] * 2
        # While rows are written, the next documents are mapped: how far that is when the question comes is chance.
        first, second = (task["changes_done"] for task in told)
        assert 8000 <= first <= second == 10_000
        assert all(
            (task["total_changes"], task["progress"]) == (10_501, 100 * task["changes_done"] // 10_501) for task in told
        )
        assert (await client.get("/_active_tasks")).json() == []


async def test_replicate_tells_of_earlier_runs_and_of_documents_by_their_ids(party: peerpouch.Server) -> None:
    async with client(party) as http:
        await http.put("source")
        docs = [{"_id": str(n)} for n in range(5)] + [{"_id": "_design/d"}]
        await http.post("source/_bulk_docs", json={"docs": docs})
        asked = {"source": "source", "target": "target", "create_target": True}
        first = (await http.post("_replicate", json=asked)).json()
        (entry,) = first["history"]
        assert (entry["start_last_seq"], entry["docs_written"], entry["missing_checked"]) == (0, 6, 6)
        assert (await http.post("_replicate", json=asked)).json()["no_changes"]
        await http.put("source/new", json={})
        second = (await http.post("_replicate", json=asked)).json()
        assert [entry["docs_written"] for entry in second["history"]] == [1, 6]
        assert second["history"][0]["session_id"] == second["session_id"] != first["session_id"]
        some = {**asked, "target": "some", "doc_ids": ["1", "_design%2Fd", "nowhere"]}
        answer = (await http.post("_replicate", json=some)).json()
        assert (answer["ok"], answer["docs_read"], answer["docs_written"]) == (True, 2, 2)
        rows = (await http.get("some/_all_docs")).json()["rows"]
        assert [row["id"] for row in rows] == ["1", "_design/d"]
        lost = await http.post("_replicate", json={"source": "nowhere", "target": "target"})
        assert (lost.status_code, lost.json()["error"]) == (404, "db_not_found")
