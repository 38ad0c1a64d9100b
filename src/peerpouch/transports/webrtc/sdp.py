"""What is read out of a session description, and which ones are taken at all. Pure."""

from __future__ import annotations

from peerpouch.errors import InvalidSignal

#: An SDP with a data channel and thirty candidates has 4 KiB; nothing honest is longer than this.
LONGEST_SDP = 64 * 1024
#: A host has a few addresses, of a few kinds. Each candidate costs checks of connectivity, sent to wherever it says.
MOST_CANDIDATES = 64


def check_sdp(sdp: str) -> str:
    """The SDP, if it describes one data channel and nothing else.

    Raises:
        InvalidSignal: It is not an SDP, is too long, has other media, no DTLS fingerprint, or too many candidates.
    """
    if len(sdp) > LONGEST_SDP or not sdp.startswith("v=0"):
        raise InvalidSignal("The session description is not one.")
    lines = sdp.splitlines()
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not media[0].startswith("m=application ") or "webrtc-datachannel" not in media[0]:
        raise InvalidSignal("The session description is not that of a single data channel.")
    if not any(line.startswith("a=fingerprint:") for line in lines):
        raise InvalidSignal("The session description has no DTLS fingerprint.")
    if sum(line.startswith("a=candidate:") for line in lines) > MOST_CANDIDATES:
        raise InvalidSignal(f"The session description has more than {MOST_CANDIDATES} candidates.")
    return sdp


def fingerprints(sdp: str) -> frozenset[str]:
    """The DTLS fingerprints of an SDP, which say whose certificate it is: ``"sha-256 AB:CD…"``, in lower case."""
    lines = (
        line.removeprefix("a=fingerprint:").strip().lower() for line in sdp.splitlines() if "a=fingerprint:" in line
    )
    return frozenset(lines)


def candidates(sdp: str) -> list[str]:
    """The candidates of an SDP for people: ``"host 192.0.2.1:5000/udp"``."""
    result = []
    for line in sdp.splitlines():
        fields = line.removeprefix("a=candidate:").split()
        if line.startswith("a=candidate:") and len(fields) >= 8:
            result.append(f"{fields[7]} {fields[4]}:{fields[5]}/{fields[2].lower()}")
    return result
