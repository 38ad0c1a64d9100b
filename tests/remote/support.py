"""A server that does what a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.remote import RemoteDatabase

URL = "http://server.example/db"


@dataclass
class Asked:
    """A request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What the server answers. ``body`` is JSON, bytes, or a stream."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Stream(AsyncByteStream):
    """A response's body that tells whether it was closed."""

    def __init__(self, chunks: AsyncIterable[bytes] | bytes) -> None:
        self._chunks = chunks
        self.closed = asyncio.Event()
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._chunks, bytes):
            self.given += len(self._chunks)
            yield self._chunks
            return
        async for chunk in self._chunks:
            self.given += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        self.closed.set()


class Server(Exchange):
    """Answers with a function of the request, or with a list of replies one after another."""

    def __init__(self, answer: Callable[[Asked], Reply] | list[Reply]) -> None:
        self._answer = answer
        self.asked: list[Asked] = []
        self.streams: list[Stream] = []

    async def handle_async_request(self, request: Request) -> Response:
        stream = request.stream
        assert isinstance(stream, AsyncIterable)
        body = b"".join([chunk async for chunk in stream])
        parts = urlsplit(str(request.url))
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        path = unquote(request.url.raw_path.partition(b"?")[0].decode()).removeprefix("/db")
        asked = Asked(request.method, path, query, request.headers, body)
        self.asked.append(asked)
        reply = self._answer(asked) if callable(self._answer) else self._answer.pop(0)
        content = reply.body
        if not isinstance(content, (bytes, AsyncIterable)):
            content = json.dumps(content).encode()
        self.streams.append(Stream(content))
        return Response(reply.status, headers=reply.headers, stream=self.streams[-1])

    @property
    def all_closed(self) -> bool:
        return all(stream.closed.is_set() for stream in self.streams)


def database(*replies: Any, answer: Callable[[Asked], Reply] | None = None) -> tuple[RemoteDatabase, Server]:
    """A remote database before a scripted server. Replies that are no ``Reply`` are bodies."""
    script = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]
    server = Server(answer or script)
    return RemoteDatabase(server, URL), server
