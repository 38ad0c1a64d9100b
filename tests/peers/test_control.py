"""Control requests: what is malformed is refused, what is not one is passed on."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import Forbidden, NotFound, ProtocolError
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.peers import control
from peerpouch.peers.control import ControlApp, check_alive, open_share
from peerpouch.ports import Owner, Peer

PEER = Peer(b"p" * 32, "session")


class Serving:
    """A control application that records what reaches it."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, Any]] = []
        self.released: list[str] = []
        self.passed: list[str] = []
        self.app = ControlApp(self._pass, opened=self._open, released=self._release, admitted=self._admitted)

    async def _open(self, peer: Peer, share: str, info: Any) -> Any:
        self.opened.append((share, info))
        return "info"

    def _release(self, peer: Peer, share: str) -> None:
        self.released.append(share)

    def _admitted(self, peer: Peer, share: str) -> bool:
        return share == "open"

    async def _pass(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed.append(scope["path"])
        await send({"type": "http.response.start", "status": 404, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(
        self, method: str, path: str, body: bytes = b"", principal: object = PEER
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        events = [
            {"type": "http.request", "body": body[:5], "more_body": True},
            {"type": "http.request", "body": body[5:]},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "peerpouch.principal": principal}
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_open_and_release_reach_the_pool() -> None:
    serving = Serving()
    status, _, body = await serving.send("POST", "/_peerpouch/open", b'{"share": "notes", "info": [1]}')
    assert (status, jsonio.loads(body)) == (200, {"ok": True, "info": "info"})
    assert (await serving.send("POST", "/_peerpouch/release", b'{"share": "notes"}'))[0] == 200
    assert (await serving.send("GET", "/_peerpouch/alive"))[0] == 200
    assert (serving.opened, serving.released, serving.passed) == ([("notes", [1])], ["notes"], [])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/_peerpouch/open", b"", 405),
        ("POST", "/_peerpouch/alive", b"", 405),
        ("POST", "/_peerpouch/", b"", 404),
        ("POST", "/_peerpouch/admit", b"{}", 404),
        ("POST", "/_peerpouch/open", b"not json", 400),
        ("POST", "/_peerpouch/open", b"[]", 400),
        ("POST", "/_peerpouch/open", b'{"share": 7}', 400),
        ("POST", "/_peerpouch/open", b'{"share": "' + b"x" * control.MAX_BODY + b'"}', 413),
    ],
)
async def test_what_is_malformed_is_refused(method: str, path: str, body: bytes, status: int) -> None:
    serving = Serving()
    assert (await serving.send(method, path, body))[0] == status
    assert not serving.opened and not serving.passed


async def test_who_is_no_peer_has_no_control_requests() -> None:
    serving = Serving()
    assert (await serving.send("POST", "/_peerpouch/open", b'{"share": "notes"}', principal=Owner()))[0] == 404
    assert serving.passed == ["/_peerpouch/open"] and not serving.opened


async def test_a_missing_database_is_told_apart_from_a_missing_document() -> None:
    serving = Serving()
    _, headers, _ = await serving.send("GET", "/shut/doc")
    assert headers == {b"x": b"y", b"peerpouch-share": b"closed"}
    _, headers, _ = await serving.send("GET", "/open/doc")
    assert headers == {b"x": b"y"}


class Answering(Exchange):
    def __init__(self, status: int, content: bytes) -> None:
        self._status, self._content = status, content

    async def handle_async_request(self, request: Request) -> Response:
        return Response(self._status, content=self._content)


async def test_a_refusal_comes_back_as_the_same_error() -> None:
    for error in (Forbidden("Because."), NotFound("missing")):
        with pytest.raises(type(error), match=error.reason):
            await open_share(Answering(error.status, jsonio.dumps(error.as_json())), "notes", None)


async def test_a_compressed_answer_is_a_protocol_error() -> None:
    class Compressed(Answering):
        async def handle_async_request(self, request: Request) -> Response:
            response = await super().handle_async_request(request)
            response.headers["content-encoding"] = "gzip"
            return response

    with pytest.raises(ProtocolError, match="compressed"):
        await open_share(Compressed(200, b'{"ok": true}'), "notes", None)


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b"[]"), (200, b"not json"), (500, b""), (200, b'"' + b"x" * control.MAX_BODY + b'"'), (401, b"{}")],
)
async def test_an_answer_that_is_not_one_is_a_protocol_error(status: int, content: bytes) -> None:
    with pytest.raises(ProtocolError):
        await check_alive(Answering(status, content))
