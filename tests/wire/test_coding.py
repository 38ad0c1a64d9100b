"""What may be compressed, and when it is worth it."""

from __future__ import annotations

import gzip
import json
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.wire import Compression, Packer, RequestHead, ResponseHead
from peerpouch.wire.coding import (
    STEP,
    packed,
    request_may_be_packed,
    response_may_be_packed,
    takes_gzip,
)
from peerpouch.wire.frames import Header

_JSON = (b"content-type", b"application/json; charset=utf-8")
_ASKS = (b"accept-encoding", b"deflate, gzip;q=0.5")
_MBIT = 125_000


def _get(path: bytes = b"/share/_all_docs", *headers: Header, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, path, (*headers, _ASKS))


def _ok(*headers: Header, status: int = 200) -> ResponseHead:
    return ResponseHead(status, (_JSON, *headers))


# What may be compressed at all


@pytest.mark.parametrize(
    ("value", "takes"),
    [
        (b"gzip", True),
        (b"br, GZIP ; q=0.1", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"br", False),
        (b"x-gzip", False),
        (b"", False),
    ],
)
def test_accept_encoding_is_read_as_http_says(value: bytes, takes: bool) -> None:
    assert takes_gzip([(b"accept", b"gzip"), (b"accept-encoding", value)]) is takes


def test_json_that_was_asked_for_may_be_compressed() -> None:
    assert response_may_be_packed(_get(), _ok())
    assert response_may_be_packed(_get(), _ok((b"content-length", b"70000"), (b"cache-control", b"must-revalidate")))
    assert response_may_be_packed(_get(method=b"POST"), _ok(status=201))


@pytest.mark.parametrize(
    ("request_head", "response"),
    [
        (RequestHead(b"GET", b"/share/_all_docs"), _ok()),  # nobody asked
        (_get(method=b"HEAD"), _ok()),
        (_get(b"/_peerpouch/open"), _ok()),  # tokens
        (_get(b"/_session"), _ok()),
        (_get(), _ok((b"set-cookie", b"AuthSession=x"))),
        (_get(), _ok((b"cache-control", b"private, No-Store"))),
        (_get(), _ok((b"cache-control", b"no-transform"))),
        (_get(), _ok((b"content-encoding", b"gzip"))),  # compressed already
        (_get(), _ok((b"accept-ranges", b"bytes"))),  # an attachment
        (_get(), _ok((b"content-range", b"bytes 0-1/2"))),
        (_get(), _ok(status=206)),
        (_get(), _ok(status=404)),
        (_get(), _ok((b"content-length", b"1023"))),
        (_get(), ResponseHead(200, ((b"content-type", b"image/png"),))),
        (_get(), ResponseHead(200, ((b"content-type", b"multipart/mixed"),))),
        (_get(), ResponseHead(200)),
    ],
)
def test_other_responses_stay_as_they_are(request_head: RequestHead, response: ResponseHead) -> None:
    assert not response_may_be_packed(request_head, response)


def test_only_posted_json_is_compressed_on_its_way_out() -> None:
    assert request_may_be_packed(RequestHead(b"POST", b"/share/_bulk_docs", (_JSON,)))
    for method, path, headers in (
        (b"PUT", b"/share/doc/file.json", (_JSON,)),  # the coding would become the attachment's own
        (b"POST", b"/_peerpouch/open", (_JSON,)),
        (b"POST", b"/_session", (_JSON,)),
        (b"POST", b"/share/_bulk_docs", (_JSON, (b"content-encoding", b"gzip"))),
        (b"POST", b"/share/_bulk_docs", ((b"content-type", b"text/plain"),)),
    ):
        assert not request_may_be_packed(RequestHead(method, path, headers))


def test_the_length_is_left_out_and_the_coding_is_named() -> None:
    assert packed((_JSON, (b"content-length", b"5"))) == (_JSON, (b"content-encoding", b"gzip"))


# The bytes


@given(st.lists(st.binary(max_size=3 * STEP), max_size=4), st.sampled_from([1, 6]))
def test_whatever_is_packed_unpacks_and_each_portion_can_be_read_at_once(portions: list[bytes], level: int) -> None:
    packer, inflate, out = Packer(level), zlib.decompressobj(31), b""
    for number, portion in enumerate([*portions, b""]):
        read = b""
        took = 0
        for taken, data in packer.pack(portion, end=number == len(portions)):
            took += taken
            read += inflate.decompress(data)
            out += data
        assert took == len(portion)
        assert read == portion  # a feed's line is not held back until there is more
    assert inflate.eof
    assert gzip.decompress(out) == b"".join(portions)


def test_no_body_tells_anything_of_another() -> None:
    """Two bodies that hold the same secret: with a shared context the second would be shorter for it."""
    secret = os.urandom(2000).hex().encode()

    def size(packer: Packer) -> int:
        return sum(len(data) for _, data in packer.pack(secret, end=False))

    shared = Packer(6)
    assert size(Packer(6)) >= size(Packer(6))
    first = size(shared)
    assert size(shared) < first / 2  # twin: this is what a shared context would tell


# The choice


def _experience(document: bytes, seconds: float) -> Compression:
    compression = Compression()
    packer = Packer(1)
    for taken, data in packer.pack(document * (4_000_000 // len(document)), end=True):
        compression.learn(taken, len(data), taken / 4_000_000 * seconds)
    return compression


_DOCUMENT = json.dumps({"_id": "a" * 32, "seen": [1, 2, 3], "text": "the heron stands"}).encode()


@pytest.mark.parametrize("rate", [_MBIT, 10 * _MBIT, 40 * _MBIT])
def test_a_slow_path_compresses_and_a_fast_one_does_not(rate: int) -> None:
    compression = Compression()
    assert compression.packer(rate, 0.0001) is not None
    assert compression.packer(80_000_000, 0.05) is None


def test_what_was_never_busy_is_judged_by_its_distance() -> None:
    compression = Compression()
    assert compression.packer(None, 0.05) is not None
    assert compression.packer(None, 0.0003) is None
    assert compression.packer(None, None) is None


def test_a_slow_processor_or_bodies_that_do_not_shrink_turn_it_off_by_themselves() -> None:
    rate = 16 * _MBIT
    assert _experience(_DOCUMENT, 0.04).packer(rate, 0.05) is not None
    assert _experience(_DOCUMENT, 4.0).packer(rate, 0.05) is None
    assert _experience(os.urandom(100_000), 0.04).packer(rate, 0.05) is None


def test_it_is_tried_again_after_bodies_that_did_not_shrink() -> None:
    compression = _experience(os.urandom(100_000), 0.04)
    tries = 0
    while compression.packer(16 * _MBIT, 0.05) is None:
        tries += 1
        assert tries < 100
    assert tries > 3


def test_it_can_be_forced_on_and_off() -> None:
    assert Compression("on").packer(80_000_000, 0.0) is not None
    assert Compression("off").packer(1000, 0.3) is None
