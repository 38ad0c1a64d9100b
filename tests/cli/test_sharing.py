"""The commands as users run them: processes of their own, with identities of their own and a hub that is a file."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

import peerpouch
from tests.cli.support import LIMIT, ended, line, run, running


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await notes.bulk_docs([{"_id": f"note-{number}", "n": number} for number in range(50)])
    return tmp_path


async def test_a_share_is_listed_synchronised_and_withdrawn_at_ctrl_c(folder: Path) -> None:
    async with running(
        folder, "alice", "share", "notes.db", "--hub", "hub.db", "--name", "Notes", "--info", '{"n": 1}', "--json"
    ) as share:
        shared = await line(share)
        listed = await run(folder, "bob", "shares", "--hub", "hub.db", "--json")
        assert listed.code == 0, listed.err
        assert [(each["name"], each["id"], each["info"]) for each in listed.json] == [("Notes", shared["id"], {"n": 1})]

        async with peerpouch.open(folder / "copy.db") as copy:
            await copy.put({"_id": "from-bob"})
        synced = await run(folder, "bob", "sync", "copy.db", "Notes", "--hub", "hub.db", "--json")
        assert synced.code == 0, synced.err
        assert (synced.json["push"]["docs_written"], synced.json["pull"]["docs_written"]) == (1, 50)
        assert "connection" not in synced.json
        verbose = ("--verbose", "--compression", "on")
        synced = await run(folder, "bob", "sync", "copy.db", "Notes", "--hub", "hub.db", "--json", *verbose)
        connection = synced.json["connection"]
        assert connection["path"] and connection["received"] > 0 and connection["extra"]["compressed"] > 0
        assert "round trip" in synced.err and connection["local"] in synced.err
        opened = await line(share)
        assert opened["opened_by"] != shared["fingerprint"]

        share.send_signal(signal.SIGINT)
        assert (await ended(share)).code == 130
    assert (await run(folder, "bob", "shares", "--hub", "hub.db", "--json")).json == []
    info = await run(folder, "bob", "info", "notes.db", "--json")
    assert info.json["doc_count"] == 51


async def test_a_read_only_share_refuses_writes_and_says_which(folder: Path) -> None:
    async with running(
        folder, "alice", "share", "notes.db", "--hub", "hub.db", "--name", "Notes", "--read-only", "--json"
    ) as share:
        await line(share)
        async with peerpouch.open(folder / "copy.db") as copy:
            await copy.put({"_id": "from-bob"})
        synced = await run(folder, "bob", "sync", "copy.db", "Notes", "--hub", "hub.db", "--json")
        assert synced.code == 1
        assert "from-bob" in synced.out + synced.err or "forbidden" in synced.err
        share.send_signal(signal.SIGTERM)
        assert (await ended(share)).code == 143
    async with peerpouch.open(folder / "notes.db") as notes:
        assert (await notes.info())["doc_count"] == 50


async def test_a_share_that_everybody_may_change_says_so(folder: Path) -> None:
    async with running(folder, "alice", "share", "notes.db", "--hub", "hub.db", "--name", "Notes") as share:
        assert share.stdout is not None
        async with asyncio.timeout(LIMIT):
            await share.stdout.readline()
        share.send_signal(signal.SIGINT)
        result = await ended(share)
    assert "may read AND CHANGE" in result.err


async def test_a_share_that_is_not_there_is_named(folder: Path) -> None:
    async with peerpouch.open(folder / "hub.db"):
        pass
    result = await run(folder, "bob", "sync", "copy.db", "Cats", "--hub", "hub.db")
    assert result.code == 1
    assert "'Cats'" in result.err
    assert not (folder / "copy.db").exists()


async def test_replicate_copies_once_and_then_finds_nothing_new(folder: Path) -> None:
    first = await run(folder, "bob", "replicate", "notes.db", "copy.db", "--json")
    assert (first.code, first.json["docs_written"]) == (0, 50)
    second = await run(folder, "bob", "replicate", "notes.db", "copy.db")
    assert (second.code, second.err) == (0, "")
    assert second.out.startswith("replicated: 0 documents")


async def test_watching_shows_shares_that_come_and_go(folder: Path) -> None:
    async with peerpouch.open(folder / "hub.db"):
        pass
    async with running(folder, "bob", "shares", "--hub", "hub.db", "--watch", "--json") as watch:
        async with running(
            folder, "alice", "share", "notes.db", "--hub", "hub.db", "--name", "Notes", "--json"
        ) as share:
            came = await line(watch)
            assert (came["name"], came["deleted"]) == ("Notes", False)
            share.send_signal(signal.SIGINT)
            await ended(share)
        gone = await line(watch)
        assert (gone["id"], gone["deleted"]) == (came["id"], True)
        watch.send_signal(signal.SIGINT)
        assert (await ended(watch)).code == 130


async def test_an_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    first = await run(tmp_path, "carol", "identity", "show", "--json")
    second = await run(tmp_path, "carol", "identity", "show")
    assert first.json["fingerprint"] in second.out
    other = await run(tmp_path, "carol", "identity", "show", "--identity", "other.json", "--json")
    assert other.json["fingerprint"] != first.json["fingerprint"]


async def test_an_invite_is_all_that_the_other_side_needs_and_lets_nobody_else_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--name", "Notes", "--invite", "--once", "--expires", "1d", "--read-only", "--json")
    async with running(folder, "alice", "share", "notes.db", "--hub", "hub.db", *options) as share:
        invite = (await line(share))["invite"]
        refused = await run(folder, "carol", "sync", "carol.db", "Notes", "--hub", "hub.db")
        assert refused.code == 1 and not (folder / "carol.db").exists()
        monkeypatch.setenv("PEERPOUCH_INVITE", invite)
        synced = await run(folder, "bob", "sync", "copy.db", "-", "--json")
        assert synced.code == 0, synced.err
        assert synced.json["pull"]["docs_written"] == 50
        assert invite not in synced.out + synced.err
        taken = await run(folder, "carol", "sync", "carol.db")
        assert taken.code == 1 and "somebody else" in taken.err
        monkeypatch.delenv("PEERPOUCH_INVITE")
        warned = await run(folder, "bob", "sync", "copy.db", invite, "--json")
        assert warned.code == 0 and "every user of this machine" in warned.err
        share.send_signal(signal.SIGINT)
        await ended(share)


async def test_who_was_not_invited_stays_out_after_a_restart_unless_all_are_let_in(folder: Path) -> None:
    options = ("--hub", "hub.db", "--name", "Notes")
    for more, code in (("--invite",), 1), ((), 1), (("--read-only",), 1), (("--anybody",), 0):
        async with running(folder, "alice", "share", "notes.db", *options, *more, "--json") as share:
            await line(share)
            assert (await run(folder, "carol", "sync", "carol.db", "Notes", "--hub", "hub.db")).code == code
            share.send_signal(signal.SIGINT)
            said = (await ended(share)).err
            assert ("Only the invited" in said, "OPEN TO ALL" in said) == (more in ((), ("--read-only",)), code == 0)


async def test_a_key_that_begins_with_a_hyphen_is_no_option(folder: Path) -> None:
    keys = (peerpouch.Identity.ephemeral(bytes([n] * 32)).key.text for n in range(256))
    (key, *_) = [key for key in keys if key.startswith("-")]
    assert (await run(folder, "bob", "contacts", "add", "Alice", key, "--json")).json["key"] == key
    assert (await run(folder, "bob", "contacts", "rm", key, "--json")).json == {"removed": "Alice"}
    assert (await run(folder, "bob", "contacts", "add", "Alice", "-x")).code == 2


async def test_keys_and_contacts_are_kept_exported_and_imported(folder: Path) -> None:
    shown = (await run(folder, "alice", "identity", "show", "--json")).json
    assert (await run(folder, "alice", "identity", "new")).code == 1
    assert (await run(folder, "alice", "identity", "export", "key.json")).code == 0
    assert (folder / "key.json").stat().st_mode & 0o077 == 0
    assert (await run(folder, "alice", "identity", "export", "key.json")).code == 1
    other = (await run(folder, "alice", "identity", "new", "--replace", "--json")).json
    assert other["key"] != shown["key"]
    assert (await run(folder, "alice", "identity", "import", "key.json", "--replace", "--json")).json == shown
    assert (await run(folder, "bob", "contacts", "add", "Alice", shown["key"])).code == 0
    listed = (await run(folder, "bob", "contacts", "list", "--json")).json
    assert [(each["name"], each["fingerprint"]) for each in listed] == [("Alice", shown["fingerprint"])]
    async with running(folder, "alice", "share", "notes.db", "--hub", "hub.db", "--name", "Notes", "--json") as share:
        await line(share)
        found = (await run(folder, "bob", "shares", "--hub", "hub.db", "--json")).json
        assert [(each["contact"], each["trust"]) for each in found] == [("Alice", "contact")]
        share.send_signal(signal.SIGINT)
        await ended(share)
    assert (await run(folder, "bob", "contacts", "rm", "Alice")).code == 0


async def test_a_hub_is_prepared_and_tidied(folder: Path) -> None:
    assert (await run(folder, "alice", "hub", "init", "hub.db", "--json")).json == {"ok": True, "changed": False}
    assert (await run(folder, "alice", "hub", "gc", "hub.db", "--json")).json == {"deleted": 0, "purged": 0}


@pytest.mark.parametrize("command", [["shares"], ["sync", "copy.db", "Notes"]])
async def test_a_hub_file_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path, command: list[str]) -> None:
    result = await run(tmp_path, "bob", *command, "--hub", "hbu.db", "--json")
    assert result.code == 1
    assert "hbu.db" in result.err
    assert not list(tmp_path.glob("*.db"))


async def test_two_people_meet_at_the_public_hub_of_a_server(folder: Path) -> None:
    async with running(folder, "host", "serve", "served", "--port", "0", "--hub", "hub", "--json") as server:
        hub = (await line(server))["hub"]
        async with running(folder, "alice", "share", "notes.db", "--hub", hub, "--name", "Notes", "--json") as share:
            await line(share)
            synced = await run(folder, "bob", "sync", "copy.db", "Notes", "--hub", hub, "--json")
            assert synced.code == 0, synced.err
            assert synced.json["pull"]["docs_written"] == 50
            share.send_signal(signal.SIGINT)
            assert (await ended(share)).code == 130
        listed = await run(folder, "bob", "shares", "--hub", hub, "--json")
        assert listed.json == []


async def test_a_server_that_shares_with_everybody_says_so_too(folder: Path) -> None:
    for more, loud in (((), True), (("--read-only",), False)):
        options = ("--port", "0", "--share", "notes", "--hub", "hub", *more, "--json")
        async with running(folder, "host", "serve", "served", *options) as server:
            await line(server)
            server.send_signal(signal.SIGINT)
            result = await ended(server)
        assert ("may read AND CHANGE" in result.err) is loud
