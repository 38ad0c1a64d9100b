"""The ASGI application: CouchDB's HTTP API over a :class:`~peerpouch.ports.Registry`.

Peers reach it over a data channel, programs of the same process without a wire, and everybody else through an HTTP
server; who asks is in ``scope["peerpouch.principal"]``, and databases come gated for that principal. Nothing here
decides what is allowed.

A request runs in the task in which the application was called. Two things run beside it: while a body is streamed, or a
slow answer is computed, a task waits for the client to go away, and stops the work when it does.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, TypeVar

from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.requests import Message, Receive, Request, Scope, Send
from peerpouch.couchapi.responses import CHUNK, Header, Response, Stream, error_response, header, internal_error
from peerpouch.couchapi.routes import ROUTES
from peerpouch.couchapi.routing import NotAllowed, Route, Router
from peerpouch.errors import PeerPouchError
from peerpouch.ports import Registry

_T = TypeVar("_T")

_BODY_TIME: Header = (b"x-couchdb-body-time", b"0")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.+/=:-]{1,128}")


class CouchApp:
    """The application. Call it as ASGI says; ``routes`` lists what it serves."""

    def __init__(self, registry: Registry, limits: Limits, routes: Iterable[Route], server: str) -> None:
        self.registry = registry
        self.limits = limits
        self._router = Router(routes)
        self._server: Header = header("server", server)

    @property
    def routes(self) -> tuple[Route, ...]:
        return self._router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"The protocol {scope['type']} is not served.")
        method: str = scope["method"]
        request: Request | None = None
        try:
            try:
                request = Request(scope, receive, self.registry, self.limits)
                method = request.method
                response = await self._answer(request, receive)
            except NotAllowed as error:
                response = error_response(error, headers=[header("allow", error.allow)])
            except PeerPouchError as error:
                response = error_response(error)
            except Exception as error:  # noqa: BLE001  a defect of ours must not take the connection down
                response = internal_error(error)
            if request is not None:
                (request.give_way if isinstance(response, Stream) else request.release)()
            if response is not None:
                response.headers += (_request_id(scope), _BODY_TIME)
                await self._respond(response, method, receive, send)
        finally:
            if request is not None:
                request.release()

    async def _answer(self, request: Request, receive: Receive) -> Response | Stream | None:
        route = self._router.match(request)
        if not route.slow:
            return await route.handler(request)
        await request.read()
        return await _unless_gone(route.handler(request), receive)

    async def _respond(self, response: Response | Stream, method: str, receive: Receive, send: Send) -> None:
        headers = response.headers
        headers.append(self._server)
        if isinstance(response, Stream):
            if response.length is not None:
                headers.append((b"content-length", b"%d" % response.length))
            try:
                begun: list[bytes] = []
                if response.soon and method != "HEAD":
                    begun, whole = await _beginning(response.body)
                    if whole:
                        await _send_whole(response.status, headers, b"".join(begun), send)
                        return
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                if method == "HEAD":
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await _unless_gone(_pump(begun, response.body, send), receive)
            finally:
                await response.body.aclose()
                if response.on_close is not None:
                    await response.on_close()
            return
        if method != "HEAD":
            await _send_whole(response.status, headers, response.body, send)
            return
        headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def create_app(
    registry: Registry,
    *,
    limits: Limits | None = None,
    extra_routes: Iterable[Route] = (),
    server: str = "peerpouch",
) -> CouchApp:
    """The ASGI application over a registry.

    Args:
        limits: Bounds on requests.
        extra_routes: Routes besides CouchDB's databases and documents, such as sessions and replications.
        server: The value of the Server header.
    """
    return CouchApp(registry, limits or Limits(), (*ROUTES, *extra_routes), server)


def _request_id(scope: Scope) -> Header:
    """The client's own name for the request, or a random one: by it a line of a client's log is found in a proxy's."""
    for name, value in scope["headers"]:
        if name == b"x-couch-request-id" and _REQUEST_ID.fullmatch(value):
            return (name, value)
    return (b"x-couch-request-id", b"%010x" % random.getrandbits(40))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _beginning(body: AsyncGenerator[bytes, None]) -> tuple[list[bytes], bool]:
    """What a streamed body begins with, and whether that is all of it."""
    first = await anext(body, None)
    if first is None or len(first) >= CHUNK:
        return ([], True) if first is None else ([first], False)
    second = await anext(body, None)  # at once: what is shorter than a chunk is the end of it
    return ([first], True) if second is None else ([first, second], False)


async def _send_whole(status: int, headers: list[Header], body: bytes, send: Send) -> None:
    # Both in one turn of the loop, so that they share a message of a data channel.
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _pump(begun: list[bytes], body: AsyncGenerator[bytes, None], send: Send) -> None:
    for chunk in begun:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    begun.clear()
    async for chunk in body:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    # What is left of a body that nobody wanted is read and dropped.
    message: Message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


async def _unless_gone(work: Coroutine[Any, Any, _T], receive: Receive) -> _T | None:
    """Do the work, unless the client goes away first: then it is cancelled, and the result is ``None``.

    The request's body must have been read, since the wait for the client takes what else it sends.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
