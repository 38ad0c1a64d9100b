from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core.multipart import (
    MAX_HEADER_BYTES,
    MultipartEnd,
    MultipartEvent,
    MultipartParser,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
    closing,
    parse_content_type,
    part_head,
)
from peerpouch.errors import BadRequest


def build(boundary: str, parts: list[tuple[dict[str, str], bytes]]) -> bytes:
    body = b""
    for n, (headers, content) in enumerate(parts):
        body += part_head(boundary, headers, first=n == 0) + content
    return body + closing(boundary)


def gather(events: list[MultipartEvent]) -> list[tuple[dict[str, str], bytes]]:
    parts: list[tuple[dict[str, str], bytes]] = []
    for event in events:
        if isinstance(event, PartBegin):
            parts.append((dict(event.headers), b""))
        elif isinstance(event, PartData):
            assert event.data
            headers, content = parts[-1]
            parts[-1] = (headers, content + event.data)
    return parts


_HEADERS = st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,10}", fullmatch=True), st.text("abc /;=", max_size=9))
# Content that is full of what looks like the beginning of a delimiter.
_CONTENT = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--b", b"b", b"x", b"\x00"]), max_size=20)


@given(st.lists(st.tuples(_HEADERS, _CONTENT.map(b"".join)), min_size=1, max_size=4), st.data())
def test_any_parts_survive_any_cutting(parts: list[tuple[dict[str, str], bytes]], data: st.DataObject) -> None:
    boundary = "boundary"
    body = build(boundary, parts) + b"\r\nepilogue"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    parser = MultipartParser(boundary)
    events = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)
        for event in parser.feed(body[start:end])
    ]
    parser.close()
    assert gather(events) == [({name: value.strip() for name, value in headers.items()}, c) for headers, c in parts]
    assert sum(isinstance(event, PartEnd) for event in events) == len(parts)
    assert isinstance(events[-1], MultipartEnd)


def test_content_is_given_as_it_comes_and_not_gathered() -> None:
    parser = MultipartParser("b")
    parser.feed(part_head("b", {}, first=True))
    for _ in range(100):
        (event,) = parser.feed(b"x" * 10_000)
        assert isinstance(event, PartData)
        assert len(event.data) > 9_000


def test_a_preamble_is_dropped() -> None:
    parser = MultipartParser("b")
    events = parser.feed(b"this is MIME\r\n" + build("b", [({"a": "1"}, b"x")]))
    assert gather(events) == [({"a": "1"}, b"x")]


def test_a_body_without_parts_is_one() -> None:
    parser = MultipartParser("b")
    assert parser.feed(b"--b--") == [MultipartEnd()]
    parser.close()


@pytest.mark.parametrize("cut", [0, 3, 10, 20, 30])
def test_a_body_that_is_cut_off_is_refused(cut: int) -> None:
    body = build("b", [({"a": "1"}, b"content of the part")])
    parser = MultipartParser("b")
    parser.feed(body[:cut])
    with pytest.raises(BadRequest):
        parser.close()


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n" + b"a" * (MAX_HEADER_BYTES + 1),
        b"--b\r\na: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"--b\r\nno colon\r\n\r\n",
        b"--bad\r\n\r\n",
        b"--b" + b" " * (MAX_HEADER_BYTES + 1),
    ],
)
def test_what_is_malformed_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        MultipartParser("b").feed(body)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ü"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(BadRequest):
        MultipartParser(boundary)


def test_content_types_are_parsed() -> None:
    kind, parameters = parse_content_type('Multipart/Related; Boundary="a b\\"c"; start=x')
    assert (kind, parameters) == ("multipart/related", {"boundary": 'a b"c', "start": "x"})
    assert boundary_of("multipart/mixed;boundary=abc") == "abc"
    with pytest.raises(BadRequest):
        boundary_of("multipart/mixed")


def test_a_header_can_not_begin_another_one() -> None:
    head = part_head("b", {"Content-Type": "text/plain\r\nX-Evil: 1"}, first=True)
    (event,) = MultipartParser("b").feed(head)
    assert event == PartBegin({"content-type": "text/plain X-Evil: 1"})
