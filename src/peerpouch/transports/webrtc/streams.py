"""What the client's and the server's side of a link share: one end of a stream, and what it asks of the link."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from peerpouch.errors import PeerPouchError
from peerpouch.wire import Code, Packer, RequestHead, ResponseHead, StreamReset

#: Bytes below which chunks that arrive one after another are joined: an object in a queue costs fifty bytes, so that a
#: peer that sends its bytes two by two would fill twenty-five times its credit of memory.
_SMALL = 512
#: Bytes up to which they are joined: what a reader takes in one go.
_JOINED = 4096


class Streams(ABC):
    """What a stream's end asks of its link."""

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    async def slot(self) -> None:
        """Wait until one more request may be made.

        Raises:
            PeerUnreachable: The link ended, or is about to.
        """

    @abstractmethod
    def open(self, end: StreamEnd, head: RequestHead, *, bodiless: bool) -> None:
        """Make a request. To be called right after :meth:`slot`, without awaiting in between."""

    @abstractmethod
    def respond(self, end: StreamEnd, head: ResponseHead) -> None:
        """Send the head of a response."""

    @abstractmethod
    def send(self, stream: int, data: bytes, *, end: bool) -> bool:
        """Send bytes of a body; whether there is room for more."""

    @property
    @abstractmethod
    def peer_takes_gzip(self) -> bool:
        """Whether the peer's application takes compressed requests."""

    @abstractmethod
    def packer(self) -> Packer | None:
        """What compresses the next body, if that is worth it on this path."""

    @abstractmethod
    def now(self) -> float:
        """Monotonic seconds."""

    @abstractmethod
    def packed(self, taken: int, given: int, seconds: float) -> None:
        """So many bytes were compressed, to so many, in that time."""

    @abstractmethod
    def consumed(self, stream: int, size: int) -> None:
        """Bytes that came are used up."""

    @abstractmethod
    def reset(self, end: StreamEnd, code: Code, reason: str = "") -> None:
        """End a stream before its time."""

    @abstractmethod
    def release(self, end: StreamEnd) -> None:
        """This side is done with a stream."""


class StreamEnd(ABC):
    """This side's end of one stream: what arrives on it, and what waits for room or data."""

    def __init__(self, link: Streams) -> None:
        self.link = link
        self.stream = 0
        #: Compresses what this end sends, if that was agreed on.
        self.packer: Packer | None = None
        #: What runs for this stream; the link waits for it when it ends.
        self.task: asyncio.Task[None] | None = None
        self._chunks: deque[bytes | bytearray] = deque()  # bounded by the stream's window
        self._handed = 0
        self._ended = False
        self._error: PeerPouchError | None = None
        self._data: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @abstractmethod
    def on_reset(self, event: StreamReset) -> None:
        """The stream is gone."""

    @abstractmethod
    def on_lost(self, error: PeerPouchError) -> None:
        """The link is gone, or going."""

    @abstractmethod
    def on_head(self, head: ResponseHead, ended: bool) -> None:
        """The response has begun."""

    def on_data(self, data: bytes, ended: bool) -> None:
        """Bytes of a body came."""
        if data:
            self._queue(data)
        self._ended = ended
        wake(self._data)

    def _queue(self, data: bytes) -> None:
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(data) < _SMALL and len(last) + len(data) <= _JOINED:
            last += data
        else:
            self._chunks.append(bytearray(data) if len(data) < _SMALL else data)

    def on_room(self) -> None:
        """The send buffer has room again."""
        wake(self._room)

    def fail(self, error: PeerPouchError) -> None:
        """Nothing more will come or go; what came can't be read any more."""
        self._error = error
        self._chunks.clear()
        wake(self._data)
        wake(self._room)

    def consumed(self) -> None:
        """The chunk that was read last is used up."""
        if self._handed:
            self.link.consumed(self.stream, self._handed)
            self._handed = 0

    async def read(self) -> bytes | None:
        """The next bytes of the body, or nothing at its end. The bytes before these count as consumed."""
        self.consumed()
        while not self._chunks:
            if self._error is not None:
                raise anew(self._error)
            if self._ended:
                return None
            self._data = asyncio.get_running_loop().create_future()
            await self._data
        chunk = bytes(self._chunks.popleft())
        self._handed = len(chunk)
        return chunk

    async def send(self, data: bytes, *, end: bool) -> None:
        """Send bytes of the body, compressed if it is, and wait until there is room for more."""
        if self.packer is None:
            await self._put(data, end=end)
            return
        left = len(data)
        began = self.link.now()
        for taken, packed in self.packer.pack(data, end=end):
            self.link.packed(taken, len(packed), self.link.now() - began)
            left -= taken
            if packed or left <= 0:
                await self._put(packed, end=end and left <= 0)
            began = self.link.now()

    async def _put(self, data: bytes, *, end: bool) -> None:
        if self._error is not None:
            raise anew(self._error)
        if not self.link.send(self.stream, data, end=end):
            self._room = asyncio.get_running_loop().create_future()
            await self._room


def wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def anew(error: PeerPouchError) -> PeerPouchError:
    """The same error as an object of its own: each raise adds to a traceback."""
    return type(error)(error.reason)
