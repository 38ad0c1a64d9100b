"""How two pools speak over an open connection: three requests in front of the application that both serve.

``POST /_peerpouch/open {"share": id, "info": any}``
    Asks to be let in to a share, as an offer does when there is no connection yet. ``200 {"ok": true, "info": any}``
    with the sharer's info; or the error that refuses.
``POST /_peerpouch/release {"share": id}``
    The opener has no more use for a share.
``GET /_peerpouch/alive``
    Answered at once by a connection that works.

A response about a share that this peer was not (or is no longer) let in to has the header
``peerpouch-share: closed``, upon which the opener asks again before its next request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    InvalidJSON,
    MethodNotAllowed,
    NotFound,
    PeerPouchError,
    ProtocolError,
    TooLarge,
    Unauthorized,
    from_response,
)
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.ports import ASGIApp, Document, Peer

PREFIX: Final = "/_peerpouch/"
CLOSED_HEADER: Final = "peerpouch-share"

MAX_BODY: Final = 64 * 1024
"""Bytes of a control message: an ``info`` that fits an offer fits here too."""

_ORIGIN: Final = "http://peer"


class ControlApp:
    """An ASGI application that answers control requests, and passes all others on.

    Args:
        app: What serves the other requests.
        opened: Called for each ``open``: gives the sharer's info or raises the refusal.
        released: Called for each ``release``.
        admitted: Whether a peer was let in to a share.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        opened: Callable[[Peer, str, Any], Awaitable[Any]],
        released: Callable[[Peer, str], None],
        admitted: Callable[[Peer, str], bool],
    ) -> None:
        self._app = app
        self._opened = opened
        self._released = released
        self._admitted = admitted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        peer = scope.get("peerpouch.principal")
        path = scope.get("path", "")
        if scope["type"] != "http" or not isinstance(peer, Peer):
            await self._app(scope, receive, send)
        elif path.startswith(PREFIX):
            await self._answer(peer, scope, receive, send)
        else:
            await self._app(scope, receive, self._marking(peer, path, send))

    async def _answer(self, peer: Peer, scope: Any, receive: Any, send: Any) -> None:
        try:
            status, body = 200, await self._handle(peer, scope, receive)
        except PeerPouchError as error:
            status, body = error.status, error.as_json()
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": jsonio.dumps(body)})

    async def _handle(self, peer: Peer, scope: Any, receive: Any) -> Document:
        action = scope["path"].removeprefix(PREFIX)
        wanted = {"open": "POST", "release": "POST", "alive": "GET"}.get(action)
        if wanted is None:
            raise NotFound
        if scope["method"] != wanted:
            raise MethodNotAllowed(f"Only {wanted} is allowed here.")
        if action == "alive":
            return {"ok": True}
        message = await _read_message(receive)
        if action == "release":
            self._released(peer, message["share"])
            return {"ok": True}
        return {"ok": True, "info": await self._opened(peer, message["share"], message.get("info"))}

    def _marking(self, peer: Peer, path: str, send: Any) -> Any:
        share = path.removeprefix("/").partition("/")[0]

        async def marked(message: Any) -> None:
            is_head = message["type"] == "http.response.start"
            if is_head and message["status"] == 404 and not self._admitted(peer, share):
                headers = [*message.get("headers", ()), (CLOSED_HEADER.encode(), b"closed")]
                message = {**message, "headers": headers}
            await send(message)

        return marked


async def _read_message(receive: Any) -> Document:
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise BadRequest("The request ended early.")
        body += event.get("body", b"")
        if len(body) > MAX_BODY:
            raise TooLarge(f"A control message has at most {MAX_BODY} bytes.")
        if not event.get("more_body", False):
            break
    message = jsonio.loads(body)
    if not isinstance(message, dict) or not isinstance(message.get("share"), str):
        raise BadRequest("A control message is an object with a share.")
    return message


async def open_share(exchange: Exchange, share_id: str, info: Any) -> Any:
    """Ask to be let in to a share over an open connection. Gives the sharer's info, or raises the refusal."""
    return (await _call(exchange, "POST", "open", {"share": share_id, "info": info})).get("info")


async def release_share(exchange: Exchange, share_id: str) -> None:
    """Tell that a share is not used any more."""
    await _call(exchange, "POST", "release", {"share": share_id})


async def check_alive(exchange: Exchange) -> None:
    """Return if the other end answers; raise a PeerPouchError, or wait, if it does not."""
    await _call(exchange, "GET", "alive", None)


def is_closed(response: Response) -> bool:
    """Whether a response says that its share is not open to us."""
    return response.headers.get(CLOSED_HEADER) == "closed"


async def _call(exchange: Exchange, method: str, action: str, message: Document | None) -> Document:
    content = None if message is None else jsonio.dumps(message)
    headers = {"content-type": "application/json", "accept": "application/json"}
    request = Request(method, f"{_ORIGIN}{PREFIX}{action}", headers=headers, content=content)
    response = await exchange.handle_async_request(request)
    body = b""
    try:
        if "content-encoding" in response.headers:
            raise ProtocolError("The peer's answer to a control request is compressed, which it never is.")
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY:
                raise ProtocolError("The peer's answer to a control request is too large.")
    finally:
        await response.aclose()
    try:
        answer = jsonio.loads(body)
    except InvalidJSON:
        answer = None
    if not isinstance(answer, dict):
        raise ProtocolError(f"The peer's answer to a control request is not an object (status {response.status_code}).")
    if response.status_code == 200:
        return answer
    error, reason = answer.get("error"), answer.get("reason")
    failure = from_response(
        response.status_code,
        error if isinstance(error, str) else None,
        reason if isinstance(reason, str) else None,
    )
    # "unauthorized" would make no sense over a channel, whose peer is always known.
    raise ProtocolError(failure.reason) if isinstance(failure, Unauthorized) else failure
