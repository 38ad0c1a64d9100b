from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.core import jsonbatch
from peerpouch.core.multipart import MultipartParser, PartBegin, PartData, boundary_of
from peerpouch.errors import (
    Conflict,
    ConnectionFailed,
    DocumentTooLarge,
    Forbidden,
    InvalidDocument,
    NotSupported,
    ProtocolError,
    Unauthorized,
)
from peerpouch.ports import Attachment, Document, PlainRevisions, WriteFailure, Written
from peerpouch.remote import RemoteDatabase, writing
from tests.couchapi.support import served
from tests.remote.support import URL, Asked, Reply, database


def accept(asked: Asked) -> Reply:
    """A server that writes whatever comes."""
    if asked.method == "PUT":
        return Reply({"ok": True, "id": asked.path[1:], "rev": "1-put"})
    if asked.json.get("new_edits", True):
        return Reply([{"ok": True, "id": doc["_id"], "rev": "1-new"} for doc in asked.json["docs"]])
    return Reply([])


def parts_of(asked: Asked) -> list[tuple[dict[str, str], bytes]]:
    parser = MultipartParser(boundary_of(asked.headers["content-type"]))
    parts: list[tuple[dict[str, str], bytes]] = []
    for event in parser.feed(asked.body):
        if isinstance(event, PartBegin):
            parts.append((dict(event.headers), b""))
        elif isinstance(event, PartData):
            parts[-1] = (parts[-1][0], parts[-1][1] + event.data)
    parser.close()
    return parts


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class TestPlain:
    async def test_bodies_go_as_they_are_with_id_revision_and_history_before_them(self) -> None:
        remote, server = database(answer=accept)
        bodies = [b"{}", '{"n":1.5,"t":"ß"}'.encode()]
        assert await remote.write_plain(PlainRevisions(['a"', "b"], ["1-x", "3-z"], ["", "y,x"], bodies)) == []
        (asked,) = server.asked
        assert asked.json == {
            "docs": [
                {"_id": 'a"', "_rev": "1-x", "_revisions": {"start": 1, "ids": ["x"]}},
                {"_id": "b", "_rev": "3-z", "_revisions": {"start": 3, "ids": ["z", "y", "x"]}, "n": 1.5, "t": "ß"},
            ],
            "new_edits": False,
        }

    @pytest.mark.parametrize("body", [b'{"a":1},{"_id":"other"}', b'{"_id":"other"}', b'{"a":1', b"[]"])
    async def test_no_body_can_say_more_than_its_own_document(self, body: bytes) -> None:
        remote, server = database(answer=accept)
        failures = await remote.write_plain(PlainRevisions(["a", "b"], ["1-x", "1-y"], ["", ""], [body, b'{"n":1}']))
        sent = {doc["_id"] for asked in server.asked for doc in asked.json["docs"]}
        assert sent | {failure.id for failure in failures} == {"a", "b"}

    async def test_without_the_check_it_could(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jsonbatch, "are_stored", lambda bodies: True)
        remote, server = database(answer=accept)
        await remote.write_plain(PlainRevisions(["a"], ["1-x"], [""], [b'{"a":1},{"_id":"other"}']))
        assert [doc["_id"] for doc in server.asked[0].json["docs"]] == ["a", "other"]

    async def test_what_is_refused_is_told_and_the_rest_is_written(self) -> None:
        row = {"id": "b", "rev": "1-y", "error": "forbidden", "reason": "why"}
        remote, _ = database([row])
        (failure,) = await remote.write_plain(PlainRevisions(["a", "b"], ["1-x", "1-y"], ["", ""], [b"{}", b"{}"]))
        assert (failure.id, failure.rev, type(failure.error)) == ("b", "1-y", Forbidden)


class TestBatches:
    async def test_each_document_has_its_result(self) -> None:
        rows = [
            {"ok": True, "id": "a", "rev": "1-x"},
            {"id": "b", "error": "conflict", "reason": "why"},
            {"ok": True, "id": "made-up", "rev": "1-y"},
        ]
        remote, server = database(rows)
        results = await remote.bulk_docs([{"_id": "a"}, {"_id": "b"}, {"x": 1}])
        assert results[0] == Written("a", "1-x")
        assert isinstance(results[1], WriteFailure)
        assert isinstance(results[1].error, Conflict)
        assert results[2] == Written("made-up", "1-y")
        assert server.asked[0].json == {"docs": [{"_id": "a"}, {"_id": "b"}, {"x": 1}]}

    async def test_what_is_stored_as_given_is_written_unless_it_is_mentioned(self) -> None:
        remote, server = database([{"id": "b", "rev": "2-b", "error": "forbidden", "reason": "why"}])
        docs: list[Document] = [
            {"_id": "a", "_rev": "1-a"},
            {"_id": "b", "_rev": "2-a"},
            {"_id": "b", "_rev": "2-b"},
            {"_id": "c", "_revisions": {"start": 3, "ids": ["z", "y"]}},
        ]
        results = await remote.bulk_docs(docs, new_edits=False)
        assert results[:2] == [Written("a", "1-a"), Written("b", "2-a")]
        assert isinstance(results[2], WriteFailure)
        assert (results[2].rev, type(results[2].error)) == ("2-b", Forbidden)
        assert results[3] == Written("c", "3-z")
        assert server.asked[0].json["new_edits"] is False

    async def test_many_go_in_several_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writing, "MAX_BATCH_BYTES", 10_000)
        remote, server = database(answer=accept)
        docs = [{"_id": f"doc{n}", "x": "x" * 900} for n in range(50)] + [{"_id": "big", "x": "x" * 20_000}]
        results = await remote.bulk_docs(docs)
        assert [result.id for result in results] == [doc["_id"] for doc in docs]
        assert all(len(asked.body) < 11_000 for asked in server.asked[:-1])

    async def test_one_that_is_too_large_fails_alone(self) -> None:
        def answer(asked: Asked) -> Reply:
            if any(len(doc.get("x", "")) > 100 for doc in asked.json["docs"]):
                return Reply({"error": "document_too_large", "reason": "why"}, status=413)
            return accept(asked)

        remote, _ = database(answer=answer)
        docs = [{"_id": f"doc{n}", "x": "x" * (200 if n == 3 else 1)} for n in range(8)]
        results = await remote.bulk_docs(docs)
        assert [isinstance(result, Written) for result in results] == [n != 3 for n in range(8)]
        assert isinstance(results[3], WriteFailure)
        assert isinstance(results[3].error, DocumentTooLarge)

    async def test_what_is_no_json_fails_here_and_alone(self) -> None:
        remote, server = database(answer=accept)
        docs: list[Any] = [{"_id": "a"}, {"_id": "b", "x": float("nan")}, {"_id": "c", "x": {1, 2}}, {"_id": "d"}]
        results = await remote.bulk_docs(docs)
        assert [type(result) for result in results] == [Written, WriteFailure, WriteFailure, Written]
        assert isinstance(results[1], WriteFailure)
        assert isinstance(results[1].error, InvalidDocument)
        assert [doc["_id"] for asked in server.asked for doc in asked.json["docs"]] == ["a", "d"]

    async def test_a_refusal_of_all_is_raised(self) -> None:
        remote, _ = database(Reply({"error": "unauthorized", "reason": "why"}, status=401))
        with pytest.raises(Unauthorized):
            await remote.bulk_docs([{"_id": "a"}])

    @pytest.mark.parametrize(
        "rows",
        [
            [],
            [{"ok": True, "id": "other", "rev": "1-a"}],
            [{"ok": True, "id": "a"}],
            [{"ok": True, "id": "a", "rev": 5}],
        ],
        ids=repr,
    )
    async def test_results_that_do_not_fit_are_a_breach_of_the_protocol(self, rows: Any) -> None:
        remote, _ = database(rows)
        with pytest.raises(ProtocolError):
            await remote.bulk_docs([{"_id": "a"}])

    async def test_a_guard_can_not_be_sent(self) -> None:
        remote, server = database()
        with pytest.raises(NotSupported):
            await remote.bulk_docs([{"_id": "a"}], guard=lambda proposal: None)
        assert server.asked == []

    async def test_local_documents_have_a_request_of_their_own(self) -> None:
        remote, server = database(answer=accept)
        results = await remote.bulk_docs([{"_id": "a"}, {"_id": "_local/c"}, {"_id": "b"}])
        assert [result.id for result in results] == ["a", "_local/c", "b"]
        assert [(asked.method, asked.path) for asked in server.asked] == [
            ("POST", "/_bulk_docs"),
            ("PUT", "/_local/c"),
            ("POST", "/_bulk_docs"),
        ]


class TestAttachments:
    async def test_small_ones_travel_inline(self) -> None:
        remote, server = database(answer=accept)
        await remote.put({"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": b"tiny"}}})
        (asked,) = server.asked
        assert asked.json["docs"][0]["_attachments"]["f"]["data"] == base64.b64encode(b"tiny").decode()

    async def test_streams_follow_the_document(self) -> None:
        large = b"x" * (writing.MAX_INLINE + 1)
        packed = gzip.compress(b"text")
        doc: Document = {
            "_id": "a/b",
            "_rev": "1-put",
            "_attachments": {
                "stream": {"content_type": "t/x", "data": stream(b"ab", b"cd")},
                "kept": {"stub": True},
                "large": {"data": large, "content_type": "t/y"},
                "packed": {"data": packed, "encoding": "gzip", "length": 4, "digest": "md5-x", "content_type": "t/z"},
                'quo"ted': {"data": stream(), "content_type": "t/w"},
            },
        }
        remote, server = database({"ok": True, "id": "a/b", "rev": "1-put"})
        assert await remote.bulk_docs([doc], new_edits=False) == [Written("a/b", "1-put")]
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.query) == ("PUT", "/a/b", {"new_edits": "false"})
        parts = parts_of(asked)
        entries = json.loads(parts[0][1])["_attachments"]
        assert list(entries) == ["stream", "kept", "large", "packed", 'quo"ted']
        assert entries["large"] == {"content_type": "t/y", "follows": True, "length": len(large)}
        assert entries["packed"]["encoded_length"] == len(packed)
        assert entries["packed"]["length"] == 4
        assert entries["kept"] == {"stub": True}
        assert [content for _, content in parts[1:]] == [b"abcd", large, packed, b""]
        assert parts[3][0]["content-encoding"] == "gzip"
        assert parts[4][0]["content-disposition"] == 'attachment; filename="quo\\"ted"'
        assert doc["_attachments"]["large"]["data"] is large

    async def test_a_body_of_known_length_says_so(self) -> None:
        remote, server = database(answer=accept)
        attachment = Attachment("f", "t/x", 4, "md5-x", lambda: stream(b"ab", b"cd"))
        await remote.put({"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": attachment}}})
        (asked,) = server.asked
        assert int(asked.headers["content-length"]) == len(asked.body)
        assert "transfer-encoding" not in asked.headers

    @pytest.mark.parametrize("given", [b"abc", b"abcde"])
    async def test_a_stream_of_another_length_breaks_the_request_off(self, given: bytes) -> None:
        remote, _ = database(answer=accept)
        attachment = Attachment("f", "t/x", 4, "md5-x", lambda: stream(given))
        with pytest.raises(ProtocolError):
            await remote.put({"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": attachment}}})

    async def test_what_a_stream_raises_is_raised(self) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise OSError("the disk is gone")

        async with served() as api:
            remote = RemoteDatabase(api.exchange, URL)
            with pytest.raises(OSError, match="the disk is gone"):
                await remote.put({"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": broken()}}})
            assert (await api.get("/db/a")).status == 404

    async def test_a_document_of_its_own_fails_alone(self) -> None:
        remote, _ = database(
            Reply({"error": "forbidden", "reason": "why"}, status=403), [{"ok": True, "id": "b", "rev": "1-x"}]
        )
        attachment = {"content_type": "t/x", "data": stream(b"x")}
        results = await remote.bulk_docs([{"_id": "a", "_attachments": {"f": attachment}}, {"_id": "b"}])
        assert isinstance(results[0], WriteFailure)
        assert isinstance(results[0].error, Forbidden)
        assert results[1] == Written("b", "1-x")

    async def test_a_server_that_is_lost_is_no_fault_of_the_document(self) -> None:
        remote, _ = database(Reply(b"", status=503))
        attachment = {"content_type": "t/x", "data": stream(b"x")}
        with pytest.raises(ConnectionFailed):
            await remote.bulk_docs([{"_id": "a", "_attachments": {"f": attachment}}])

    async def test_a_stream_in_a_document_without_an_id_is_refused(self) -> None:
        remote, server = database(answer=accept)
        (result,) = await remote.bulk_docs([{"_attachments": {"f": {"content_type": "t/x", "data": stream(b"x")}}}])
        assert isinstance(result, WriteFailure)
        assert server.asked == []

    async def test_data_that_are_no_base64_are_refused(self) -> None:
        remote, server = database(answer=accept)
        data = "?" * (writing.MAX_INLINE + 1)
        (result,) = await remote.bulk_docs([{"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": data}}}])
        assert isinstance(result, WriteFailure)
        assert isinstance(result.error, InvalidDocument)
        assert server.asked == []


async def test_large_attachments_pass_with_bounded_memory() -> None:
    held = 0
    most = 0

    async def produce() -> AsyncIterator[bytes]:
        nonlocal held, most
        for _ in range(200):
            held += 1
            most = max(most, held)
            yield b"x" * 65_536
            held -= 1
            await asyncio.sleep(0)

    async with served() as api:
        remote = RemoteDatabase(api.exchange, URL)
        await remote.put({"_id": "a", "_attachments": {"f": {"content_type": "t/x", "data": produce()}}})
        attachment = await remote.get_attachment("a", "f")
        assert attachment.length == 200 * 65_536
        assert sum([len(chunk) async for chunk in attachment]) == attachment.length
    assert most == 1
