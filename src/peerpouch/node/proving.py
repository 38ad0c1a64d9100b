"""Proofs for public hubs, added to the requests of whoever uses one: the client's side of ``public-hub.md``.

A hub tells by a header of its answers that it is one; until then nothing is added, so a plain hub never sees a proof.
"""

from __future__ import annotations

from peerpouch.errors import BadRequest, InvalidSignal
from peerpouch.exchange import ByteStream, Exchange, Request, Response
from peerpouch.identity import proofs
from peerpouch.identity.encoding import to_text
from peerpouch.identity.proofs import HubSession
from peerpouch.ports import Clock


class ProvingExchange(Exchange):
    """An exchange that proves a session to the hub at the other end, if that asks for it.

    Args:
        inner: Carries the requests. It is closed with this one.
        path: Of the hub's database: nothing else of the server is shown proofs.
        session: What is proved.
        clock: Tells how much time has passed since the hub told its own.
    """

    def __init__(self, inner: Exchange, path: str, session: HubSession, clock: Clock) -> None:
        self._inner = inner
        self._path = path.rstrip("/")
        self._session = session
        self._clock = clock
        self._hub: tuple[bytes, float] | None = None
        """The hub's key, and its time less our monotonic one, in milliseconds."""

    async def handle_async_request(self, request: Request) -> Response:
        """Send a request; once more, with proofs, if the hub asked for them."""
        path = request.url.path
        if path != self._path and not path.startswith(self._path + "/"):
            return await self._inner.handle_async_request(request)
        self._prove(request)
        response = await self._inner.handle_async_request(request)
        told = response.headers.get(proofs.HUB_HEADER)
        if told is None:
            return response
        self._learn(told)
        # A body that was made while it was sent can't be sent again; what a hub is asked for has none of that kind.
        if response.status_code == 401 and self._hub is not None and isinstance(request.stream, ByteStream):
            await response.aclose()
            self._prove(request)
            response = await self._inner.handle_async_request(request)
        return response

    def _learn(self, told: str) -> None:
        try:
            key, time = proofs.read_announcement(told)
        except BadRequest:
            return
        self._hub = key, time - 1000 * self._clock.monotonic()

    def _prove(self, request: Request) -> None:
        if self._hub is None:
            return
        key, ahead = self._hub
        time = max(0, round(ahead + 1000 * self._clock.monotonic()))
        try:
            request.headers[proofs.SESSION_HEADER] = proofs.prove_session(self._session.key, key, time)
        except InvalidSignal:  # no key: whatever is there, it gets nothing
            self._hub = None
            return
        request.headers[proofs.REPLY_HEADER] = to_text(self._session.secret)

    async def aclose(self) -> None:
        """Close what carries the requests."""
        await self._inner.aclose()
