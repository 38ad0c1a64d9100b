"""Attachments that flow from source to target, and go on where they broke off."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from peerpouch.core import replication_plan as plan
from peerpouch.errors import ConnectionFailed, PeerPouchError, ProtocolError
from peerpouch.ports import Attachment, Clock, Database
from peerpouch.replication.progress import Meter

ATTEMPTS = 6
"""How often in a row a transfer is taken up again without a byte of progress, in a replication that does not retry:
about 15 seconds, in which a connection that can be mended is."""

LONGEST_PAUSE = 5.0
"""Seconds between two attempts at most: somebody waits for these bytes, and asking costs one request."""

LONGEST_REST = 6 * 3600.0
"""Seconds without a byte after which even a patient transfer begins anew: what the target has staged is somebody's to
clean up one day."""


class ResumingStream(AsyncIterable[bytes]):
    """The bytes of one attachment of the source, as stored, fetched when they are consumed.

    A transfer that breaks off is taken up at its last byte, in the same revision, whose digest must still be the
    same. It can be consumed again, from the start: a write that is repeated does so.

    Args:
        entry: The attachment's stub in the document.
        patient: Never give up while the source can't be reached, as the replication does not either.
    """

    def __init__(
        self,
        source: Database,
        doc_id: str,
        rev: str,
        name: str,
        entry: Mapping[str, Any],
        meter: Meter,
        clock: Clock,
        chance: Callable[[], float],
        *,
        patient: bool,
    ) -> None:
        self.failure: PeerPouchError | None = None
        self._source = source
        self._doc_id = doc_id
        self._rev = rev
        self._name = name
        self._digest = entry.get("digest")
        self._encoding = entry.get("encoding")
        self._total: int | None = entry.get("encoded_length" if self._encoding else "length")
        self._meter = meter
        self._clock = clock
        self._chance = chance
        self._attempts = math.inf if patient else ATTEMPTS

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self.read_from(0)

    async def read_from(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from this one on, for a target that has those before it."""
        failures = 0
        moved = self._clock.now()  # not monotonic time, which may stand still while a laptop sleeps
        self.failure = None
        while offset != self._total:
            try:
                attachment = await self._open(offset)
                skip = offset - attachment.start
                async with aclosing(_generator(attachment)) as chunks:
                    async for data in chunks:
                        chunk = data[skip:] if skip else data
                        skip -= len(data) - len(chunk)
                        if not chunk:
                            continue
                        offset += len(chunk)
                        failures, moved = 0, self._clock.now()
                        self._meter.bytes += len(chunk)
                        self._meter.bell.ring()
                        if self._total is not None and offset > self._total:
                            raise ProtocolError(f"The source sent more than all bytes of {self._place()}.")
                        yield chunk
                if offset != self._total:
                    raise ConnectionFailed(f"The transfer of {self._place()} broke off at byte {offset}.")
            except PeerPouchError as error:
                failures += 1
                rested = self._clock.now() - moved > LONGEST_REST
                if failures > self._attempts or rested or not plan.is_transient(error):
                    self.failure = error
                    raise
                await self._clock.sleep(min(LONGEST_PAUSE, plan.backoff(failures, self._chance())))
        self._meter.attachments_written += 1

    async def _open(self, offset: int) -> Attachment:
        attachment = await self._source.get_attachment(
            self._doc_id, self._name, rev=self._rev, start=offset, encoded=self._encoding is not None
        )
        if self._total is None:
            self._total = attachment.length
        if (
            attachment.length != self._total
            or attachment.start > offset
            or attachment.encoding != self._encoding
            or (self._digest is not None and attachment.digest != self._digest)
        ):
            await attachment.aclose()
            raise ProtocolError(f"The source has other content for {self._place()} than its document says.")
        return attachment

    def _place(self) -> str:
        return f"attachment {self._name!r} of {self._doc_id!r} {self._rev}"


async def _generator(attachment: Attachment) -> AsyncGenerator[bytes, None]:
    """The attachment's stream, freed with this generator however far it was read."""
    stream = aiter(attachment)
    try:
        async for chunk in stream:
            yield chunk
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
        await attachment.aclose()
