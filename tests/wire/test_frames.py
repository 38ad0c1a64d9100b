"""The bytes of frames, heads and settings."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import ProtocolError
from peerpouch.wire import Code, Limits, RequestHead, ResponseHead, frames
from peerpouch.wire.frames import Malformed, Setting

names = st.from_regex(re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]{1,40}"), fullmatch=True)
values = st.binary(max_size=200).map(lambda value: re.sub(rb"[\x00\r\n]", b"", value))
headers = st.lists(st.tuples(names, values), max_size=20).map(tuple)
requests = st.builds(
    RequestHead,
    st.from_regex(re.compile(rb"[A-Z]{1,10}"), fullmatch=True),
    st.from_regex(re.compile(rb"/[\x21-\x7e]{0,200}"), fullmatch=True),
    headers,
)
responses = st.builds(ResponseHead, st.integers(200, 599), headers)


@given(requests)
def test_a_request_head_survives_encoding(head: RequestHead) -> None:
    assert frames.decode_request(frames.encode_request(head), 100) == head


@given(responses)
def test_a_response_head_survives_encoding(head: ResponseHead) -> None:
    assert frames.decode_response(frames.encode_response(head), 100) == head


@given(requests, st.data())
def test_a_request_head_that_is_cut_short_is_refused(head: RequestHead, data: st.DataObject) -> None:
    payload = frames.encode_request(head)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(Malformed):
        frames.decode_request(payload[:cut], 100)


@given(responses, st.data())
def test_a_response_head_that_is_cut_short_is_refused(head: ResponseHead, data: st.DataObject) -> None:
    payload = frames.encode_response(head)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(Malformed):
        frames.decode_response(payload[:cut], 100)


@given(st.binary(max_size=400))
def test_random_bytes_as_heads_give_heads_that_encode_again_or_a_protocol_error(payload: bytes) -> None:
    with suppress(ProtocolError):
        assert frames.encode_request(frames.decode_request(payload, 100)) == payload
    with suppress(ProtocolError):
        assert frames.encode_response(frames.decode_response(payload, 100)) == payload


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"get", b"/"),
        RequestHead(b"", b"/"),
        RequestHead(b"GET", b"db"),
        RequestHead(b"GET", b"/a b"),
        RequestHead(b"GET", b"/\r\n"),
        RequestHead(b"GET", b"/", ((b"Host", b"x"),)),
        RequestHead(b"GET", b"/", ((b"", b"x"),)),
        RequestHead(b"GET", b"/", ((b"a", b"x" * 65536),)),
    ],
)
def test_heads_that_http_does_not_allow_are_not_encoded(head: RequestHead) -> None:
    with pytest.raises(ProtocolError):
        frames.encode_request(head)


def _injected() -> bytes:
    value = b"x\r\nset-cookie: y"
    return b"\x00\xc8\x00\x01\x01a" + len(value).to_bytes(2) + value


def test_a_line_break_in_a_header_is_refused() -> None:
    with pytest.raises(Malformed):
        frames.decode_response(_injected(), 100)


def test_twin_without_the_check_a_line_break_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_VALUE", re.compile(rb"(?s).*"))
    assert frames.decode_response(_injected(), 100).headers == ((b"a", b"x\r\nset-cookie: y"),)


def test_a_head_with_too_many_headers_is_refused_with_its_code() -> None:
    payload = frames.encode_response(ResponseHead(200, ((b"a", b"b"),) * 101))
    with pytest.raises(Malformed) as refused:
        frames.decode_response(payload, 100)
    assert refused.value.code is Code.TOO_LARGE
    assert len(frames.decode_response(payload, 101).headers) == 101


def test_hello_tells_the_limits() -> None:
    hello = frames.decode_hello(frames.encode_hello(Limits(max_streams=7), features=5))
    settings = frames.settings_of(hello)
    assert settings[Setting.MAX_STREAMS] == 7
    assert settings[Setting.FEATURES] == 5
    assert (hello.lowest, hello.highest) == frames.VERSIONS


def test_unknown_settings_and_later_bytes_of_a_hello_are_skipped() -> None:
    payload = b"PPCH" + bytes((1, 9)) + b"\x00\x01" + b"\x7f\xff\x00\x00\x00\x01" + b"later"
    hello = frames.decode_hello(payload)
    assert frames.settings_of(hello)[Setting.MAX_MESSAGE] == 16384


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PPC",
        b"HTTP\x01\x01\x00\x00",
        b"PPCH\x00\x00\x00\x00",
        b"PPCH\x02\x01\x00\x00",
        b"PPCH\x01\x01\x00\x01",
        b"PPCH\x01\x01\x00\x01\x00\x01\x00\x00\x00\x01",
        b"PPCH\x01\x01\x00\x01\x00\x02\xff\xff\xff\xff",
        b"PPCH\x01\x01\x00\x01\x00\x03\x00\x00\x00\x00",
    ],
)
def test_a_hello_that_is_malformed_or_out_of_bounds_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        frames.settings_of(frames.decode_hello(payload))


def test_a_reason_is_cut_at_a_character_and_can_not_move_a_cursor() -> None:
    payload = frames.encode_reset(3, "ä" * 200)
    assert len(payload) == 4 + 256
    code, reason = frames.decode_reset(payload)
    assert (code, reason) == (3, "ä" * 128)
    assert frames.decode_reset(b"\0\0\0\1" + b"a\x1b[2J\nb")[1] == "a [2J b"


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0\0\0\0", b"\x80\0\0\0", b"\0\0\0\1\0"])
def test_credit_that_is_malformed_or_out_of_bounds_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        frames.decode_credit(payload)


def test_limits_that_no_peer_could_keep_to_are_refused() -> None:
    for wrong in (
        {"max_message": 1024},
        {"max_message": 10**6},
        {"max_head": 10**5},
        {"stream_credit": 0},
        {"connection_credit": 2**31},
        {"max_streams": 0},
    ):
        with pytest.raises(ValueError, match="must"):
            Limits(**wrong)
