"""The HTTP server's side of a connection, which gives up whoever does not come to the point.

uvicorn waits for a request as long as it takes: connections that say nothing, or a few bytes now and then,
would keep a server's files open until it has none left for those who have something to ask.
"""

from __future__ import annotations

import asyncio
from typing import Final

from h11 import IDLE, SEND_BODY
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN: Final = 30.0
"""Seconds from the beginning of a connection, or from the first byte of a further request, to the end of that request's
head: as mochiweb has it, CouchDB's HTTP server. A head is one packet or a few."""

MORE_WITHIN: Final = 300.0
"""Seconds without a byte of a request's body while we read: as mochiweb has it; a slow source keeps that."""


class PunctualProtocol(H11Protocol):
    """One connection."""

    within = HEAD_WITHIN
    more_within = MORE_WITHIN
    _came = 0.0
    _silence: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.within, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not IDLE:  # a head is complete, or what came is no HTTP
            self._forget()
            self._came = self.loop.time()
            if self._silence is None and self.conn.their_state is SEND_BODY:
                self._silence = self.loop.call_later(self.more_within, self._listen)
        elif self._deadline is None and self.conn.trailing_data[0]:
            self._deadline = self.loop.call_later(self.within, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is IDLE:
            self.transport.close()

    def _listen(self) -> None:
        self._silence = None
        if self.conn.their_state is not SEND_BODY:
            return
        if self.flow.read_paused:  # it is we who keep them waiting
            self._came = self.loop.time()
        left = self._came + self.more_within - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._silence = self.loop.call_later(left, self._listen)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
