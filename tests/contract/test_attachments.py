"""What every database does with attachments."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.errors import BadRequest, Conflict, MissingStub, NotFound, RangeNotSatisfiable
from peerpouch.ports import Documents, RevisionRequest, WriteFailure, Written
from tests.contract.implementations import Implementation

TEXT = b"hello, world"


def pattern(size: int) -> bytes:
    """Bytes whose every part is different."""
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(size // 32 + 1))[:size]


BIG = pattern(3_000_000)


def md5(data: bytes) -> str:
    return "md5-" + base64.b64encode(hashlib.md5(data).digest()).decode()


async def stream(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]


def inline(data: Any, **more: Any) -> dict[str, Any]:
    return {"f": {"content_type": "text/plain", "data": data, **more}}


class TestIn:
    @pytest.mark.parametrize("kind", ["base64", "bytes", "stream"])
    @pytest.mark.parametrize("data", [b"", TEXT, BIG], ids=["empty", "small", "big"])
    async def test_content_comes_back_as_it_was_given(self, database: Documents, kind: str, data: bytes) -> None:
        given: Any = {"base64": base64.b64encode(data).decode(), "bytes": data, "stream": stream(data)}[kind]
        await database.put({"_id": "a", "n": 1, "_attachments": inline(given)})
        doc = await database.get("a")
        assert doc["_attachments"]["f"] == {
            "content_type": "text/plain", "revpos": 1, "digest": md5(data), "length": len(data), "stub": True,
        }  # fmt: skip
        attachment = await database.get_attachment("a", "f")
        assert (attachment.content_type, attachment.length, attachment.digest) == ("text/plain", len(data), md5(data))
        assert await attachment.read() == data

    async def test_put_attachment_adds_to_a_document(self, database: Documents, implementation: Implementation) -> None:
        first = await database.put({"_id": "a", "n": 1})
        with pytest.raises(Conflict):
            await database.put_attachment("a", "f", TEXT)
        second = await database.put_attachment("a", "f", stream(BIG), "image/png", rev=first.rev)
        third = await database.put_attachment("a", "g/h ü", TEXT, rev=second.rev)
        doc = await database.get("a")
        assert doc["n"] == 1
        assert {name: item["revpos"] for name, item in doc["_attachments"].items()} == {"f": 2, "g/h ü": 3}
        assert await (await database.get_attachment("a", "f")).read() == BIG
        assert await (await database.get_attachment("a", "g/h ü")).read() == TEXT
        await database.remove_attachment("a", "f", third.rev)
        assert list((await database.get("a"))["_attachments"]) == ["g/h ü"]
        if implementation.ancestors:
            assert await (await database.get_attachment("a", "f", rev=third.rev)).read() == BIG

    async def test_put_attachment_makes_a_document(self, database: Documents) -> None:
        written = await database.put_attachment("new", "f", TEXT, "text/plain")
        assert written.rev.startswith("1-")
        assert await (await database.get_attachment("new", "f")).read() == TEXT

    async def test_stubs_keep_what_the_document_has(self, database: Documents) -> None:
        await database.put({"_id": "a", "_attachments": inline(BIG)})
        doc = await database.get("a")
        await database.put(doc | {"n": 2})
        assert (await database.get("a"))["_attachments"] == doc["_attachments"]
        assert await (await database.get_attachment("a", "f")).read() == BIG

    @pytest.mark.parametrize("stub", [{"stub": True}, {"stub": True, "digest": md5(TEXT)}])
    async def test_a_stub_stands_only_for_content_of_the_same_document(
        self, database: Documents, stub: dict[str, Any]
    ) -> None:
        await database.put({"_id": "a", "_attachments": inline(TEXT)})
        with pytest.raises(MissingStub):
            await database.put({"_id": "b", "_attachments": {"f": stub}})
        written = await database.put({"_id": "c", "_attachments": inline(b"other")})
        with pytest.raises(MissingStub):
            await database.put({"_id": "c", "_rev": written.rev, "_attachments": {"g": stub}})
        with pytest.raises(MissingStub):
            await database.put(
                {"_id": "c", "_rev": written.rev, "_attachments": {"f": {"stub": True, "digest": md5(TEXT)}}}
            )
        with pytest.raises(NotFound):
            await database.get("b")

    @pytest.mark.parametrize(
        "attachments",
        [[], {"f": 1}, {"f": {}}, {"_f": {"data": ""}}, {"": {"data": ""}}, {"f": {"data": 5}}, {"f": {"stub": False}}],
    )
    async def test_malformed_entries_are_refused(self, database: Documents, attachments: Any) -> None:
        with pytest.raises(BadRequest):
            await database.put({"_id": "a", "_attachments": attachments})

    async def test_base64_that_is_none_is_refused(self, database: Documents) -> None:
        with pytest.raises(BadRequest):
            await database.put({"_id": "a", "_attachments": inline("not base64!")})

    async def test_a_document_in_a_batch_fails_alone(self, database: Documents) -> None:
        results = await database.bulk_docs(
            [
                {"_id": "a", "_attachments": inline(BIG)},
                {"_id": "b", "_attachments": {"f": {"stub": True}}},
                {"_id": "c"},
            ]
        )
        assert [type(item) for item in results] == [Written, WriteFailure, Written]
        assert await (await database.get_attachment("a", "f")).read() == BIG

    async def test_a_stream_that_breaks_writes_nothing(self, database: Documents) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield BIG
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await database.put({"_id": "a", "_attachments": inline(broken())})
        with pytest.raises(NotFound):
            await database.get("a")
        await database.put({"_id": "a"})


class TestAsReceived:
    async def test_digest_revpos_and_encoding_are_kept(self, database: Documents) -> None:
        packed = gzip.compress(BIG[:100_000] * 3, mtime=0)
        doc = {
            "_id": "a",
            "_rev": "3-c",
            "_attachments": inline(
                base64.b64encode(packed).decode(), encoding="gzip", digest=md5(packed), revpos=2, length=300_000
            ),
        }
        (result,) = await database.bulk_docs([doc], new_edits=False)
        assert isinstance(result, Written), result
        stub = (await database.get("a"))["_attachments"]["f"]
        assert (stub["digest"], stub["revpos"], stub["length"]) == (md5(packed), 2, 300_000)
        plain = await database.get_attachment("a", "f")
        assert (plain.encoding, plain.length) == (None, 300_000)
        assert await plain.read() == BIG[:100_000] * 3
        raw = await database.get_attachment("a", "f", encoded=True)
        assert (raw.encoding, raw.length) == ("gzip", len(packed))
        assert await raw.read() == packed

    async def test_a_foreign_digest_is_kept(self, database: Documents) -> None:
        doc = {"_id": "a", "_rev": "1-a", "_attachments": inline(TEXT, digest="md5-AAAAAAAAAAAAAAAAAAAAAA==")}
        (result,) = await database.bulk_docs([doc], new_edits=False)
        assert isinstance(result, Written), result
        assert (await database.get("a"))["_attachments"]["f"]["digest"] == "md5-AAAAAAAAAAAAAAAAAAAAAA=="


class TestOut:
    @pytest.mark.parametrize(
        ("start", "end"), [(0, 10), (5, None), (131_072, 131_073), (100_000, 2_000_000), (2_999_999, None), (0, 9**9)]
    )
    async def test_ranges(self, database: Documents, start: int, end: int | None) -> None:
        await database.put({"_id": "a", "_attachments": inline(BIG)})
        attachment = await database.get_attachment("a", "f", start=start, end=end)
        assert await attachment.read() == BIG[start:end]
        assert attachment.length == len(BIG)

    async def test_ranges_of_encoded_content_count_decoded_bytes(self, database: Documents) -> None:
        doc = {"_id": "a", "_rev": "1-a", "_attachments": inline(gzip.compress(BIG), encoding="gzip")}
        await database.bulk_docs([doc], new_edits=False)
        attachment = await database.get_attachment("a", "f", start=1_000_000, end=2_500_000)
        assert await attachment.read() == BIG[1_000_000:2_500_000]

    async def test_a_range_beyond_the_end_is_refused(self, database: Documents) -> None:
        await database.put({"_id": "a", "_attachments": inline(TEXT)})
        with pytest.raises(RangeNotSatisfiable):
            await database.get_attachment("a", "f", start=len(TEXT))

    async def test_what_is_not_there(self, database: Documents) -> None:
        await database.put({"_id": "a", "_attachments": inline(TEXT)})
        for doc_id, name, rev in (("b", "f", None), ("a", "g", None), ("a", "f", "2-x")):
            with pytest.raises(NotFound):
                await database.get_attachment(doc_id, name, rev=rev)

    async def test_data_comes_with_documents_on_demand(self, database: Documents) -> None:
        written = await database.put({"_id": "a", "_attachments": inline(TEXT)})
        text = base64.b64encode(TEXT).decode()
        assert (await database.get("a", attachments=True))["_attachments"]["f"]["data"] == text
        assert (await database.get("a", attachments="bytes"))["_attachments"]["f"]["data"] == TEXT
        (row,) = (await database.all_docs(include_docs=True, attachments=True))["rows"]
        assert row["doc"] is not None
        assert row["doc"]["_attachments"]["f"]["data"] == text
        (change,) = (await database.changes(include_docs=True, attachments=True))["results"]
        assert change["doc"]["_attachments"]["f"]["data"] == text
        (found,) = [item async for item in database.bulk_get([RevisionRequest("a", written.rev)], attachments="bytes")]
        assert found.doc is not None
        assert found.doc["_attachments"]["f"]["data"] == TEXT

    async def test_only_what_is_newer_than_a_known_ancestor_comes_with_data(self, database: Documents) -> None:
        first = await database.put({"_id": "a", "_attachments": inline(TEXT)})
        second = await database.put_attachment("a", "g", b"new", rev=first.rev)
        (found,) = await database.open_revs("a", [second.rev], attachments="bytes", atts_since=[first.rev, "1-zzz"])
        assert found.doc is not None
        assert found.doc["_attachments"]["f"]["stub"] is True
        assert found.doc["_attachments"]["g"]["data"] == b"new"
