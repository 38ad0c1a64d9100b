"""The pool: one connection per pair of addresses, whoever began it and however many shares go over it.

Rules that hold throughout:

1. The other end is asked before anything is made. An offer is answered only after ``welcome`` let its sender in to the
   share that it names; until then it costs no peer connection, no engine object, no entry in any table.
2. What a peer was let in to is in ``Connection.admitted``, which lives exactly as long as the link over which (or for
   which) it was let in. Whatever serves requests asks :meth:`Pool.admitted` first.
3. A table entry changes only between two awaits. Whatever awaits checks again afterwards.
4. Offers that cross are settled by the addresses: the lower address's offer makes the connection. The other's offer is
   still admitted, and answered without an SDP, which means: use the connection that is there, or coming.
5. Nothing waits without a limit, and what fails says at which step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    InvalidSignal,
    NotFound,
    PeerPouchError,
    PeerUnreachable,
    TooManyRequests,
)
from peerpouch.peers.connection import Attempt, Connection, order
from peerpouch.peers.control import ControlApp, check_alive, open_share
from peerpouch.peers.lease import Lease
from peerpouch.peers.limits import CONNECT_TIMEOUT, PoolLimits
from peerpouch.peers.restarting import Restart, answered
from peerpouch.peers.table import ConnectionTable
from peerpouch.peers.timing import outcome, within
from peerpouch.ports import ASGIApp, Clock, Document, Link, Peer, PeerTransport, SignalChannel, SystemClock

_LOG = logging.getLogger("peerpouch.peers")


class _Moved(PeerUnreachable):
    """The share is served by another address than the one that was called."""


def _told(error: PeerPouchError) -> PeerPouchError:
    """What an opener is told where its offer could not be answered; which servers were asked is no business of it."""
    if not isinstance(error, PeerUnreachable):
        return error
    _LOG.warning("A peer could not be answered: %s", error.reason)
    return Forbidden("The other side has no address under which it may be reached.")


class Pool(ConnectionTable):
    """Makes, shares, settles and closes the connections of one address.

    Args:
        own: This end's address.
        transport: Makes peer connections.
        signals: Carries our offers.
        resolve: The address that serves a share now. Raises ShareNotFound, HubUnreachable and the like.
        welcome: Decides, within a limit of its own, whether a peer may open one of our shares, and gives our info.
            Raises Forbidden with a reason for the peer, or ShareNotFound.
        app: Serves the peers' requests.
    """

    def __init__(
        self,
        own: Peer,
        transport: PeerTransport,
        signals: SignalChannel,
        *,
        resolve: Callable[[str], Awaitable[Peer]],
        welcome: Callable[[Peer, str, Any], Awaitable[Any]],
        app: ASGIApp,
        clock: Clock | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        super().__init__(SystemClock() if clock is None else clock, PoolLimits() if limits is None else limits)
        self.own = own
        self._transport = transport
        self._signals = signals
        self._resolve = resolve
        self._welcome = welcome
        self._app = ControlApp(app, opened=self._opened_over_link, released=self._released, admitted=self.admitted)
        self._leases: set[Lease] = set()

    # Opening other peers' shares

    async def connect(self, share_id: str, info: Any = None, *, timeout: float = CONNECT_TIMEOUT) -> Lease:
        """Open a share. Its owner is asked, also when there is a connection already.

        Args:
            share_id: The share.
            info: Any JSON for the owner.
            timeout: Seconds, for this and for each reconnection.

        Raises:
            ShareNotFound: there is no such share.
            Forbidden: its owner refused, for the reason given.
            HubUnreachable, PeerUnreachable: which step failed, or took too long, is in the reason.
            InvalidSignal: the hub, or who answered, did not play by the rules.
        """
        lease = Lease(self, share_id, info, timeout)
        self._leases.add(lease)
        try:
            await lease.reach(ask=True)
        except BaseException:
            await lease.close()
            raise
        return lease

    def forget(self, lease: Lease) -> None:
        """A lease was closed."""
        self._leases.discard(lease)

    async def reach(self, share_id: str, info: Any, timeout: float, *, ask: bool) -> tuple[Connection, Any]:
        """The connection over which a share is open to us, entered as a user of it, and the sharer's info."""
        deadline = self._clock.monotonic() + timeout
        while True:
            address = await self.tasks.in_time(deadline, self._resolve(share_id), "the hub was read")
            self._check_open()
            if address == self.own:
                raise BadRequest("This share is served by this very hub object: use its database directly.")
            connection = self._enter(address, share_id)
            try:
                return connection, await self._open(connection, share_id, info, deadline, ask=ask)
            except _Moved:
                self.leave(connection, share_id)
                self.tasks.check_time(deadline, "the peer, which was restarted, was reached at its new address")
            except BaseException:
                self.leave(connection, share_id)
                raise

    async def _open(self, connection: Connection, share_id: str, info: Any, deadline: float, *, ask: bool) -> Any:
        while True:
            self._check_open()
            link = connection.live()
            if link is not None:
                if not ask and share_id in connection.opened:
                    return connection.opened[share_id]
                try:
                    return await self._open_over_link(connection, link, share_id, info, deadline)
                except ConnectionFailed:
                    if not link.closed or self.tasks.remaining(deadline) <= 0:
                        raise
                    continue
            if connection.answering is not None:
                await self.tasks.in_time(
                    deadline, asyncio.wait({connection.answering}), "the peer's own offer was answered"
                )
                continue
            attempt = connection.attempt or self._begin(connection, share_id, info, deadline)
            same = attempt.share_id == share_id and attempt.info == info
            # An attempt of ours ends by itself at the deadline, and says at which step.
            limit = deadline + (self._limits.telling if same else 0.0)
            try:
                found = await self.tasks.in_time(limit, outcome(attempt.task), "the peer was waited for")
            except (Forbidden, NotFound, TooManyRequests):
                if same:
                    raise  # else that was said of another share, or upon another info
            except ConnectionFailed:
                if not attempt.restarting or self.tasks.remaining(deadline) <= 0:
                    raise  # else it began before we asked, and had less time than we have
            else:
                if same:
                    return found

    async def _open_over_link(
        self, connection: Connection, link: Link, share_id: str, info: Any, deadline: float
    ) -> Any:
        release = connection.releases.get(share_id)
        if release is not None:  # overtaking it, we would be let in first and out then
            await self.tasks.in_time(
                deadline, asyncio.wait({release}), "the peer was told of the end of an earlier use"
            )
        asked = open_share(link.exchange, share_id, info)
        found = await self.tasks.in_time(deadline, asked, "the peer decided whether to let us in")
        if connection.link is link:
            connection.opened[share_id] = found
        return found

    def _begin(
        self, connection: Connection, share_id: str, info: Any, deadline: float, broken: Link | None = None
    ) -> Attempt:
        task = self.tasks.spawn(self._attempt(connection, share_id, info, deadline, broken))
        connection.attempt = Attempt(share_id, info, task, broken is not None)
        return connection.attempt

    async def _attempt(
        self, connection: Connection, share_id: str, info: Any, deadline: float, broken: Link | None
    ) -> Any:
        try:
            while True:
                self.tasks.check_time(deadline, "the crossing offers were settled")
                answer = await self._offer(connection, share_id, info, deadline, broken)
                broken = None
                if answer.get("restart") is not None and connection.live() is None:
                    continue  # it was restarted too late: the link has ended meanwhile
                if answer.get("sdp") is not None or await self._gave_way(connection, deadline):
                    found = connection.opened[share_id] = answer.get("info")
                    return found
        finally:
            connection.attempt = None
            self._settle_down(connection)

    async def _offer(
        self, connection: Connection, share_id: str, info: Any, deadline: float, broken: Link | None
    ) -> Document:
        """Send an offer, and make the connection unless the answer says to use another. Gives the answer."""
        offering = self._transport.offer(self._app, connection.address)
        pending = await self.tasks.in_time(deadline, offering, "the connection's candidates were gathered")
        restart = None if broken is None else Restart(broken)
        try:
            body = {"share": share_id, "info": info, "sdp": pending.sdp}
            if restart is not None:
                body |= await restart.describe()
            answer = await self._signals.signal(share_id, body, timeout=self.tasks.remaining(deadline))
            # An owner that was restarted meanwhile answers from its new address: a connection to that must not be kept
            # under the old one, or whoever looks for the new one later waits for a connection that is there already.
            address = await self.tasks.in_time(deadline, self._resolve(share_id), "the hub was read again")
            if address != connection.address:
                raise _Moved("The peer was restarted while it was called.")
            sdp = answer.get("sdp")
            if restart is not None:
                await restart.taken(answer)
            if sdp is None:
                self.tasks.spawn(pending.abandon(), ending=True)
                return answer
            if not isinstance(sdp, str):
                raise InvalidSignal("The answer's SDP is malformed.")
            self._install(connection, await pending.connect(sdp, timeout=self.tasks.remaining(deadline)))
        except BaseException:
            if broken is not None:
                self.tasks.spawn(broken.take_back(), ending=True)
            self.tasks.spawn(pending.abandon(), ending=True)
            raise
        return answer

    async def _gave_way(self, connection: Connection, deadline: float) -> bool:
        """Wait for the connection that the other end's offer makes; whether it came."""
        limit = min(self._limits.settle, self.tasks.remaining(deadline))
        with suppress(TimeoutError):
            if connection.live() is None:
                await within(self._clock, limit, connection.linked())
            return True
        return False

    # Letting other peers in

    async def answer(self, peer: Peer, share_id: str, body: Document) -> Document:
        """Decide on a verified offer: the answer's body.

        Args:
            peer: Who offers.
            share_id: The share that it wants.
            body: ``{"share": …, "info": any, "sdp": text}``, and perhaps ``"restart": text``.

        Raises:
            Forbidden, ShareNotFound: it is refused; nothing was kept of it.
            InvalidSignal: the offer is malformed.
            TooManyRequests: too many connections are being made.
        """
        sdp = body.get("sdp")
        if not isinstance(sdp, str) or peer == self.own:
            raise InvalidSignal("The offer is malformed.")
        self._check_room(peer)
        own_info = await self._welcome(peer, share_id, body.get("info"))
        self._check_room(peer)
        connection = self._connection(peer)
        connection.deciding += 1
        try:
            answer = await self._restarted(connection, share_id, body.get("restart"))
            return {"info": own_info, **(answer or {"sdp": await self._answer_sdp(connection, share_id, sdp)})}
        finally:
            connection.deciding -= 1
            self._settle_down(connection)

    async def _restarted(self, connection: Connection, share_id: str, description: object) -> Document:
        """The answer to a restart of the connection that there is; empty where a new one is to be made."""
        link = connection.live()
        if link is None or self._crosses(connection):
            return {}
        again = await answered(link, description)
        if again is None or connection.live() is not link:
            return {}
        connection.admitted.add(share_id)
        return {"sdp": None, "restart": again}

    def _crosses(self, connection: Connection) -> bool:
        """Whether an offer of ours is under way that counts before the other end's."""
        return connection.attempt is not None and order(self.own) < order(connection.address)

    async def _answer_sdp(self, connection: Connection, share_id: str, sdp: str) -> str | None:
        link = connection.live()
        # Whoever has a working connection asks over it, so it seems to be lost to the other end; unless this offer
        # crossed with the one that made it, and was late.
        if link is not None and not await self._is_alive(link):
            self._lose(connection, link)
        if connection.live() is not None:
            connection.admitted.add(share_id)
            return None
        if connection.answering is not None:
            connection.give_up_answering()  # the peer gave it up too, or it would not offer again
        elif self._crosses(connection):
            connection.admitted.add(share_id)
            return None
        connection.admitted.add(share_id)
        described: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.answering = task = self.tasks.spawn(self._finish(connection, sdp, described))
        both: list[asyncio.Future[Any]] = [described, task]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not described.done():
            raise Forbidden("This offer was given up for a newer one.")
        return described.result()

    async def _finish(self, connection: Connection, sdp: str, described: asyncio.Future[str]) -> None:
        """Answer an offer's SDP, and wait until its channel is open."""
        try:
            pending = await self._transport.answer(sdp, self._app, connection.address)
            try:
                described.set_result(pending.sdp)
                self._install(connection, await pending.connect(timeout=self._limits.half_open))
            except BaseException:
                self.tasks.spawn(pending.abandon(), ending=True)
                raise
        except PeerPouchError as error:
            if not described.done():
                described.set_exception(_told(error))
                described.exception()  # seen, also when nobody waits for it any more
        finally:
            if connection.answering is asyncio.current_task():
                connection.answering = None
            self._settle_down(connection)

    async def _opened_over_link(self, peer: Peer, share_id: str, info: Any) -> Any:
        connection = self._connections.get(peer)
        link = None if connection is None else connection.live()
        if connection is None or link is None:
            raise PeerUnreachable("The connection was closed.")
        own_info = await self._welcome(peer, share_id, info)
        if connection.link is not link:
            raise PeerUnreachable("The connection was closed.")
        connection.admitted.add(share_id)
        self._settle_down(connection)
        return own_info

    # Links

    def _install(self, connection: Connection, link: Link) -> None:
        if self._closed:
            self.tasks.spawn(self._farewell(link), ending=True)
            return
        old = connection.install(link)
        if old is not None:
            self.tasks.spawn(self._farewell(old), ending=True)
        self.tasks.spawn(self._watch(connection, link))
        self._settle_down(connection)

    async def _watch(self, connection: Connection, link: Link) -> None:
        minding = self.tasks.spawn(self._mind(connection, link))
        error = await link.wait_closed()
        minding.cancel()
        if error is not None:
            _LOG.info("The connection to a peer was lost: %s", error.reason)
            self._signals.doubt()
        connection.drop(link)
        self._settle_down(connection)

    async def _mind(self, connection: Connection, link: Link) -> None:
        """Look for another path whenever that of a link seems to be broken."""
        while link.can_restart and connection.link is link:
            await link.troubled()
            self._signals.doubt()
            lease = next((lease for lease in self._leases if lease.uses(connection)), None)
            if lease is not None and not connection.pending:
                deadline = self._clock.monotonic() + lease.timeout
                attempt = self._begin(connection, lease.share_id, lease.own_info, deadline, link)
                await asyncio.wait({attempt.task})
            await self._clock.sleep(self._limits.restart_pause)

    async def _is_alive(self, link: Link) -> bool:
        with suppress(TimeoutError, PeerPouchError):
            await within(self._clock, self._limits.alive, check_alive(link.exchange))
            return not link.closed
        return False

    # The end

    async def close(self) -> None:
        """Close all leases and links, after draining them, and wait until everything has ended."""
        self._closed = True
        for lease in list(self._leases):
            await lease.close()
        for connection in list(self._connections.values()):
            if connection.link is not None:
                self._lose(connection, connection.link)
        self._connections.clear()
        await self.tasks.end()
