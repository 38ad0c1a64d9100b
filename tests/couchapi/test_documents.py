from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.core.multipart import MultipartParser, PartBegin, PartData, boundary_of, closing, part_head
from tests.couchapi.support import Api

TEXT = b"the quick brown fox"


def md5(data: bytes) -> str:
    return "md5-" + base64.b64encode(hashlib.md5(data).digest()).decode()


def parts_of(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    parser = MultipartParser(boundary_of(content_type))
    parts: list[tuple[dict[str, str], bytes]] = []
    for event in parser.feed(body):
        if isinstance(event, PartBegin):
            parts.append((dict(event.headers), b""))
        elif isinstance(event, PartData):
            parts[-1] = (parts[-1][0], parts[-1][1] + event.data)
    parser.close()
    return parts


def related(doc: Any, *contents: bytes, boundary: str = "b") -> bytes:
    body = part_head(boundary, {"Content-Type": "application/json"}, first=True) + json.dumps(doc).encode()
    for content in contents:
        body += part_head(boundary, {}) + content
    return body + closing(boundary)


RELATED = {"content-type": 'multipart/related; boundary="b"'}


async def conflicting(api: Api) -> None:
    docs = [{"_id": "c", "_rev": rev, "n": n} for n, rev in enumerate(("1-a", "1-b", "1-c"))]
    docs.append({"_id": "c", "_rev": "2-x", "_deleted": True, "_revisions": {"start": 2, "ids": ["x", "a"]}})
    assert (await api.post("/db/_bulk_docs", {"docs": docs, "new_edits": False})).json == []


class TestGet:
    async def test_a_document_has_its_revision_as_entity_tag(self, api: Api) -> None:
        rev = (await api.put("/db/doc", {"x": 1})).json["rev"]
        answer = await api.get("/db/doc")
        assert answer.json == {"_id": "doc", "_rev": rev, "x": 1}
        assert answer.headers["etag"] == f'"{rev}"'
        again = await api.get("/db/doc", headers={"if-none-match": f'W/"other", "{rev}"'})
        assert (again.status, again.body) == (304, b"")
        changed = await api.get("/db/doc", headers={"if-none-match": '"1-other"'})
        assert changed.status == 200

    async def test_what_is_told_besides_the_document(self, api: Api) -> None:
        await conflicting(api)
        answer = await api.get("/db/c?meta=true&local_seq=true&revs=true")
        doc = answer.json
        assert doc["_rev"] == "1-c"
        assert doc["_conflicts"] == ["1-b"]
        assert doc["_deleted_conflicts"] == ["2-x"]
        assert doc["_revs_info"] == [{"rev": "1-c", "status": "available"}]
        assert doc["_revisions"] == {"start": 1, "ids": ["c"]}
        assert "_local_seq" in doc
        assert "etag" not in answer.headers

    async def test_open_revisions_as_json(self, api: Api) -> None:
        await conflicting(api)
        accept = {"accept": "application/json"}
        rows = (await api.get("/db/c?open_revs=all", headers=accept)).json
        assert {row["ok"]["_rev"] for row in rows} == {"2-x", "1-b", "1-c"}
        rows = (await api.get('/db/c?open_revs=["1-b","9-z"]&revs=true', headers=accept)).json
        assert rows[0]["ok"]["_revisions"] == {"start": 1, "ids": ["b"]}
        assert rows[1] == {"missing": "9-z"}

    async def test_open_revisions_as_multipart_with_attachments(self, api: Api) -> None:
        entry = {"content_type": "text/plain", "data": base64.b64encode(TEXT).decode()}
        rev = (await api.put("/db/a", {"_attachments": {"f": entry}})).json["rev"]
        answer = await api.get(f'/db/a?open_revs=["{rev}","9-z"]&revs=true')
        outer = parts_of(answer.headers["content-type"], answer.body)
        assert outer[0][0]["content-type"].startswith("multipart/related")
        document, attachment = parts_of(outer[0][0]["content-type"], outer[0][1])
        assert json.loads(document[1])["_attachments"]["f"]["follows"] is True
        assert attachment[1] == TEXT
        assert attachment[0]["content-disposition"] == 'attachment; filename="f"'
        assert outer[1][0]["content-type"] == 'application/json; error="true"'
        assert json.loads(outer[1][1]) == {"missing": "9-z"}

    async def test_attachments_that_the_reader_has_are_stubs(self, api: Api) -> None:
        entry = {"content_type": "text/plain", "data": base64.b64encode(TEXT).decode()}
        first = (await api.put("/db/a", {"_attachments": {"old": entry}})).json["rev"]
        doc = (await api.get("/db/a")).json
        doc["_attachments"]["new"] = entry
        second = (await api.put("/db/a", doc)).json["rev"]
        answer = await api.get(f'/db/a?open_revs=["{second}"]&revs=true&atts_since=["{first}"]')
        ((head, content),) = parts_of(answer.headers["content-type"], answer.body)
        document, attachment = parts_of(head["content-type"], content)
        entries = json.loads(document[1])["_attachments"]
        assert entries["old"]["stub"] is True
        assert entries["new"]["follows"] is True
        assert attachment[0]["content-disposition"] == 'attachment; filename="new"'

    async def test_attachments_inline_or_following(self, api: Api) -> None:
        entry = {"content_type": "text/plain", "data": base64.b64encode(TEXT).decode()}
        await api.put("/db/a", {"_attachments": {"f": entry}})
        inline = (await api.get("/db/a?attachments=true")).json["_attachments"]["f"]
        assert inline["data"] == entry["data"]
        answer = await api.get("/db/a?attachments=true", headers={"accept": "multipart/related,*/*"})
        document, attachment = parts_of(answer.headers["content-type"], answer.body)
        assert json.loads(document[1])["_attachments"]["f"]["follows"] is True
        assert attachment[1] == TEXT

    async def test_an_encoding_is_told_on_demand(self, api: Api) -> None:
        packed = gzip.compress(TEXT * 50, mtime=0)
        await api.put("/db/a/f", content=packed, headers={"content-encoding": "gzip", "content-type": "text/plain"})
        entry = (await api.get("/db/a")).json["_attachments"]["f"]
        assert "encoding" not in entry
        assert entry["length"] == len(TEXT) * 50
        entry = (await api.get("/db/a?att_encoding_info=true")).json["_attachments"]["f"]
        assert (entry["encoding"], entry["encoded_length"]) == ("gzip", len(packed))
        entry = (await api.get("/db/a?attachments=true")).json["_attachments"]["f"]
        assert base64.b64decode(entry["data"]) == TEXT * 50
        (row,) = (await api.get("/db/_all_docs?include_docs=true")).json["rows"]
        assert "encoding" not in row["doc"]["_attachments"]["f"]


class TestPut:
    async def test_a_document_is_created_where_it_says(self, api: Api) -> None:
        answer = await api.put("/db/a%2Fb", {"_id": "ignored", "x": 1})
        assert answer.status == 201
        assert answer.json.keys() == {"ok", "id", "rev"}
        assert answer.json["id"] == "a/b"
        assert answer.headers["location"] == "http://db.example/db/a%2Fb"
        assert answer.headers["etag"] == f'"{answer.json["rev"]}"'
        design = await api.put("/db/_design/d", {})
        assert design.headers["location"] == "http://db.example/db/_design/d"

    @pytest.mark.parametrize("way", ["body", "query", "header"])
    async def test_the_revision_may_stand_in_three_places(self, api: Api, way: str) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        if way == "body":
            answer = await api.put("/db/a", {"_rev": rev})
        elif way == "query":
            answer = await api.put(f"/db/a?rev={rev}", {})
        else:
            answer = await api.put("/db/a", {}, headers={"if-match": f'"{rev}"'})
        assert answer.status == 201

    async def test_a_replicated_revision_is_stored_as_given(self, api: Api) -> None:
        doc = {"_rev": "3-c", "_revisions": {"start": 3, "ids": ["c", "b", "a"]}, "x": 1}
        answer = await api.put("/db/a?new_edits=false", doc)
        assert (answer.status, answer.json["rev"]) == (201, "3-c")
        assert (await api.get("/db/a?revs=true")).json["_revisions"]["ids"] == ["c", "b", "a"]

    async def test_batch_is_accepted_and_written_at_once(self, api: Api) -> None:
        answer = await api.put("/db/a?batch=ok", {})
        assert (answer.status, answer.json) == (202, {"ok": True, "id": "a"})
        assert (await api.get("/db/a")).status == 200

    async def test_gzipped_json_is_read(self, api: Api) -> None:
        body = gzip.compress(json.dumps({"x": "y" * 10_000}).encode())
        answer = await api.put("/db/a", content=body, headers={"content-encoding": "gzip"})
        assert answer.status == 201

    async def test_an_integer_of_any_size_is_kept(self, api: Api) -> None:
        number = 2**200 + 1
        await api.put("/db/a", {"n": number})
        assert (await api.get("/db/a")).json["n"] == number
        assert (await api.get("/db/_all_docs?include_docs=true")).json["rows"][0]["doc"]["n"] == number

    async def test_post_makes_up_an_id(self, api: Api) -> None:
        answer = await api.post("/db", {"x": 1})
        assert answer.status == 201
        assert (await api.get(f"/db/{answer.json['id']}")).json["x"] == 1


class TestPutRelated:
    def doc(self, **lengths: int) -> dict[str, Any]:
        entries = {
            name: {"follows": True, "content_type": "text/plain", "length": length} for name, length in lengths.items()
        }
        return {"_attachments": entries, "x": 1}

    async def test_attachments_follow_in_the_order_of_the_document(self, api: Api) -> None:
        body = related(self.doc(z=3, a=5), b"zzz", b"aaaaa")
        assert (await api.put("/db/d", content=body, headers=RELATED)).status == 201
        assert (await api.get("/db/d/z")).body == b"zzz"
        assert (await api.get("/db/d/a")).body == b"aaaaa"

    async def test_stubs_stay_beside_what_follows(self, api: Api) -> None:
        rev = (await api.put("/db/d/kept", content=b"kept", headers={"content-type": "text/plain"})).json["rev"]
        doc = self.doc(new=3)
        doc["_attachments"] = {"kept": {"stub": True}, **doc["_attachments"]}
        answer = await api.put(f"/db/d?rev={rev}", content=related(doc, b"new"), headers=RELATED)
        assert answer.status == 201
        assert (await api.get("/db/d/kept")).body == b"kept"
        assert (await api.get("/db/d/new")).body == b"new"

    async def test_a_large_attachment_passes_in_pieces(self, api: Api) -> None:
        piece = bytes(range(256)) * 256
        length = len(piece) * 64

        async def body() -> AsyncIterator[bytes]:
            head = part_head("b", {"Content-Type": "application/json"}, first=True)
            yield head + json.dumps(self.doc(f=length)).encode() + part_head("b", {})
            for _ in range(64):
                yield piece
            yield closing("b")

        assert (await api.put("/db/d", content=body(), headers=RELATED)).status == 201
        assert (await api.get("/db/d/f")).body == piece * 64

    async def test_encoded_content_is_kept_encoded(self, api: Api) -> None:
        packed = gzip.compress(TEXT * 50, mtime=0)
        doc = self.doc(f=len(TEXT) * 50)
        doc["_attachments"]["f"] |= {"encoding": "gzip", "encoded_length": len(packed), "digest": md5(packed)}
        doc |= {"_rev": "1-a"}
        answer = await api.put("/db/d?new_edits=false", content=related(doc, packed), headers=RELATED)
        assert answer.status == 201
        raw = await api.get("/db/d/f", headers={"accept-encoding": "gzip"})
        assert (raw.headers["content-encoding"], raw.body) == ("gzip", packed)
        assert (await api.get("/db/d/f")).body == TEXT * 50

    @pytest.mark.parametrize(
        "body",
        [
            related({"_attachments": {"f": {"follows": True, "length": 3}}}),
            related({"_attachments": {"f": {"follows": True, "length": 4}}}, b"abc"),
            related({"_attachments": {"f": {"follows": True, "length": "3"}}}, b"abc"),
            related({"_attachments": {"f": {"follows": True, "length": 3}}}, b"abc")[:-8],
            related({"_attachments": {"f": {"follows": True, "length": 3}}}, b"abc")[:-3],
            b"--b\r\n\r\n{not json\r\n--b--",
            b"",
        ],
    )
    async def test_a_body_that_does_not_fit_writes_nothing(self, api: Api, body: bytes) -> None:
        answer = await api.put("/db/d", content=body, headers=RELATED)
        assert (answer.status, answer.json["error"]) == (400, "bad_request")
        assert (await api.get("/db/d")).status == 404

    async def test_parts_out_of_order_are_refused(self, api: Api) -> None:
        head = part_head("b", {"Content-Type": "application/json"}, first=True)
        body = head + json.dumps(self.doc(a=1, z=1)).encode()
        for name in ("z", "a"):
            body += part_head("b", {"Content-Disposition": f'attachment; filename="{name}"'}) + name.encode()
        answer = await api.put("/db/d", content=body + closing("b"), headers=RELATED)
        assert answer.status == 400


class TestDeleteAndCopy:
    @pytest.mark.parametrize("way", ["query", "header"])
    async def test_a_document_is_deleted(self, api: Api, way: str) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        path, headers = (f"/db/a?rev={rev}", {}) if way == "query" else ("/db/a", {"if-match": rev})
        answer = await api.delete(path, headers=headers)
        assert answer.status == 200
        assert answer.json["rev"].startswith("2-")
        assert (await api.get("/db/a")).json["reason"] == "deleted"

    async def test_a_local_document_comes_and_goes(self, api: Api) -> None:
        rev = (await api.put("/db/_local/c", {"x": 1})).json["rev"]
        assert (await api.get("/db/_local/c")).json == {"_id": "_local/c", "_rev": rev, "x": 1}
        assert (await api.delete(f"/db/_local/c?rev={rev}")).status == 200
        assert (await api.get("/db/_local/c")).status == 404

    async def test_a_copy_has_the_attachments_too(self, api: Api) -> None:
        await api.put("/db/a/f", content=TEXT, headers={"content-type": "text/plain"})
        answer = await api.call("COPY", "/db/a", headers={"destination": "b%2Fc"})
        assert (answer.status, answer.json["id"]) == (201, "b/c")
        assert (await api.get("/db/b%2Fc/f")).body == TEXT
        assert (await api.get("/db/a")).status == 200

    async def test_a_copy_replaces_the_revision_it_names(self, api: Api) -> None:
        await api.put("/db/a", {"x": 1})
        rev = (await api.put("/db/b", {"x": 2})).json["rev"]
        answer = await api.call("COPY", "/db/a", headers={"destination": f"b?rev={rev}"})
        assert answer.status == 201
        assert (await api.get("/db/b")).json["x"] == 1
