"""STUN, as far as the diagnosis needs it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import PeerUnreachable
from peerpouch.transports.webrtc import stun
from peerpouch.transports.webrtc.stun import Mapped
from tests.transports.stun import stun_server

# RFC 5769, section 2.2 and 2.3: the responses of the test vectors, up to and with XOR-MAPPED-ADDRESS.
_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


@pytest.mark.parametrize(
    ("message", "address"), [(_IPV4, ("192.0.2.1", 32853)), (_IPV6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853))]
)
def test_the_vectors_of_the_standard_are_read(message: bytes, address: tuple[str, int]) -> None:
    assert stun.mapped_address(message, _TRANSACTION) == address
    assert stun.mapped_address(message, bytes(12)) is None
    assert stun.mapped_address(message[:-1], _TRANSACTION) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_no_address_or_one(message: bytes) -> None:
    for data in (message, _IPV4[:20] + message):
        stun.mapped_address(data, _TRANSACTION)


async def test_servers_are_asked_from_one_port_and_each_failure_is_told() -> None:
    async with stun_server() as one, stun_server() as two, stun_server(silent=True) as dead:
        places = [("127.0.0.1", one), ("127.0.0.1", dead), ("127.0.0.1", two), ("nonesuch.invalid", 1)]
        a, silent, b, unknown = await stun.ask(places, limit=0.7)
    assert isinstance(a, Mapped) and isinstance(b, Mapped)
    assert a.mapped == a.local == b.mapped and a.mapped[0] == "127.0.0.1"
    assert silent == "it did not answer within 0.7 seconds"
    assert isinstance(unknown, str) and "nonesuch.invalid" in unknown


async def test_a_lost_request_is_repeated() -> None:
    async with stun_server(lose=1) as port:
        async with asyncio.timeout(10):
            (answer,) = await stun.ask([("127.0.0.1", port)], limit=5)
    assert isinstance(answer, Mapped)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("stun:example.org", ("example.org", 3478)),
        ("stun:example.org:99", ("example.org", 99)),
        ("turn:[2001:db8::1]:99?transport=tcp", ("2001:db8::1", 99)),
        ("turn:[2001:db8::1]", ("2001:db8::1", 3478)),
    ],
)
def test_the_place_in_a_url_is_read(url: str, place: tuple[str, int]) -> None:
    assert stun.endpoint(url) == place


@pytest.mark.parametrize("url", ["stun:", "stun:host:port", "turn:?transport=udp"])
def test_a_url_without_a_place_is_an_error(url: str) -> None:
    with pytest.raises(PeerUnreachable):
        stun.endpoint(url)
