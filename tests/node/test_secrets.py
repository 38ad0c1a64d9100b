"""Known secrets are planted, everything is run with all loggers at DEBUG, and then they are looked for everywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import Forbidden, PeerPouchError
from peerpouch.identity.invites import Invite
from peerpouch.jobs import requests as jobs
from peerpouch.node.settings import Settings
from tests.cli.support import line, run, running
from tests.node.evidence import Evidence, everything_logged, spellings
from tests.node.support import eventually

HUB = "meeting"
VIEWS = {"views": {"all": {"map": "function (doc) { emit(doc._id, null); }"}}}
VALIDATE = {"validate_doc_update": "function (doc) { if (doc.bad) throw({forbidden: 'bad'}); }"}


@dataclass
class Planted:
    """What nobody may see, by what it is."""

    all: dict[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A new secret that is text."""
        return self.add(name, secrets.token_hex(12).encode()).decode()

    def text_of(self, name: str, text: str) -> str:
        """Watch a secret that is text."""
        return self.add(name, text.encode()).decode()

    def key(self, name: str) -> peerpouch.Identity:
        """An identity whose private key is watched."""
        return peerpouch.Identity.ephemeral(self.add(name, secrets.token_bytes(32)))

    def add(self, name: str, secret: bytes) -> bytes:
        """Watch a secret."""
        self.all[name] = secret
        return secret


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    with everything_logged() as found:
        yield found


@pytest.fixture
def planted() -> Planted:
    return Planted()


@dataclass
class Answer:
    """What a server gave."""

    code: int
    text: str
    cookie: str


async def ask(
    server: peerpouch.Server,
    method: str,
    path: str,
    body: Any = None,
    *,
    auth: tuple[str, str] | None = None,
    cookie: str | None = None,
) -> Answer:
    """A request as a program of others sends it: by a client that logs nothing itself."""
    headers = {"content-type": "application/json"}
    if auth is not None:
        headers["authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if cookie is not None:
        headers["cookie"] = f"AuthSession={cookie}"

    def work() -> Answer:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request(method, f"/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            given = SimpleCookie(response.getheader("set-cookie", "")).get("AuthSession")
            return Answer(response.status, response.read().decode(), "" if given is None else given.value)
        finally:
            connection.close()

    return await asyncio.to_thread(work)


@asynccontextmanager
async def served_hub(folder: Path, planted: Planted) -> AsyncIterator[tuple[peerpouch.Server, str]]:
    """A server with an administrator, an account and a hub; and the hub's URL with that account's password."""
    admin, password = planted.text("administrator's password"), planted.text("hub's password")
    async with peerpouch.Server(folder, port=0, admins={"root": admin}) as server:
        planted.add("secret of the cookies", Settings.load(folder).secret)
        user = {"_id": "org.couchdb.user:ann", "name": "ann", "type": "user", "roles": [], "password": password}
        members = {"members": {"names": ["ann"], "roles": []}, "admins": {"names": [], "roles": ["_admin"]}}
        for path, body in (("_users/org.couchdb.user:ann", user), (HUB, None), (f"{HUB}/_security", members)):
            assert (await ask(server, "PUT", path, body, auth=("root", admin))).code in (200, 201)
        yield server, server.url.replace("//", f"//ann:{password}@") + HUB


async def use_the_server(server: peerpouch.Server, hub: str, planted: Planted, evidence: Evidence) -> None:
    """Logging in, rightly and wrongly, and replications with passwords in their URLs."""
    password = planted.all["hub's password"].decode()
    answer = await ask(server, "POST", "_session", {"name": "ann", "password": password})
    cookie = planted.text_of("cookie", answer.cookie)
    assert (await ask(server, "GET", HUB, cookie=cookie)).code == 200
    wrong, forged = planted.text("mistyped password"), planted.text("forged cookie")
    assert (await ask(server, "POST", "_session", {"name": "ann", "password": wrong})).code == 401
    assert (await ask(server, "GET", HUB, auth=("ann", wrong))).code == 401
    assert (await ask(server, "GET", HUB, cookie=forged)).code >= 400
    admin = planted.all["administrator's password"].decode()
    copy = server.url.replace("//", f"//root:{admin}@") + "copy"
    for target, works in ((copy, True), (copy.replace(admin, planted.text("wrong password of a target")), False)):
        body = {"source": hub, "target": target, "create_target": True}
        answer = await ask(server, "POST", "_replicate", body, auth=("root", admin))
        assert (answer.code == 200) is works, answer.text
        evidence.shown["errors"].append(answer.text)
    evidence.shown["errors"].append((await ask(server, "GET", "_scheduler/jobs", auth=("root", admin))).text)
    for attempt in (hub, hub.replace(password, planted.text("another password"))):
        async with peerpouch.open(attempt) as opened:
            evidence.shown["reprs"].append(f"{opened!r} {opened.name}")
            if attempt is not hub:
                await evidence.fails(opened.info)


async def meet(folder: Path, hub: str, planted: Planted, evidence: Evidence) -> None:
    """Two people who share by invites, over a hub with a password, with a TURN server that has one too."""
    alice, bob = planted.key("alice's key"), planted.key("bob's key")
    turn = [{"urls": "turn:127.0.0.1:9", "username": "ann", "credential": planted.text("TURN credential")}]
    names = peerpouch.Contacts(memory=True)

    def ask(event: peerpouch.RemoteEvent) -> None:
        evidence.shown["reprs"].append(f"{event!r} {event.peer!r} {event.info!r}")

    async with AsyncExitStack() as stack:
        notes = await stack.enter_async_context(peerpouch.open(folder / "notes.db", validate=True))
        await notes.put({"_id": "_design/v", "language": "javascript", **VIEWS, **VALIDATE})
        await notes.put({"_id": "a", "word": planted.text("content of a document")})
        assert len((await notes.query("v/all"))["rows"]) == 1
        await evidence.fails(lambda: notes.put({"_id": "b", "bad": True}))
        evidence.processes()  # the workers of both kinds are running
        own = await stack.enter_async_context(peerpouch.Hub(hub, identity=alice, contacts=names, ice_servers=turn))
        share = await own.share_database(notes, name="notes", on_remote=ask)
        invites = [await share.invite(once=number == 0, credentials=True) for number in range(3)]
        for number, invite in enumerate(invites):
            planted.add(f"token {number}", invite.token or b"")
        mine: dict[str, Any] = {"identity": bob, "contacts": names, "ice_servers": turn}
        async with peerpouch.open(str(invites[0]), **mine) as remote:
            await peerpouch.replicate(remote, folder_db := await stack.enter_async_context(_copy(folder)))
            assert (await folder_db.get("a"))["word"]
            evidence.objects()
        await share.take_back(invites[1])
        guessed = Invite(
            invites[0].hub, share.id, share.fingerprint, planted.add("guessed token", secrets.token_bytes(16))
        )
        for wrong in (invites[1], guessed):
            await evidence.fails(partial(peerpouch.open, wrong, **mine))
        short = await share.invite(expires=timedelta(milliseconds=1), credentials=True)
        planted.add("token that ran out", short.token or b"")
        await evidence.fails(lambda: peerpouch.open(short, **mine))
        texts = [str(each) for each in invites]
        for mistyped in (
            texts[0][:-4],
            texts[0].replace("peerpouch:1", "peerpouch:2"),
            "P" + texts[0][1:],
            texts[2] + "A",
        ):
            await evidence.fails(partial(peerpouch.open, mistyped, **mine))
        evidence.objects()


@asynccontextmanager
async def _copy(folder: Path) -> AsyncIterator[peerpouch.Database]:
    async with peerpouch.open(folder / "copy.db") as database:
        yield database


async def mistype(planted: Planted, evidence: Evidence) -> None:
    """What is malformed, wherever a secret can be part of it."""
    word = planted.text("password in a URL")
    for url in (
        f"http://ann:{word}@127.0.0.1:1/db", f"http://ann:{word}@127.0.0.1:99999/db", f"http://ann:{word}@/db",
        f"http://ann:{word}@[::1/db", f"ftp://ann:{word}@host/db", f"http://ann:{word}@a b/db",
        f"http://ann:{word}@127.0.0.1:x/db", f"https://ann:{word}@127.0.0.1:1", f"http://{word}@127.0.0.1:1/db",
        f"HTTP://ann:{word}@127.0.0.1:1/db", f"http:/ann:{word}@127.0.0.1/x/db", f"http://ann:{word}@127.0.0.1:1/\ud800",
        f"peerpouch+http://ann:{word}@127.0.0.1/db",
    ):  # fmt: skip

        async def use(url: str = url) -> None:
            async with peerpouch.open(url, create=False) as database:
                await database.info()

        async def join(url: str = url) -> None:
            async with peerpouch.Hub(url, identity=peerpouch.Identity.ephemeral(), ice_servers=[], create=False):
                pass

        await evidence.fails(use)
        await evidence.fails(join)
    seed = planted.key("key in a damaged file").export()
    for text in (seed[:-3], seed.replace("peerpouch identity", "x"), seed.replace('"version"', '"v"')):
        await evidence.fails(partial(peerpouch.Identity.parse, text))
    turn = planted.text("TURN credential in a mistake")
    mistakes: list[Any] = [
        [{"urls": "http://x", "credential": turn}],
        [{"credential": turn}],
        [{"urls": [7], "credential": turn}],
        turn,
        [turn],
        [["turn:x", "ann", turn]],
    ]
    for servers in mistakes:
        await evidence.fails(partial(peerpouch.Hub, ":memory:", ice_servers=servers))


async def run_commands(folder: Path, hub: str, planted: Planted, evidence: Evidence, patch: Any) -> None:
    """The command line, with secrets where it takes them: never as arguments."""
    patch.setenv("PEERPOUCH_ADMIN_PASSWORD", planted.text("administrator's password by environment"))
    async with running(
        folder, "host", "serve", "served", "--port", "0", "--admin", "eve", "--log-level", "debug"
    ) as server:
        assert server.stdout is not None
        await server.stdout.readline()
        evidence.processes()
        server.terminate()
        out, err = await server.communicate()
        evidence.shown["logs"].append((out + err).decode())
    patch.delenv("PEERPOUCH_ADMIN_PASSWORD")
    patch.setenv("PEERPOUCH_HUB", hub)
    options = ("--name", "By command", "--invite", "--with-credentials", "--json")
    async with running(folder, "carol", "share", "notes.db", *options) as sharing:
        invite = (await line(sharing))["invite"]  # which is what this is for
        planted.add("token by command", Invite.parse(invite).token or b"")
        patch.setenv("PEERPOUCH_INVITE", invite)
        evidence.processes()
        for more in ((), ("--json",)):
            synced = await run(folder, "dan", "sync", "dans.db", "-", *more)
            assert synced.code == 0, synced.err
            evidence.shown["logs"].append(synced.out + synced.err)
        listed = await run(folder, "dan", "shares")
        evidence.shown["logs"].append(listed.out + listed.err)
        patch.setenv("PEERPOUCH_INVITE", invite[:-6])
        failed = await run(folder, "dan", "sync", "dans.db", "-")
        assert failed.code == 1
        evidence.shown["logs"].append(failed.out + failed.err)
        sharing.terminate()
        _, err = await sharing.communicate()
        evidence.shown["logs"].append(err.decode())
    for who in ("carol", "dan"):
        own = peerpouch.Identity.load(folder / who / "identity.json")
        planted.add(f"{who}'s key", own._private.private_bytes_raw())


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_secret_shows_in_logs_errors_reprs_arguments_and_the_hub(
    tmp_path: Path, planted: Planted, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "server"
    async with served_hub(folder, planted) as (server, hub):
        await use_the_server(server, hub, planted, evidence)
        await meet(tmp_path, hub, planted, evidence)
        standing = [peerpouch.ShareOptions("standing", hub)]
        async with peerpouch.Server(
            tmp_path / "other", port=0, identity=planted.key("server's key"), shares=standing
        ) as other:
            async with peerpouch.Hub(hub, identity=peerpouch.Identity.ephemeral(), ice_servers=[]) as watching:
                assert await eventually(lambda: _lists(watching, "standing"))
            evidence.shown["reprs"].append(repr(other) + repr(standing))
            evidence.objects()
        await mistype(planted, evidence)
        await run_commands(tmp_path, hub, planted, evidence, monkeypatch)
    # The server's own file has the secret of its cookies, and nobody else can read it.
    evidence.look_into("hub", folder, leave_out=frozenset({"peerpouch-server.json"}))
    lengths = {channel: len("".join(texts)) for channel, texts in evidence.shown.items()}
    assert len(planted.all) > 20 and min(lengths.values()) > 100, lengths
    assert "peerpouch" in "".join(evidence.shown["arguments"])
    found = {(*where, *evidence.around(where[0], planted.all[where[1]])) for where in evidence.find(planted.all)}
    assert found == set()

    await plant(evidence, planted, folder)
    assert {channel for channel, _ in evidence.find(planted.all)} == {"logs", "errors", "reprs", "arguments", "hub"}


def test_a_replication_that_is_wanted_shows_no_password() -> None:
    source = {"url": "http://ann:firstsecret@host/db", "headers": {"authorization": "Bearer secondsecret"}}
    target = {"url": "http://host/db", "auth": {"basic": {"username": "ann", "password": "thirdsecret"}}}
    wanted = jobs.parse({"source": source, "target": target})
    held = str([(each.address, each.headers) for each in (wanted.source, wanted.target)])
    assert "firstsecret" in held and "secondsecret" in held
    shown = repr(wanted)
    assert "http://host/db" in shown
    assert "secret" not in shown and base64.b64encode(b"ann:thirdsecret").decode() not in shown


async def _lists(hub: peerpouch.Hub, name: str) -> bool:
    return any(share.name == name for share in await hub.get_shared_databases())


class _Careless(peerpouch.errors.PeerPouchError):
    """An object of this library's module, as far as the search can tell, that shows what it has."""

    def __repr__(self) -> str:
        return self.reason


_Careless.__module__ = "peerpouch.careless"


async def plant(evidence: Evidence, planted: Planted, folder: Path) -> None:
    """One of the secrets in each of the channels, in one of its encodings."""
    names = list(planted.all)
    secret = planted.all[names[0]]
    logging.getLogger("peerpouch.deep.below").debug("A key: %s", secret.hex())
    careless = _Careless(repr(secret))
    evidence.objects()
    try:
        raise careless
    except _Careless as error:
        evidence.error(error)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", secret.decode(), stdin=asyncio.subprocess.PIPE
    )
    evidence.processes()
    child.kill()
    await child.wait()
    (folder / "left behind").write_bytes(b"..." + sorted(spellings(secret))[0])


def test_the_search_knows_every_spelling() -> None:
    secret = bytes(range(200, 232))
    texts = [
        secret, secret.hex().encode(), repr(secret).encode(), peerpouch.Identity.ephemeral(secret).export().encode()
    ]  # fmt: skip
    for text in texts:
        assert any(spelling in b"before " + text + b" after" for spelling in spellings(secret)), text


async def test_a_handlers_own_words_stay_with_it(evidence: Evidence, planted: Planted) -> None:
    """What a user's function says when it fails is logged here, where it may be, and told to nobody else."""
    word = planted.text("words of on_remote")

    def fails(event: Any) -> None:
        raise ValueError(word)

    async with peerpouch.open(":memory:") as hub, peerpouch.open(":memory:") as database:
        own, others = peerpouch.Identity.ephemeral(), peerpouch.Identity.ephemeral()
        async with (
            peerpouch.Hub(hub, identity=own, ice_servers=[]) as one,
            peerpouch.Hub(hub, identity=others, contacts=peerpouch.Contacts(memory=True), ice_servers=[]) as two,
        ):
            await one.share_database(database, name="x", on_remote=fails)
            (share,) = await eventually(two.get_shared_databases)
            error = await evidence.fails(share.open)
    assert isinstance(error, Forbidden) and isinstance(error, PeerPouchError)
    assert evidence.find(planted.all) == {("logs", "words of on_remote")}
