"""An ordered gate: a few batches inside at once, let in strictly by ticket."""

from __future__ import annotations

import asyncio


class Lane:
    """Lets tickets 0, 1, 2, … in, in this order, with at most ``width`` inside.

    The order is what keeps a chain of lanes free of deadlock: a batch that waits inside one lane for the next can only
    wait for batches with lower tickets, and these entered every lane before it.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._inside = 0
        self._next = 0
        # Both hold at most one entry per batch in flight.
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._absent: set[int] = set()

    @property
    def inside(self) -> int:
        """How many are in it."""
        return self._inside

    async def enter(self, ticket: int) -> None:
        """Wait for one's turn. Every ticket must enter or :meth:`skip` once; who entered must :meth:`leave`."""
        turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        self._admit()
        await turn

    def leave(self) -> None:
        """Make room for the next."""
        self._inside -= 1
        self._admit()

    def skip(self, ticket: int) -> None:
        """Say that this ticket will not come."""
        self._absent.add(ticket)
        self._admit()

    def _admit(self) -> None:
        while True:
            if self._next in self._absent:
                self._absent.remove(self._next)
            elif self._inside < self._width and self._next in self._waiting:
                turn = self._waiting.pop(self._next)
                if turn.done():  # cancelled while it waited: the whole pipeline is being stopped
                    self._next += 1
                    continue
                turn.set_result(None)
                self._inside += 1
            else:
                return
            self._next += 1
