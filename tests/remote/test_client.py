from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from peerpouch.errors import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    DatabaseBusy,
    DatabaseClosed,
    DatabaseNotFound,
    Forbidden,
    NotFound,
    NotSupported,
    PeerPouchError,
    ProtocolError,
    TooManyRequests,
    Unauthorized,
)
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.remote import RemoteDatabase
from peerpouch.remote.client import AnswerTooLarge, Client, document_path, query_string, without_credentials
from tests.remote.support import URL, Reply, Server, database


@pytest.mark.parametrize(
    ("doc_id", "path"),
    [
        ("a", "/a"),
        ("a/b c+d%é", "/a%2Fb%20c%2Bd%25%C3%A9"),
        ("_design/a/b", "/_design/a%2Fb"),
        ("_local/a/b", "/_local/a%2Fb"),
        (".", "/%2E"),
        ("..", "/%2E%2E"),
        ("..a", "/..a"),
    ],
)
def test_a_document_has_a_path(doc_id: str, path: str) -> None:
    assert document_path(doc_id) == path
    assert Request("GET", URL + path).url.raw_path == b"/db" + path.encode()


def test_what_means_nothing_is_left_out_of_a_query() -> None:
    assert query_string({"a": None, "b": False, "c": True, "d": 0, "e": "x&y=z +", "f": ""}) == (
        "c=true&d=0&e=x%26y%3Dz%20%2B&f="
    )


def test_credentials_are_not_shown() -> None:
    assert without_credentials("https://user:secret@host:1/path/db/?x=1") == "https://host:1/path/db"
    assert RemoteDatabase(Server([]), "http://user:secret@host/db").name == "http://host/db"


@pytest.mark.parametrize(
    ("status", "body", "cls", "reason"),
    [
        (400, {"error": "bad_request", "reason": "why"}, BadRequest, "why"),
        (401, {"error": "unauthorized", "reason": "why"}, Unauthorized, "why"),
        (403, {"error": "forbidden", "reason": "why"}, Forbidden, "why"),
        (404, {"error": "not_found", "reason": "deleted"}, NotFound, "deleted"),
        (404, {"error": "not_found", "reason": "no_db_file"}, DatabaseNotFound, "no_db_file"),
        (404, {"error": "not_found", "reason": "Database does not exist."}, DatabaseNotFound, None),
        (409, {"error": "conflict", "reason": "why"}, Conflict, "why"),
        (429, b"slow down", TooManyRequests, "slow down"),
        (501, {"error": "not_implemented", "reason": "why"}, NotSupported, "why"),
        (503, {"error": "database_busy", "reason": "why"}, DatabaseBusy, "why"),
        (502, b"<html>Bad Gateway</html>", ProtocolError, "<html>Bad Gateway</html>"),
        (503, b"", ConnectionFailed, f"{URL} answered with status 503."),
        (500, {"error": "made_up", "reason": {"a": 1}}, PeerPouchError, '{"a":1}'),
        (500, [1, 2], PeerPouchError, None),
        (400, {"error": ["odd"]}, BadRequest, None),
        (302, b"", ProtocolError, None),
        (404, b"x" * 100_000, NotFound, None),
    ],
)
async def test_a_status_becomes_an_error(status: int, body: Any, cls: type[PeerPouchError], reason: str | None) -> None:
    remote, server = database(Reply(body, status=status))
    with pytest.raises(PeerPouchError) as raised:
        await remote.get("doc")
    assert type(raised.value) is cls
    if reason is not None:
        assert raised.value.reason == reason
    assert server.all_closed


async def test_json_that_ends_with_an_error_raises_it() -> None:
    body = b'{"total_rows":5,"rows":[\n{"id":"a","key":"a"}\n\n{"error":"database_busy","reason":"why"}\n'
    remote, _ = database(body)
    with pytest.raises(DatabaseBusy, match="why"):
        await remote.all_docs()


@pytest.mark.parametrize("body", [b"", b"{", b'{"rows":[', b"<html>", b'{"a":1}\n{"b":2}'])
async def test_what_is_not_whole_json_is_a_breach_of_the_protocol(body: bytes) -> None:
    remote, server = database(body)
    with pytest.raises(ProtocolError):
        await remote.all_docs()
    assert server.all_closed


_ODD: list[Any] = [[], {}, None, 5, "text", {"rows": 5}, {"rows": [5]}, {"rows": [{}]}, {"results": [{}]}]


_CALLS: dict[str, Callable[[RemoteDatabase], Awaitable[Any]]] = {
    "all_docs": lambda remote: remote.all_docs(),
    "all_docs by keys": lambda remote: remote.all_docs(keys=["a"]),
    "changes": lambda remote: remote.changes(),
    "revs_diff": lambda remote: remote.revs_diff({"a": ["1-a"]}),
    "purge": lambda remote: remote.purge({"a": ["1-a"]}),
    "bulk_docs": lambda remote: remote.bulk_docs([{"_id": "a"}]),
    "info": lambda remote: remote.info(),
    "get": lambda remote: remote.get("a"),
    "put_attachment": lambda remote: remote.put_attachment("a", "f", b""),
    "find": lambda remote: remote.find({}),
}


@pytest.mark.parametrize("name", _CALLS)
@pytest.mark.parametrize("body", _ODD, ids=repr)
async def test_an_answer_of_another_form_is_a_breach_of_the_protocol(name: str, body: Any) -> None:
    if name == "revs_diff" and body == {}:
        pytest.skip("a rightful answer: nothing is missing")
    remote, server = database(body)
    with pytest.raises(ProtocolError):
        await _CALLS[name](remote)
    assert server.all_closed


async def test_a_document_that_nobody_asked_for_is_refused() -> None:
    remote, _ = database({"_id": "other", "_rev": "1-a"})
    with pytest.raises(ProtocolError):
        await remote.get("doc")


async def test_an_answer_is_not_read_beyond_its_limit() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    server = Server([Reply(endless())])
    client = Client(server, URL)
    with pytest.raises(AnswerTooLarge):
        await client.json("GET", "/doc", limit=10_000)
    assert server.streams[0].given <= 12_000
    assert server.all_closed


async def test_what_the_exchange_raises_passes() -> None:
    class Broken(Exchange):
        async def handle_async_request(self, request: Request) -> Response:
            raise ConnectionFailed("why")

    with pytest.raises(ConnectionFailed, match="why"):
        await RemoteDatabase(Broken(), URL).info()


async def test_a_closed_database_says_so_and_closes_once() -> None:
    closed: list[int] = []

    async def on_close() -> None:
        closed.append(1)

    remote = RemoteDatabase(Server([]), URL, on_close=on_close)
    await remote.close()
    await remote.close()
    with pytest.raises(DatabaseClosed):
        await remote.info()
    assert closed == [1]


async def test_an_id_that_is_too_long_for_a_url_is_refused() -> None:
    remote, server = database()
    with pytest.raises(BadRequest):
        await remote.get("x" * 100_000)
    assert server.asked == []


async def test_what_every_request_carries() -> None:
    server = Server([Reply({"_id": "a", "_rev": "1-a"})])
    remote = RemoteDatabase(server, URL, headers={"x-token": "t"}, timeout=5.0)
    await remote.get("a", revs=True)
    (asked,) = server.asked
    assert asked.headers["x-token"] == "t"
    assert asked.headers["host"] == "server.example"
    assert asked.query["revs"] == "true"


class TestIdentity:
    async def test_a_peerpouch_database_has_its_own(self) -> None:
        remote, server = database({"uuid": "abc"})
        assert await remote.id() == "abc"
        assert await remote.id() == "abc"
        assert len(server.asked) == 1

    async def test_another_server_has_one_and_a_path(self) -> None:
        remote, _ = database({"db_name": "db"}, {"uuid": "abc"})
        assert await remote.id() == "abc/db"

    async def test_a_server_without_one_is_known_by_its_url(self) -> None:
        remote, _ = database({"db_name": "db"}, Reply({}, status=404))
        assert await remote.id() == URL

    async def test_a_server_that_is_lost_has_no_other_id_meanwhile(self) -> None:
        remote, _ = database({"db_name": "db"}, Reply(b"", status=503))
        with pytest.raises(ConnectionFailed):
            await remote.id()


@pytest.mark.parametrize("wrong", [{"doc_count": "3"}, {"doc_del_count": None}, {"db_name": 3}, {"sizes": 3}], ids=repr)
async def test_counts_that_are_no_numbers_are_a_breach_of_the_protocol(wrong: dict[str, Any]) -> None:
    remote, _ = database({"db_name": "db", "doc_count": 3, "update_seq": 7, **wrong})
    with pytest.raises(ProtocolError):
        await remote.info()


async def test_sizes_that_are_not_told_are_nought() -> None:
    remote, _ = database({"db_name": "db", "update_seq": 7, "sizes": {"file": 5, "active": None, "external": "x"}})
    assert (await remote.info())["sizes"] == {"file": 5, "active": 0, "external": 0}


async def test_what_other_servers_do_not_tell_is_filled_in() -> None:
    remote, _ = database({"db_name": "db", "doc_count": 3, "update_seq": 7})
    info = await remote.info()
    assert (info["doc_count"], info["update_seq"], info["sizes"]["file"]) == (3, "7", 0)


def _later(status: int, after: str = "0") -> Reply:
    return Reply({"error": "made_up", "reason": "later"}, status=status, headers={"retry-after": after})


@pytest.mark.parametrize("status", [429, 503])
async def test_a_read_that_is_to_come_back_does(status: int) -> None:
    remote, server = database(_later(status), _later(status), {"_id": "a", "_rev": "1-a"})
    assert (await remote.get("a"))["_rev"] == "1-a"
    assert len(server.asked) == 3
    assert server.all_closed


async def test_a_date_to_come_back_at_is_measured_by_the_servers_own_clock() -> None:
    def later(date: str) -> Reply:
        headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": date}
        return Reply({"error": "made_up", "reason": "later"}, status=429, headers=headers)

    remote, _ = database(later("Wed, 21 Oct 2015 07:26:00 GMT"))
    with pytest.raises(TooManyRequests) as caught:
        await remote.get("a")
    assert caught.value.retry_after == 120.0
    remote, server = database(later("Wed, 21 Oct 2015 07:28:30 GMT"), {"_id": "a", "_rev": "1-a"})
    assert (await remote.get("a"))["_rev"] == "1-a"
    assert len(server.asked) == 2


async def test_a_write_comes_back_only_where_nothing_was_done() -> None:
    written = [{"ok": True, "id": "a", "rev": "1-a"}]
    remote, server = database(_later(429), written)
    assert (await remote.put({"_id": "a"})).rev == "1-a"
    assert server.asked[0].body == server.asked[1].body
    remote, server = database(_later(503), written)
    with pytest.raises(PeerPouchError):
        await remote.put({"_id": "a"})
    assert len(server.asked) == 1


@pytest.mark.parametrize("after", ["", "100", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"])
async def test_who_asks_for_more_patience_than_there_is_gets_the_error_out(after: str) -> None:
    remote, server = database(_later(429, after))
    with pytest.raises(TooManyRequests) as caught:
        await remote.get("a")
    assert caught.value.retry_after == (100.0 if after == "100" else None)
    assert len(server.asked) == 1


async def test_patience_ends() -> None:
    remote, server = database(answer=lambda asked: _later(429))
    with pytest.raises(TooManyRequests):
        await remote.get("a")
    assert 10 < len(server.asked) < 20


async def test_a_batch_that_one_id_spoils_is_sent_again_without_it() -> None:
    def answer(asked: Any) -> Reply:
        docs = asked.json["docs"]
        if any(doc["_id"].startswith("_") for doc in docs):
            return Reply({"error": "illegal_docid", "reason": "no"}, status=400)
        return Reply([{"ok": True, "id": doc["_id"], "rev": "1-a"} for doc in docs], status=201)

    remote, _ = database(answer=answer)
    results = await remote.bulk_docs([{"_id": "a"}, {"_id": "b"}, {"_id": "_bad"}, {"_id": "c"}])
    assert [type(result).__name__ for result in results] == ["Written", "Written", "WriteFailure", "Written"]
