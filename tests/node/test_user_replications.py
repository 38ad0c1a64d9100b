"""``_replicate`` by users who are no administrators: within their own rights, on this server only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from peerpouch.access.users import UserGate
from peerpouch.jobs import scheduler
from peerpouch.jobs.job import Job
from peerpouch.node.unattended import Unattended

ROOT = ("root", "secret")
ANN = ("ann", "ann's")
BEN = ("ben", "ben's")


def client(server: peerpouch.Server, auth: tuple[str, str] | None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, auth=auth, trust_env=False, timeout=60)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    """Of Ann: ``mine`` and ``ours``; of Ben: ``ours`` and ``bens``; of nobody but the administrator: ``secret``."""
    async with (
        peerpouch.Server(tmp_path / "server", port=0, admins=dict([ROOT])) as server,
        client(server, ROOT) as http,
    ):
        for name, password in (ANN, BEN):
            user = {"name": name, "password": password, "roles": [], "type": "user"}
            assert (await http.put(f"_users/org.couchdb.user:{name}", json=user)).status_code == 201
        for database, members in {"mine": ["ann"], "ours": ["ann", "ben"], "bens": ["ben"], "secret": ["root"]}.items():
            await http.put(database)
            await http.put(f"{database}/_security", json={"members": {"names": members}})
            await http.put(f"{database}/of-{database}", json={})
        yield server


async def replicate(
    server: peerpouch.Server, auth: tuple[str, str] | None, **fields: Any
) -> tuple[int, dict[str, Any]]:
    async with client(server, auth) as http:
        answer = await http.post("_replicate", json=fields)
        return answer.status_code, answer.json()


async def ids(server: peerpouch.Server, database: str) -> list[str]:
    async with client(server, ROOT) as http:
        return [row["id"] for row in (await http.get(f"{database}/_all_docs")).json()["rows"]]


async def test_users_replicate_between_databases_that_they_may_read_and_write(server: peerpouch.Server) -> None:
    status, answer = await replicate(server, ANN, source="mine", target={"url": "ours"})
    assert (status, answer["ok"], answer["history"][0]["docs_written"]) == (200, True, 1)
    assert await ids(server, "ours") == ["of-mine", "of-ours"]
    assert (await replicate(server, ANN, source="mine", target="ours"))[1]["no_changes"]
    assert (await replicate(server, BEN, source="ours", target="bens"))[1]["ok"]
    assert await ids(server, "bens") == ["of-bens", "of-mine", "of-ours"]


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        ("secret", "mine", 403),
        ("_users", "mine", 401),
        ("mine", "bens", 403),
        ("mine", "_replicator", 403),
        ("mine", "nowhere", 404),
    ],
)
async def test_nobody_reaches_by_it_what_they_do_not_reach(
    server: peerpouch.Server, source: str, target: str, status: int
) -> None:
    before = await ids(server, target) if status != 404 else []
    assert (await replicate(server, ANN, source=source, target=target))[0] == status
    assert (await ids(server, target) if status != 404 else []) == before


async def test_twin_with_the_servers_own_rights_it_would_copy_what_is_secret(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def as_the_server(self: Unattended, fields: Any, user: Any) -> Any:
        return await self.scheduler.replicate_for(fields, user.name, self._open)

    monkeypatch.setattr(Unattended, "replicate_for", as_the_server)
    assert (await replicate(server, ANN, source="secret", target="mine"))[0] == 200
    assert "of-secret" in await ids(server, "mine")


async def test_strangers_are_refused(server: peerpouch.Server) -> None:
    assert (await replicate(server, None, source="mine", target="ours"))[0] == 401


async def test_design_documents_stay_the_administrators(server: peerpouch.Server) -> None:
    async with client(server, ROOT) as http:
        await http.put("mine/_design/d", json={"views": {}})
    _, answer = await replicate(server, ANN, source="mine", target="ours")
    assert answer["history"][0]["doc_write_failures"] == 1
    assert await ids(server, "ours") == ["of-mine", "of-ours"]


class Elsewhere:
    """Another host, that notes who comes."""

    def __init__(self) -> None:
        self.visits = 0

    async def __aenter__(self) -> Elsewhere:
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/db"
        return self

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def test_no_other_host_is_asked_for_a_user(server: peerpouch.Server) -> None:
    async with Elsewhere() as elsewhere:
        for address in (elsewhere.url, {"url": elsewhere.url}, server.url + "ours", "webrtc://x/y"):
            for fields in ({"source": address, "target": "mine"}, {"source": "mine", "target": address}):
                status, answer = await replicate(server, ANN, **fields)
                assert (status, answer["error"]) == (403, "forbidden")
        assert elsewhere.visits == 0


async def test_twin_an_administrators_replication_asks_another_host(server: peerpouch.Server) -> None:
    async with Elsewhere() as elsewhere:
        assert (await replicate(server, ROOT, source=elsewhere.url, target="mine"))[0] >= 500
        assert elsewhere.visits > 0


@pytest.mark.parametrize("more", [{"continuous": True}, {"create_target": True}, {"cancel": True}])
async def test_users_begin_nothing_that_lasts(server: peerpouch.Server, more: dict[str, bool]) -> None:
    assert (await replicate(server, ANN, source="mine", target="ours", **more))[0] == 403
    async with client(server, ROOT) as http:
        assert (await http.get("_scheduler/jobs")).json()["jobs"] == []


async def test_a_user_ends_no_replication_of_others(server: peerpouch.Server) -> None:
    _, begun = await replicate(server, ROOT, source="mine", target="ours", continuous=True)
    assert (await replicate(server, ANN, replication_id=begun["_local_id"], cancel=True))[0] == 403
    assert (await replicate(server, ANN, source="mine", target="ours", continuous=True, cancel=True))[0] == 403
    async with client(server, ROOT) as http:
        assert len((await http.get("_scheduler/jobs")).json()["jobs"]) == 1
    assert (await replicate(server, ROOT, replication_id=begun["_local_id"], cancel=True))[0] == 200


async def held(server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, list[Job]]:
    """Let no job come to its work before the event; and the jobs."""
    release, jobs = asyncio.Event(), list[Job]()
    once = Job._once

    async def wait_first(self: Job) -> Any:
        jobs.append(self)
        await release.wait()
        return await once(self)

    monkeypatch.setattr(Job, "_once", wait_first)
    return release, jobs


async def reached(jobs: list[Job], count: int) -> None:
    async with asyncio.timeout(30):
        while len(jobs) < count:
            await asyncio.sleep(0.01)


async def test_the_same_request_of_another_user_is_another_replication(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, jobs = await held(server, monkeypatch)
    asked = [asyncio.create_task(replicate(server, who, source="bens", target="ours")) for who in (ROOT, BEN, ANN)]
    await reached(jobs, 3)
    release.set()
    assert sorted(status for status, _ in await asyncio.gather(*asked)) == [200, 200, 403]
    assert (await asked[2])[0] == 403


async def test_twin_with_one_id_for_all_a_user_would_be_told_of_others(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, jobs = await held(server, monkeypatch)
    monkeypatch.setattr(scheduler, "replace", lambda request, **_: request)
    first = asyncio.create_task(replicate(server, BEN, source="bens", target="ours"))
    await reached(jobs, 1)
    second = asyncio.create_task(replicate(server, ANN, source="bens", target="ours"))
    waits, waiting = Job.wait, asyncio.Event()

    async def tell(self: Job) -> Any:
        waiting.set()
        return await waits(self)

    monkeypatch.setattr(Job, "wait", tell)
    async with asyncio.timeout(30):
        await waiting.wait()
    release.set()
    assert (await first)[0] == (await second)[0] == 200


async def test_one_user_has_few_replications_at_once(server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    release, jobs = await held(server, monkeypatch)
    most = scheduler.MAX_OF_USER
    asked = [
        asyncio.create_task(replicate(server, ANN, source="mine", target="ours", since_seq=str(n))) for n in range(most)
    ]
    await reached(jobs, most)
    assert (await replicate(server, ANN, source="mine", target="ours"))[0] == 429
    monkeypatch.setattr(scheduler, "MAX_OF_USERS", most)
    assert (await replicate(server, BEN, source="ours", target="bens"))[0] == 429
    release.set()
    await asyncio.gather(*asked)
    assert (await replicate(server, BEN, source="ours", target="bens"))[0] == 200


async def test_who_goes_away_ends_what_was_begun_and_not_what_was_there(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, jobs = await held(server, monkeypatch)
    first = asyncio.create_task(replicate(server, ANN, source="mine", target="ours"))
    await reached(jobs, 1)
    waits, waiting, left = Job.wait, asyncio.Event(), asyncio.Event()

    async def tell(self: Job) -> Any:
        waiting.set()
        try:
            return await waits(self)
        except asyncio.CancelledError:
            left.set()
            raise

    monkeypatch.setattr(Job, "wait", tell)
    second = asyncio.create_task(replicate(server, ANN, source="mine", target="ours"))
    async with asyncio.timeout(30):
        await waiting.wait()
        second.cancel()
        await left.wait()
    assert not jobs[0].done
    release.set()
    assert (await first)[0] == 200


@pytest.mark.parametrize("twin", [False, True])
async def test_a_right_that_is_withdrawn_ends_a_replication_that_uses_it(
    server: peerpouch.Server, monkeypatch: pytest.MonkeyPatch, twin: bool
) -> None:
    if twin:
        monkeypatch.setattr(UserGate, "revoke", lambda self, reason: None)
    opened, release = asyncio.Event(), asyncio.Event()
    registry = type(server.registry)
    opens = registry.open

    async def open_and_wait(self: Any, name: str, principal: Any) -> Any:
        database = await opens(self, name, principal)
        if name == "ours" and getattr(principal, "name", None) == "ann":
            opened.set()
            await release.wait()
        return database

    monkeypatch.setattr(registry, "open", open_and_wait)
    asked = asyncio.create_task(replicate(server, ANN, source="mine", target="ours"))
    async with asyncio.timeout(30):
        await opened.wait()
    async with client(server, ROOT) as http:
        await http.put("mine/_security", json={"members": {"names": ["ben"]}})
    release.set()
    assert ((await asked)[0] == 200) == twin
    assert ("of-mine" in await ids(server, "ours")) == twin


def test_the_limits_are_below_those_of_all() -> None:
    assert scheduler.MAX_OF_USER < scheduler.MAX_OF_USERS < scheduler.MAX_JOBS
