"""Documents with large attachments, sent so that they go on where they broke off.

CouchDB's protocol takes a document with its attachments in one request, and begins anew when that breaks off. A
peerpouch takes the same body in pieces too, and says how much of it has come; ``docs/protocol/uploads.md`` has the
rules. What was begun is remembered by the database that it is sent to: the caller writes the same revision again.

Its name and its boundary are made of a secret, of where it goes and of what it brings. Who has the same secret after a
restart calls it by the same name, and finds what came of it. Nobody else can: not to disturb it, and not to put its
boundary into what is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from peerpouch.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    DigestMismatch,
    NotSupported,
    PeerPouchError,
    ProtocolError,
    RangeNotSatisfiable,
    TooManyRequests,
)
from peerpouch.exchange import Response
from peerpouch.remote.client import Client

LEAST: Final = 4 << 20
"""Bytes of a body that is worth it: less is sent anew in seconds, and to ask first costs a round trip each time."""

MOST_DOCUMENT: Final = 1 << 20
"""Bytes that the other side takes of the document itself."""

REMEMBERED: Final = 16
"""Uploads of one database that are remembered: twice as many as the other side keeps for one visitor."""

MOST_LOST: Final = 3
"""Beginnings that are lost before a document goes in one request: the answer that there is no room may be lost too."""

DIGEST: Final = 32
"""Bytes of the SHA-256 with which a body ends."""

_MARKS: Final = 256
_LEAST_MARK: Final = 1 << 20
"""States of the digest that are kept, and bytes between two of them at least. So much is read of the source once more,
and not sent, when an upload goes on; a state takes some 200 bytes."""


@runtime_checkable
class Rereadable(Protocol):
    """A stream that can be read again, from any byte."""

    def read_from(self, offset: int) -> AsyncIterator[bytes]: ...


Piece = tuple[int | None, Any]
"""A part of a body, in order: its length where it is known, and bytes, or a stream of them."""


@dataclass(slots=True)
class _Upload:
    """One that was begun.

    Attributes:
        marks: States of the digest, by how many bytes it has seen.
        lost: How often in a row what was begun of it was not there afterwards.
    """

    name: str
    boundary: str
    length: int
    marks: dict[int, Any] = field(default_factory=dict)
    lost: int = 0


class Uploads:
    """The uploads to one database.

    Args:
        secret: Gives the user's secret, which must be the same the next time for what was begun to be found; it may
            block. ``None``: uploads end with this object.
    """

    def __init__(self, client: Client, secret: Callable[[], bytes] | None = None) -> None:
        self._client = client
        self._secret = secret
        self._key = b"" if secret is not None else secrets.token_bytes(32)
        self._begun: OrderedDict[tuple[str, str], _Upload] = OrderedDict()
        self._busy: set[tuple[str, str]] = set()

    async def _load(self) -> None:
        if self._secret is not None and not self._key:
            try:
                self._key = await asyncio.to_thread(self._secret)
            except PeerPouchError:  # an identity that can't be read or made, where it is not needed for anything else
                self._key = secrets.token_bytes(32)

    def _word(self, *parts: str) -> str:
        """32 hexadecimal digits that nobody can guess who does not have the secret."""
        text = json.dumps([self._client.url, *parts]).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    async def put(self, doc_id: str, rev: str, make: Callable[[str], Sequence[Piece]]) -> Response | None:
        """Send a revision, or what the other side lacks of it; ``None`` if it must go in one request.

        Args:
            make: Makes the pieces of the body, given a boundary.

        Raises:
            ConnectionFailed: it broke off; written again, it goes on where it was, or begins anew.
            PeerPouchError: what the other side says to the document.
        """
        key = (doc_id, rev)
        if key in self._busy:
            return None  # somebody else sends the same; two would take it away from each other
        self._busy.add(key)
        try:
            return await self._put(key, make)
        finally:
            self._busy.discard(key)

    async def _put(self, key: tuple[str, str], make: Callable[[str], Sequence[Piece]]) -> Response | None:
        doc_id, rev = key
        upload = self._begun.get(key)
        await self._load()
        boundary = self._word("boundary", doc_id, rev)
        pieces = make(boundary)
        length = _length(pieces)
        # The same revision may be sent with other attachments left out: that is another upload.
        name = self._word("upload", doc_id, rev, _framing(pieces), str(length))
        if upload is None or upload.name != name:
            if not _is_worth_it(pieces) or not await self._offered():
                return None
            upload = _Upload(name, boundary, length)
            offset = None if self._secret is None else await self._offset(upload)
            self._begun[key] = upload
            if len(self._begun) > REMEMBERED:
                self._begun.popitem(last=False)
        else:
            offset = await self._offset(upload)
            upload.lost += offset is None
            if upload.lost >= MOST_LOST or (offset is None and not await self._offered()):
                del self._begun[key]
                return None
        try:
            return await self._send(upload, doc_id, pieces, offset or 0)
        except PeerPouchError as error:
            self._judge(key, error)
            return None

    def forget(self, doc_id: str, rev: str) -> None:
        """It was written."""
        self._begun.pop((doc_id, rev), None)

    def _judge(self, key: tuple[str, str], error: PeerPouchError) -> None:
        """Raise what is to be raised; otherwise there is no room for it, and it goes in one request."""
        if _may_go_on(error):
            raise error  # what came of it is there yet, or the other side says that it is not
        self._begun.pop(key, None)
        if isinstance(error, TooManyRequests):
            return
        if isinstance(error, (RangeNotSatisfiable, DigestMismatch)):
            # This is about the upload: the document must not be taken for one that is refused.
            reason = f"{self._client.shown} must be sent all of it anew: {error.reason}"
            raise ConnectionFailed(reason) from error
        raise error

    async def _offered(self) -> bool:
        """Asked each time: another server may have taken the place of this one, and what it would say to such a
        request would be taken for its word about the document."""
        try:
            info = await self._client.json("GET", "")
        except PeerPouchError as error:
            if 400 <= error.status < 500:
                return False  # who may not ask may write nevertheless
            raise
        return isinstance(info, dict) and info.get("uploads") == 1

    async def _offset(self, upload: _Upload) -> int | None:
        """How much of it is there; ``None`` if it is not known there any more."""
        try:
            status = await self._client.json("GET", f"/_upload/{upload.name}")
        except PeerPouchError as error:
            if _may_go_on(error):
                raise
            return None
        with self._client.shape():
            offset = status["offset"]
            if type(offset) is not int or not 0 <= offset <= upload.length or status["length"] != upload.length:
                raise ValueError("it is not as long as what was sent")
        return offset

    async def _send(self, upload: _Upload, doc_id: str, pieces: Sequence[Piece], offset: int) -> Response:
        response = await self._client.send(
            "PUT",
            f"/_upload/{upload.name}",
            params={"doc": doc_id, "length": upload.length, "offset": str(offset)},
            content=_body(upload, pieces, offset),
            headers={
                "content-type": f'multipart/related; boundary="{upload.boundary}"',
                "content-length": str(upload.length - offset),
            },
        )
        if response.status_code == 202:
            await self._client.release(response)
            raise ConnectionFailed(f"The upload to {self._client.shown} broke off.")
        return response


def _may_go_on(error: PeerPouchError) -> bool:
    """Whether this was a failure on the way, or one that passes, and no answer to what was asked."""
    if isinstance(error, (ConnectionFailed, DeadlineExceeded)):
        return True
    return error.status >= 500 and not isinstance(error, NotSupported)


def _framing(pieces: Sequence[Piece]) -> str:
    digest = hashlib.sha256()
    for _, data in pieces:
        digest.update(data if isinstance(data, (bytes, bytearray)) else b"\0")
    return digest.hexdigest()


def _length(pieces: Sequence[Piece]) -> int:
    return sum(size or 0 for size, _ in pieces) + DIGEST


def _is_worth_it(pieces: Sequence[Piece]) -> bool:
    if any(size is None for size, _ in pieces) or _length(pieces) < LEAST or len(pieces[0][1]) > MOST_DOCUMENT:
        return False
    return all(isinstance(data, (bytes, bytearray, Rereadable)) for _, data in pieces)


async def _body(upload: _Upload, pieces: Sequence[Piece], offset: int) -> AsyncGenerator[bytes, None]:
    """The bytes of the body from this one on, with its digest at the end."""
    # From the last state of the digest that is not beyond; later ones are of bytes that will be read again.
    start = max((mark for mark in upload.marks if mark <= offset), default=0)
    digest = upload.marks[start].copy() if start else hashlib.sha256()
    upload.marks = {mark: state for mark, state in upload.marks.items() if mark <= start}
    apart = max(_LEAST_MARK, upload.length // _MARKS)
    at = marked = start
    async with aclosing(_read(pieces, start)) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
            first, at = at, at + len(chunk)
            if at - marked >= apart:
                marked = at
                upload.marks[at] = digest.copy()
            if at > offset:
                yield chunk[max(0, offset - first) :]
    end = digest.digest()[max(0, offset - at) :]
    if end:
        yield end


async def _read(pieces: Sequence[Piece], start: int) -> AsyncGenerator[bytes, None]:
    for length, data in pieces:
        assert length is not None
        skip, start = min(start, length), max(0, start - length)
        if isinstance(data, (bytes, bytearray)):
            if skip < length:
                yield bytes(data[skip:])
            continue
        if skip == length and length:
            continue
        size = skip
        stream = data.read_from(skip)
        try:
            async for chunk in stream:
                size += len(chunk)
                if size > length:
                    break
                yield chunk
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if size != length:
            # Broken off: a body of another length than announced must not be taken for whole.
            raise ProtocolError(f"An attachment was to have {length} bytes, and its stream gave {size} or more.")
