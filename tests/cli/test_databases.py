"""The commands that read and write databases, as scripts use them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.cli.commands import invoke
from peerpouch.cli.demo.compare import compare
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from tests.archive.databases import LARGE, fill, noise
from tests.cli.support import LIMIT, ended, line, run, running
from tests.node.support import people


class Shell:
    """Runs commands in this process, in a folder of their own."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capfd = capfd
        self.out = self.err = ""

    def __call__(self, *arguments: str, code: int = EXIT_OK) -> str:
        """What the command wrote to stdout."""
        self._capfd.readouterr()
        found = invoke(arguments)
        self.out, self.err = self._capfd.readouterr()
        assert found == code, self.err
        return self.out

    def json(self, *arguments: str, code: int = EXIT_OK) -> Any:
        """The object that the command wrote."""
        return json.loads(self(*arguments, "--json", code=code))

    def lines(self, *arguments: str) -> list[Any]:
        """The objects that the command wrote, one in each line."""
        return [json.loads(text) for text in self(*arguments).splitlines()]


@pytest.fixture
def shell(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEERPOUCH_HOME", str(tmp_path / "home"))
    return Shell(tmp_path, capfd)


def typed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put text at standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_document_is_written_read_replaced_and_removed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shell.json("put", "n.db", '{"_id": "a/b ü", "n": 1}')
    assert (first["ok"], first["id"]) == (True, "a/b ü")
    assert json.loads(shell("get", "n.db", "a/b ü")) == {"_id": "a/b ü", "_rev": first["rev"], "n": 1}
    typed('{"_id": "a/b ü", "n": 2}', monkeypatch)
    second = shell.json("put", "n.db", "--replace")
    assert second["rev"].startswith("2-")
    assert shell.json("get", "n.db", "a/b ü", "--rev", first["rev"])["n"] == 1
    assert shell.json("get", "n.db", "a/b ü", "--revs")["_revisions"]["start"] == 2
    assert shell("rm", "n.db", "a/b ü").startswith("a/b ü  3-")
    assert shell("get", "n.db", "a/b ü", code=EXIT_FAILURE) == ""
    assert shell.err == "peerpouch: Document 'a/b ü' is deleted.\n"
    shell("get", "n.db", "nothing", "--json", code=EXIT_FAILURE)
    assert json.loads(shell.err) == {"error": "not_found", "reason": "Document 'nothing' is missing."}
    assert shell.json("put", "n.db", "--replace", '{"_id": "a/b ü", "n": 4}')["rev"].startswith("4-")
    assert len(shell.json("put", "n.db", '{"n": 1}')["id"]) == 32


def test_a_conflict_says_of_which_document(shell: Shell) -> None:
    shell("put", "n.db", '{"_id": "a"}')
    shell("put", "n.db", '{"_id": "a"}', code=EXIT_FAILURE)
    assert "'a' has another revision by now" in shell.err
    shell("rm", "n.db", "a", "--rev", "1-" + "0" * 32, code=EXIT_FAILURE)
    assert "'a'" in shell.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "n.db", "{"],
        ["put", "n.db", "[]"],
        ["rm", "n.db", "a", "b", "--rev", "1-a"],
        ["ls", "n.db", "--prefix", "a", "--start", "b"],
        ["changes", "n.db", "--follow", "--descending"],
        ["changes", "n.db", "--selector", "{"],
        ["attach", "n.db", "a", "-"],
        ["attach", "n.db", "a", "no-such-file"],
    ],
)
def test_wrong_usage_is_two_and_makes_no_file(arguments: list[str], shell: Shell) -> None:
    shell(*arguments, code=EXIT_USAGE)
    assert not (shell.folder / "n.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *(["get", "n.db", "a"], ["rm", "n.db", "a"], ["ls", "n.db"], ["changes", "n.db"], ["fetch", "n.db", "a", "b"]),
        *(["export", "n.db"], ["export", "n.db", "-o", "out"], ["compact", "n.db"], ["check", "n.db"]),
        ["backup", "n.db", "out"],
    ],
)
def test_a_database_that_is_not_there_is_not_made(arguments: list[str], shell: Shell) -> None:
    shell(*arguments, code=EXIT_FAILURE)
    assert "There is no database" in shell.err
    assert [each.name for each in shell.folder.iterdir() if each.name != "home"] == []


def test_documents_are_listed_by_id(shell: Shell) -> None:
    for doc_id in ("a1", "a2", "b\x1b[31m", "c"):
        shell("put", "n.db", json.dumps({"_id": doc_id, "n": 1}))
    assert shell("ls", "n.db") == "a1\na2\nb\\u001b[31m\nc\n"
    assert shell("ls", "n.db", "--prefix", "a") == "a1\na2\n"
    assert shell("ls", "n.db", "--prefix", "a", "--descending", "--limit", "1") == "a2\n"
    assert shell("ls", "n.db", "--start", "a2", "--end", "c", "--skip", "2") == "c\n"
    rows = shell.lines("ls", "n.db", "--json")
    assert [row["id"] for row in rows] == ["a1", "a2", "b\x1b[31m", "c"]
    assert [doc["n"] for doc in shell.lines("ls", "n.db", "--docs")] == [1, 1, 1, 1]
    assert shell("ls", "n.db", "--long", "--limit", "1") == f"{rows[0]['value']['rev']}  a1\n"


def test_changes_are_shown_in_their_order(shell: Shell) -> None:
    for number in range(3):
        shell("put", "n.db", json.dumps({"_id": f"d{number}", "n": number}))
    shell("rm", "n.db", "d0")
    rows = shell.lines("changes", "n.db", "--json", "--docs")
    assert [(row["id"], row.get("deleted", False)) for row in rows] == [("d1", False), ("d2", False), ("d0", True)]
    assert rows[0]["doc"]["n"] == 1
    assert shell("changes", "n.db", "--since", rows[1]["seq"]).endswith("  d0  deleted\n")
    assert [row["id"] for row in shell.lines("changes", "n.db", "--json", "--descending", "--limit", "1")] == ["d0"]
    assert [row["id"] for row in shell.lines("changes", "n.db", "--json", "--id", "d1", "--id", "d9")] == ["d1"]
    chosen = shell.lines("changes", "n.db", "--json", "--selector", '{"n": {"$gt": 1}}')
    assert [row["id"] for row in chosen] == ["d2"]


def test_a_file_is_attached_and_fetched(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(LARGE)
    (shell.folder / "photo.jpg").write_bytes(content)
    shell("attach", "n.db", "a", "photo.jpg")
    shell("attach", "n.db", "a", "photo.jpg", "--name", "again", "--type", "x/y")
    entries = shell.json("get", "n.db", "a")["_attachments"]
    assert {name: entry["content_type"] for name, entry in entries.items()} == {
        "photo.jpg": "image/jpeg",
        "again": "x/y",
    }
    assert shell("fetch", "n.db", "a", "again", "--output", "out") == ""
    assert (shell.folder / "out").read_bytes() == content
    shell("fetch", "n.db", "a", "nothing", "--output", "other", code=EXIT_FAILURE)
    assert not list(shell.folder.glob("other*"))
    shell("fetch", "n.db", "a", "again", "--output", "no/such/folder", code=EXIT_FAILURE)
    assert "no/such/folder can't be written" in shell.err
    assert not list(shell.folder.glob("**/*.partial"))


async def test_bytes_go_through_pipes(tmp_path: Path) -> None:
    content = noise(500_000)
    out = b""
    async with asyncio.timeout(LIMIT):
        for arguments in (["attach", "n.db", "a", "-", "--name", "raw"], ["fetch", "n.db", "a", "raw"]):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "peerpouch.cli", *arguments),
                cwd=tmp_path,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate(content)
            assert process.returncode == 0
    assert out == content


async def test_an_export_is_imported_as_an_equal_database(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "one.db") as one:
        await fill(one)
        await one.put_revs_limit(5)
    done = await run(tmp_path, "bob", "export", "one.db", "-o", "all.jsonl", "--json")
    assert (done.code, done.json["documents"], done.json["revisions"]) == (0, 1206, 1208)
    assert done.json["bytes"] == (tmp_path / "all.jsonl").stat().st_size
    done = await run(tmp_path, "bob", "import", "two.db", "all.jsonl", "--settings", "--json")
    assert (done.code, done.json["written"], done.json["failed"]) == (0, 1208, 0)
    async with peerpouch.open(tmp_path / "one.db") as one, peerpouch.open(tmp_path / "two.db") as two:
        assert (await compare(one, two)).differences == []
        assert await two.get_revs_limit() == 5
    checked = await run(tmp_path, "bob", "check", "two.db", "--json")
    assert (checked.code, checked.json) == (0, {"ok": True, "problems": []})


def test_an_import_names_what_was_refused(shell: Shell) -> None:
    (shell.folder / "docs").write_text('{"_id": "a"}\n{"_id": "_b"}\n{"_id": "a"}\n')
    assert shell("import", "n.db", "docs", code=EXIT_FAILURE).startswith("imported: 1 revision,")
    assert "refused: _b" in shell.err
    assert "refused: a" in shell.err
    (shell.folder / "docs").write_text('{"_id": "c"}\n{"_id": ')
    shell("import", "n.db", "docs", code=EXIT_FAILURE)
    assert shell.err.startswith("peerpouch: Line 2: ")
    shell("import", "n.db", "no-such-file", code=EXIT_FAILURE)
    assert "no-such-file can't be read" in shell.err


def test_compacting_gives_space_back(shell: Shell) -> None:
    (shell.folder / "f").write_bytes(noise(LARGE))
    shell("attach", "n.db", "a", "f")
    shell("put", "n.db", '{"_id": "a"}', "--replace")
    sizes = shell.json("compact", "n.db")
    assert sizes["after"]["file"] < sizes["before"]["file"] - LARGE / 2


def test_a_check_finds_damage(shell: Shell) -> None:
    (shell.folder / "f").write_bytes(noise(LARGE))
    shell("attach", "n.db", "a", "f")
    assert shell("check", "n.db") == "n.db: no problems\n"
    path = shell.folder / "n.db"
    damaged = bytearray(path.read_bytes())
    place = damaged.index(noise(LARGE)[50_000:50_100])
    damaged[place : place + 10] = bytes(10)
    path.write_bytes(damaged)
    assert "SHA-256" in shell("check", "n.db", code=EXIT_FAILURE)
    assert shell.json("check", "n.db", code=EXIT_FAILURE)["ok"] is False


@pytest.mark.parametrize("arguments", [["check", "http://127.0.0.1:9/db"], ["backup", "http://127.0.0.1:9/db", "x"]])
def test_only_files_are_checked_and_backed_up(arguments: list[str], shell: Shell) -> None:
    shell(*arguments, code=EXIT_FAILURE)
    assert "Only a database in a file" in shell.err


async def test_a_backup_of_a_database_in_use_is_whole_and_another_incarnation(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "one.db") as one:
        await fill(one)
        writing = asyncio.create_task(_write_on(one))
        done = await run(tmp_path, "bob", "backup", "one.db", "two.db", "--json")
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert done.code == 0, done.err
        async with peerpouch.open(tmp_path / "two.db") as two:
            ours, theirs = await one.info(), await two.info()
            assert ours["incarnation"] != theirs["incarnation"]
            assert ours["uuid"] == theirs["uuid"]
            assert isinstance(two, peerpouch.LocalDatabase)
            assert await two.check() == []
            # A batch is in the copy as a whole or not at all.
            assert (theirs["doc_count"] - 1204) % 10 == 0
            await two.put({"_id": "written-in-the-copy"})
            await peerpouch.sync(one, two)
            assert (await compare(one, two)).differences == []
            assert (await one.get("written-in-the-copy"))["_id"]
    again = await run(tmp_path, "bob", "backup", "one.db", "two.db")
    assert again.code == 1
    assert "exists already" in again.err


async def _write_on(database: Any) -> None:
    number = 0
    while True:
        await database.bulk_docs([{"_id": f"more-{number + n}"} for n in range(10)])
        number += 10


async def test_following_shows_what_others_write_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "n.db") as database:
        await database.put({"_id": "before"})
        async with running(tmp_path, "bob", "changes", "n.db", "--follow", "--json") as follow:
            assert (await line(follow))["id"] == "before"
            await database.put({"_id": "later"})
            assert (await line(follow))["id"] == "later"
            follow.send_signal(signal.SIGINT)
            assert (await ended(follow)).code == 130


async def test_ctrl_c_ends_a_command_that_waits_for_input(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerpouch.cli", "import", "n.db"),
            cwd=tmp_path,
            stdin=reading,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LIMIT):
            while not (tmp_path / "n.db").exists():
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert (process.returncode, err.strip()) == (130, b"")
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_share_is_read_and_written_by_its_dbname(tmp_path: Path) -> None:
    async with people(tmp_path, "alice") as (alice,):
        database = await alice.database()
        await database.put({"_id": "heron", "seen": 3})
        share = await alice.hub.share_database(database, name="Notes")
        (tmp_path / "f.txt").write_text("hallo")
        for arguments in (
            ["put", share.dbname, '{"_id": "stork"}'],
            ["attach", share.dbname, "stork", "f.txt"],
            ["export", share.dbname, "-o", "all.jsonl"],
        ):
            done = await run(tmp_path, "bob", *arguments)
            assert done.code == 0, done.err
        listed = await run(tmp_path, "bob", "ls", share.dbname)
        assert listed.out == "heron\nstork\n"
        assert (await run(tmp_path, "bob", "fetch", share.dbname, "stork", "f.txt")).out == "hallo"
        refused = await run(tmp_path, "bob", "compact", share.dbname)
        assert refused.code == 1
        async with peerpouch.open(":memory:") as copy:
            text = (tmp_path / "all.jsonl").read_bytes()

            async def data() -> Any:
                yield text

            await peerpouch.import_database(copy, data())
            assert (await compare(database, copy)).differences == []


class _Hostile(BaseHTTPRequestHandler):
    """A server that writes to terminals wherever it may say anything."""

    def do_GET(self) -> None:
        red = "\x1b[31m"
        answer: dict[str, object] = {"db_name": red, "update_seq": red, "uuid": red, "doc_count": 1}
        if "/refused" in self.path:
            self.send_response(403)
            answer = {"error": "forbidden", "reason": f"no{red}\n{red}"}
        elif "_changes" in self.path:
            answer = {"results": [{"id": red, "seq": red, "changes": [{"rev": f"1-{red}"}]}], "last_seq": red}
        body = json.dumps(answer).encode()
        if "reason" not in answer:
            self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("command", "database", "code"),
    [("info", "db", EXIT_OK), ("changes", "db", EXIT_OK), ("info", "refused", EXIT_FAILURE)],
)
def test_what_a_server_says_can_not_write_to_the_terminal(shell: Shell, command: str, database: str, code: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        shell(command, f"http://127.0.0.1:{server.server_port}/{database}", code=code)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    said = shell.out + shell.err
    assert "\x1b" not in said and "\\u001b" in said
    assert said.count("\n") == 1 or code == EXIT_OK
