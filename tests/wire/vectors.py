"""Records the test vectors of the channel protocol: ``python -m tests.wire.vectors`` writes tests/vectors/channel.json.

A vector is a session: a list of steps. A step is a call of one end (``call``, with its arguments and result), or a
message from one end to the other (``message`` in hex, with its ``frames`` taken apart, and the ``events`` that the
receiving end gives). An implementation that makes the same calls must send the same messages.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peerpouch.errors import ProtocolError
from peerpouch.wire import Connection, Event, Limits, RequestHead, ResponseHead, frames
from peerpouch.wire.frames import Flag, FrameType, frame

PATH = Path(__file__).parent.parent / "vectors" / "channel.json"
_LIMITS = {"max_message": 16384, "max_streams": 2, "stream_credit": 2000, "connection_credit": 6000}
_MORE = {"response_window": 4000, "window_pool": 4000, "max_stream_window": 8000}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _head(head: RequestHead | ResponseHead) -> dict[str, Any]:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in head.headers]
    if isinstance(head, RequestHead):
        return {"method": head.method.decode(), "path": head.path.decode(), "headers": headers}
    return {"status": head.status, "headers": headers}


def _event(event: Event) -> dict[str, Any]:
    fields = asdict(event)
    if "head" in fields:
        fields["head"] = _head(event.head)  # type: ignore[union-attr]
    return {"event": type(event).__name__, **_plain(fields)}


def decode(message: bytes) -> list[dict[str, Any]]:
    """The frames of a message, taken apart."""
    result = []
    for kind, flags, stream, payload in frames.split(message):
        known = kind in list(FrameType)
        entry: dict[str, Any] = {"type": FrameType(kind).name if known else kind, "stream": stream}
        if flags & Flag.END:
            entry["end"] = True
        if kind == FrameType.HELLO:
            hello = frames.decode_hello(payload)
            entry |= {"lowest": hello.lowest, "highest": hello.highest}
            entry["settings"] = {str(number): value for number, value in hello.settings.items()}
        elif kind == FrameType.REQUEST:
            entry |= _head(frames.decode_request(payload, 100))
        elif kind == FrameType.RESPONSE:
            entry |= _head(frames.decode_response(payload, 100))
        elif kind == FrameType.CREDIT:
            entry["credit"] = frames.decode_credit(payload)
        elif kind == FrameType.RESET:
            entry["code"], entry["reason"] = frames.decode_reset(payload)
        elif kind == FrameType.GO_AWAY:
            entry["code"], entry["last_stream"], entry["reason"] = frames.decode_go_away(payload)
        else:
            entry["payload"] = payload.hex()
        result.append(entry)
    return result


class Recorder:
    """Two ends, and the steps so far."""

    def __init__(self) -> None:
        limits = Limits(**_LIMITS, **_MORE)
        self.ends = {
            "offerer": Connection(offerer=True, limits=limits),
            "answerer": Connection(offerer=False, limits=limits),
        }
        self.steps: list[dict[str, Any]] = []

    def call(self, who: str, name: str, /, *args: Any, **options: Any) -> Any:
        """Call a method of one end."""
        result = getattr(self.ends[who], name)(*args, **options)
        shown = [_head(arg) if isinstance(arg, (RequestHead, ResponseHead)) else _plain(arg) for arg in args]
        self.steps.append({"end": who, "call": name, "args": shown, "options": options, "result": result})
        return result

    def send(self, end: str, room: int = 2000) -> None:
        """Deliver all that an end can send."""
        while message := self.ends[end].data_to_send(room):
            self.deliver(end, message, room)

    def deliver(self, end: str, message: bytes, room: int | None = None) -> None:
        """Deliver one message; without ``room`` it is not one that the end would send."""
        other = "answerer" if end == "offerer" else "offerer"
        step: dict[str, Any] = {"end": end, "room": room, "message": message.hex()}
        try:
            step["events"] = [_event(event) for event in self.ends[other].receive(message, 1.0)]
        except ProtocolError as error:
            step["error"] = error.reason
        with suppress(ProtocolError):
            step["frames"] = decode(message)
        self.steps.append(step)


def record() -> dict[str, Any]:
    """The whole session."""
    r = Recorder()
    for end in ("offerer", "answerer"):
        r.send(end)
    json_type = (b"content-type", b"application/json")
    get = r.call("offerer", "request", RequestHead(b"GET", b"/db/a%20b?rev=1-x", ((b"accept", b"*/*"),)), end=True)
    r.send("offerer")
    r.call("answerer", "respond", get, ResponseHead(200, (json_type, (b"x-name", "Ä".encode()))), end=False)
    r.call("answerer", "send_data", get, b'{"_id":"a b"}', end=True)
    r.send("answerer")
    r.call("offerer", "consumed", get, 13, 0.0)
    put = r.call("offerer", "request", RequestHead(b"PUT", b"/db/c", (json_type,)), end=False)
    back = r.call("answerer", "request", RequestHead(b"DELETE", b"/mine"), end=True)
    r.call("offerer", "send_data", put, bytes(range(250)) * 20, end=True)
    for end in ("offerer", "answerer", "offerer"):
        r.send(end)
    r.call("answerer", "consumed", put, 2000, 0.0)
    r.call("offerer", "respond", back, ResponseHead(204), end=True)
    for end in ("answerer", "offerer"):
        r.send(end)
    r.call("answerer", "consumed", put, 3000, 0.0)
    r.call("answerer", "respond", put, ResponseHead(201), end=True)
    r.send("answerer")
    one = r.call("offerer", "request", RequestHead(b"POST", b"/one"), end=False)
    two = r.call("offerer", "request", RequestHead(b"POST", b"/two"), end=False)
    r.call("offerer", "send_data", one, bytes(1500))
    r.call("offerer", "send_data", two, bytes(1500))
    r.send("offerer", 1100)
    r.call("answerer", "respond", one, ResponseHead(413), end=True)
    r.send("answerer")
    r.call("offerer", "reset", two, 1, "nobody waits any more")
    r.call("offerer", "ping", 0.5)
    r.send("offerer")
    r.send("answerer")
    r.deliver("offerer", frame(200, 0, b"of a later version") + frame(FrameType.CREDIT, 7, b"\0\0\0\1"))
    bad = r.call("offerer", "request", RequestHead(b"GET", b"/bad"), end=True)
    r.send("offerer")
    r.deliver("answerer", frame(FrameType.RESPONSE, bad, b"\0\x14\0\0"))
    r.send("offerer")
    r.call("answerer", "go_away", 0, "closing")
    r.send("answerer")
    r.deliver("offerer", frame(FrameType.PING, 0, b"short"))
    r.send("answerer")
    return {"protocol": "peerpouch channel", "version": 1, "limits": _LIMITS | _MORE, "steps": r.steps}


if __name__ == "__main__":
    PATH.write_text(json.dumps(record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
