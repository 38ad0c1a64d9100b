"""The channel protocol without a channel: frames, streams, credit, and a connection that turns bytes into events.

``docs/protocol/channel.md`` specifies the bytes.
"""

from .coding import Choice, Compression, Packer
from .connection import Connection
from .events import (
    DataReceived,
    Event,
    Opened,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    WentAway,
)
from .frames import Code, Feature, Header, RequestHead, ResponseHead
from .limits import Limits
from .liveness import Liveness, Verdict
from .pacing import Pacer
from .states import State

__all__ = [
    "Choice",
    "Code",
    "Compression",
    "Connection",
    "DataReceived",
    "Event",
    "Feature",
    "Header",
    "Limits",
    "Liveness",
    "Opened",
    "Pacer",
    "Packer",
    "PongReceived",
    "RequestHead",
    "RequestReceived",
    "ResponseHead",
    "ResponseReceived",
    "State",
    "StreamReset",
    "Verdict",
    "WentAway",
]
