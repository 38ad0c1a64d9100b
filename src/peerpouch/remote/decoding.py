"""The decoded body of an answer, in portions that are bounded however well it was compressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from peerpouch.errors import ConnectionFailed, ProtocolError
from peerpouch.exchange import Response

STEP: Final = 256 * 1024
"""Bytes that one step of decompression may give: a bomb makes a thousand bytes of each of its own, and limits are held
against what was decoded."""

_GZIP: Final = 16 + zlib.MAX_WBITS


async def decoded(response: Response) -> AsyncGenerator[bytes, None]:
    """The body, decoded.

    Raises:
        ProtocolError: it is not gzip, or compressed in a way that was not asked for (twice, too: bombs of bombs).
        ConnectionFailed: it ended too early.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip"):
        await response.aclose()
        raise ProtocolError(f"The answer has the encoding {coding[:40]!r}, which was not asked for.")
    async with aclosing(response.aiter_raw() if coding == "gzip" else response.aiter_bytes()) as chunks:
        if coding != "gzip":
            async for chunk in chunks:
                yield chunk
            return
        inflate, came = zlib.decompressobj(_GZIP), False
        async for chunk in chunks:
            came = came or bool(chunk)
            while chunk:
                try:
                    data = inflate.decompress(chunk, STEP)
                except zlib.error:
                    raise ProtocolError("The answer is not valid gzip.") from None
                if inflate.unused_data:
                    raise ProtocolError("The answer has bytes behind its gzip member.")
                chunk = inflate.unconsumed_tail
                if data:
                    yield data
                if chunk:
                    # A bomb keeps its reader busy; others get their turn meanwhile.
                    await asyncio.sleep(0)
        if came and not inflate.eof:
            raise ConnectionFailed("The answer broke off: its gzip body is not complete.")
