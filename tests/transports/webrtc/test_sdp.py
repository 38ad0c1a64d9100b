"""Which session descriptions are taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import InvalidSignal
from peerpouch.transports.webrtc import sdp

_GOOD = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
    "a=candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host\r\n"
    "a=candidate:2 1 UDP 1686052607 198.51.100.1 6000 typ srflx raddr 192.0.2.1 rport 5000\r\n"
    "a=fingerprint:sha-256 00:11\r\n"
)


def test_a_description_of_one_data_channel_is_taken_and_its_candidates_are_read() -> None:
    assert sdp.check_sdp(_GOOD) == _GOOD
    assert sdp.candidates(_GOOD) == ["host 192.0.2.1:5000/udp", "srflx 198.51.100.1:6000/udp"]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        _GOOD.replace("v=0", "v=1"),
        _GOOD.replace("webrtc-datachannel", "something"),
        _GOOD + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        _GOOD.replace("a=fingerprint", "a=fingerbreadth"),
        _GOOD + "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n" * 63,
        _GOOD + "a=x\r\n" * 20_000,
    ],
)
def test_anything_else_is_an_invalid_signal(bad: str) -> None:
    with pytest.raises(InvalidSignal):
        sdp.check_sdp(bad)


@given(st.text(max_size=300))
def test_any_text_is_read_without_another_error(text: str) -> None:
    sdp.candidates("a=candidate:" + text)
    try:
        sdp.check_sdp("v=0\r\n" + text)
    except InvalidSignal:
        return
    raise AssertionError("random text passed")
