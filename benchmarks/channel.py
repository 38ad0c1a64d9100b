"""One end of a bare data channel, in a process of its own: the limit that all between peers is held against.

It uses the engine directly, with nothing of peerpouch in between: no frames, no credit, no requests.
"""

from __future__ import annotations

import asyncio
import time

import apsw
import webrtc

from benchmarks.usage import usage
from peerpouch.cli.processes import Served, serve

MESSAGE = 64 << 10
"""Bytes of a message: where the engine's throughput has levelled off."""

HIGH, LOW = 4 << 20, 1 << 20
"""Bytes queued in the engine: far from its limit of 16 MiB, and never empty while there is more to send."""

END = b"end"


class BareChannel(Served):
    """Offers or answers, then sends or receives."""

    def __init__(self) -> None:
        webrtc.loopback.allow_loopback()
        self._connection = webrtc.RTCPeerConnection()
        self._open = asyncio.Event()
        self._low = asyncio.Event()
        self._ended = asyncio.Event()
        self._arrivals: asyncio.Queue[float] = asyncio.Queue()
        self._received = 0
        self._first = 0.0
        self._last = 0.0

    async def offer(self) -> str:
        """Make the channel; gives the offer's SDP with its candidates."""
        self._use(self._connection.create_data_channel("bare"))
        await self._connection.set_local_description(await self._connection.create_offer())
        return await self._gathered()

    async def answer(self, sdp: str) -> str:
        """Answer an offer; gives the answer's SDP with its candidates."""
        self._connection.on("datachannel", lambda event: self._use(event.channel))
        await self._connection.set_remote_description(webrtc.RTCSessionDescriptionInit(type="offer", sdp=sdp))
        await self._connection.set_local_description(await self._connection.create_answer())
        return await self._gathered()

    async def accept(self, sdp: str) -> None:
        """Take the answer."""
        await self._connection.set_remote_description(webrtc.RTCSessionDescriptionInit(type="answer", sdp=sdp))

    async def opened(self) -> None:
        """Wait until the channel is open."""
        await self._open.wait()

    async def keep(self, file: str) -> None:
        """From now on write rows to a SQLite file, synced: those that are written here and those that arrive."""
        self._rows = apsw.Connection(file)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE rows (body BLOB)"):
            self._rows.execute(statement).fetchall()

    async def write(self, body: str) -> float:
        """Write a row and send it; gives the wall-clock time at which it was begun."""
        began = time.time()
        self._rows.execute("INSERT INTO rows VALUES (?)", (body,))
        self._channel.send(body)
        return began

    async def arrival(self) -> float:
        """Wait for the next row; gives the wall-clock time at which it was written here."""
        return await self._arrivals.get()

    async def send(self, size: int) -> None:
        """Send ``size`` bytes as fast as the channel takes them, and the word that they have ended."""
        await self._open.wait()
        message = bytes(MESSAGE)
        for _ in range(max(1, size // MESSAGE)):
            if self._channel.buffered_amount > HIGH:
                self._low.clear()
                await self._low.wait()
            self._channel.send(message)
        self._channel.send(END)

    async def receive(self) -> dict[str, float]:
        """Wait for the end; gives bytes, and the seconds from the first message to the last."""
        await self._ended.wait()
        return {"bytes": self._received, "seconds": self._last - self._first}

    async def used(self) -> dict[str, float]:
        """What this process has used by now."""
        return usage()

    async def close(self) -> None:
        self._connection.close()

    def _use(self, channel: webrtc.RTCDataChannel) -> None:
        self._channel = channel
        channel.binary_type = "arraybuffer"
        channel.buffered_amount_low_threshold = LOW
        channel.on("open", lambda event: self._open.set())
        channel.on("bufferedamountlow", lambda event: self._low.set())
        channel.on("message", self._take)
        if channel.ready_state == "open":
            self._open.set()

    def _take(self, event: webrtc.MessageEvent) -> None:
        if isinstance(event.data, str):
            self._rows.execute("INSERT INTO rows VALUES (?)", (event.data,))
            self._arrivals.put_nowait(time.time())
            return
        self._last = time.perf_counter()
        if not self._received:
            self._first = self._last
        if len(event.data) == len(END):
            self._ended.set()
        else:
            self._received += len(event.data)

    async def _gathered(self) -> str:
        while self._connection.ice_gathering_state != "complete":
            await asyncio.sleep(0.005)
        description = self._connection.local_description
        if description is None:
            raise RuntimeError("the engine gathered candidates and has no description")
        return str(description.sdp)


if __name__ == "__main__":
    serve(BareChannel())
