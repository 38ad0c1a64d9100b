"""What is between this machine and its peers, step by step: the checks behind ``peerpouch doctor``.

Each check says what it found in plain words, and what to do about it. Nothing is kept: a small database in memory is
shared at the hub, for one's own key only, opened from a second session, and withdrawn.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal

from peerpouch.errors import (
    DatabaseNotFound,
    HubUnreachable,
    NotSupported,
    PeerPouchError,
    PeerUnreachable,
    Unauthorized,
)
from peerpouch.exchange import Request
from peerpouch.hub.leases import TOLERANCE
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.keys import Identity
from peerpouch.node import ice, targets
from peerpouch.node.databases import open_file
from peerpouch.node.entry import open
from peerpouch.node.hubs import Hub
from peerpouch.node.meeting import AnyIdentity, load_identity
from peerpouch.node.sharing import SharedDatabase
from peerpouch.node.targets import Kind
from peerpouch.ports import Database, LinkStats
from peerpouch.transports.network import NetworkExchange
from peerpouch.transports.webrtc import stun
from peerpouch.transports.webrtc.engine import IceServer, RTCOptions, own_addresses
from peerpouch.transports.webrtc.engines import load_engine
from peerpouch.transports.webrtc.sdp import candidates

State = Literal["ok", "warning", "failed", "skipped"]

NAME: Final = "peerpouch doctor"
"""What the share is called while it is there."""
PATIENCE: Final = 15.0
"""Seconds for each step at the hub: a hub that is polled brings news within a few."""
ANSWER: Final = 3.0
"""Seconds for a STUN or TURN server: connections wait for one, so that such a slow one is of no use."""
SLOW_CLOCK: Final = 60.0
"""Seconds of difference that are worth a word. :data:`~peerpouch.hub.leases.TOLERANCE` is what is tolerated."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: Which check: ``identity``, ``engine``, ``hub``, ``clock``, ``server`` (one for each), ``router``,
            ``candidates``, ``writing``, ``feed``, ``connection``, ``path``, ``relay``.
        state: ``"ok"``, ``"warning"`` (it works, with a but), ``"failed"``, or ``"skipped"``, as an earlier one failed.
        text: What was found, for people.
        advice: What to do about it.
        details: Figures and names, for scripts.
    """

    name: str
    state: State
    text: str
    advice: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


async def diagnose(
    hub: str | os.PathLike[str],
    *,
    identity: AnyIdentity = None,
    ice_servers: ice.IceServersLike = None,
    ice_transport_policy: Literal["all", "relay"] = "all",
    engine: str | None = None,
) -> AsyncIterator[Check]:
    """Check what connections to peers need, one step after the other.

    Args:
        hub: A path, a URL or a share's ``dbname``.
        identity, ice_servers, ice_transport_policy, engine: As for :class:`Hub`.

    Raises:
        BadRequest: the hub or the ICE servers are not written as such.
    """
    doctor = _Doctor(hub, identity, ice_servers, ice_transport_policy, engine)
    async for check in doctor.checks():
        yield check


class _Doctor:
    def __init__(
        self,
        hub: str | os.PathLike[str],
        identity: AnyIdentity,
        ice_servers: ice.IceServersLike,
        policy: Literal["all", "relay"],
        engine: str | None,
    ) -> None:
        self._target = targets.parse(hub)
        self._wanted_identity, self._engine = identity, engine
        self._policy = policy
        self._options = RTCOptions(ice_servers=ice.parse(ice_servers), policy=policy)
        self._identity: Identity | None = None

    async def checks(self) -> AsyncIterator[Check]:
        yield await self._check_identity()
        engine = self._check_engine()
        yield engine
        hub = await self._check_hub()
        yield hub
        if self._target.kind is Kind.HTTP:
            yield await self._check_clock()
        try:
            servers = list(await self._options.servers())
        except PeerUnreachable as error:
            yield Check("server", "failed", error.reason, _FETCH)
            servers = []
        async for check in self._check_servers(servers, able=engine.state == "ok"):
            yield check
        if engine.state == "ok":
            yield await self._check_candidates(servers)
        if self._identity is None or "failed" in (engine.state, hub.state):
            for name in ("writing", "feed", "connection", "path"):
                yield Check(name, "skipped", "Not tried, because of the above.")
            return
        async for check in self._check_meeting(self._identity, self._policy):
            yield check
        if self._policy == "all" and any(_is_turn(url) for server in servers for url in server.urls):
            async for check in self._check_meeting(self._identity, "relay"):
                if check.name == "connection":
                    yield Check("relay", check.state, f"By the relay only: {check.text}", check.advice, check.details)

    async def _check_identity(self) -> Check:
        try:
            self._identity = await load_identity(self._wanted_identity)
        except PeerPouchError as error:
            return Check("identity", "failed", error.reason, "Give another key file with --identity, or repair it.")
        fingerprint = self._identity.fingerprint
        return Check("identity", "ok", f"You are {fingerprint}.", details={"fingerprint": fingerprint})

    def _check_engine(self) -> Check:
        try:
            name = load_engine(self._engine).name
        except NotSupported as error:
            return Check("engine", "failed", error.reason, "Install it; without one, nothing connects.")
        return Check("engine", "ok", f"The WebRTC engine is {name}.", details={"engine": name})

    # The hub

    async def _check_hub(self) -> Check:
        began, label = time.monotonic(), self._target.label
        try:
            async with asyncio.timeout(PATIENCE):
                database = await open(self._target.address, create=False, identity=self._identity)
                try:
                    await database.info()
                finally:
                    await database.close()
        except (PeerPouchError, TimeoutError) as error:
            return Check("hub", "failed", f"The hub {label} can't be read: {_reason(error)}", _advice_for_hub(error))
        took = time.monotonic() - began
        return Check("hub", "ok", f"The hub {label} can be read ({took * 1000:.0f} ms).", details={"seconds": took})

    async def _check_clock(self) -> Check:
        exchange = NetworkExchange(self._target.address)
        try:
            began = time.time()
            async with asyncio.timeout(PATIENCE):
                response = await exchange.handle_async_request(Request("GET", exchange.url))
                date = response.headers.get("date")
                await response.aclose()
            here = (began + time.time()) / 2
            difference = here - parsedate_to_datetime(date or "").timestamp()
        except (PeerPouchError, TimeoutError, TypeError, ValueError):
            return Check("clock", "skipped", "The hub does not tell the time.")
        finally:
            await exchange.aclose()
        details = {"seconds_ahead": difference}
        if abs(difference) < SLOW_CLOCK:
            return Check("clock", "ok", "This machine's clock agrees with the hub's.", details=details)
        side = "ahead of" if difference > 0 else "behind"
        text = f"This machine's clock is {abs(difference) / 60:.0f} minutes {side} the hub's"
        state: State = "failed" if abs(difference) > TOLERANCE else "warning"
        return Check(
            "clock", state, f"{text}; {TOLERANCE // 60} minutes are tolerated.", "Set the clock that is wrong.", details
        )

    # The servers, and what they tell of the way

    async def _check_servers(self, servers: list[IceServer], *, able: bool) -> AsyncIterator[Check]:
        plain = [url for server in servers for url in server.urls if url.startswith("stun:")]
        if not servers:
            yield Check("server", "warning", "No STUN or TURN server is used.", _NO_SERVERS)
        answers = dict(zip(plain, await _ask(plain), strict=True))
        for url, answer in answers.items():
            if isinstance(answer, str):
                yield Check("server", "failed", f"{url}: {answer}.", _DEAD_STUN, {"url": url})
            else:
                took, seen = answer.seconds * 1000, f"{answer.mapped[0]}:{answer.mapped[1]}"
                details = {"url": url, "seconds": answer.seconds, "mapped": seen}
                yield Check("server", "ok", f"{url} answers ({took:.0f} ms) and sees you as {seen}.", details=details)
        router = _judge_router([answer for answer in answers.values() if isinstance(answer, stun.Mapped)])
        if router is not None:
            yield router
        for server in servers:
            for url in server.urls if able else ():
                if _is_turn(url):
                    yield await self._check_relay(IceServer((url,), server.username, server.credential))

    async def _gather(self, options: RTCOptions) -> tuple[list[str], list[str]]:
        """Candidates, and what the servers objected."""
        connection = await load_engine(self._engine).connection(options)
        try:
            found = candidates(await connection.offer())
            return found, list(connection.complaints)
        finally:
            await connection.close()

    async def _check_relay(self, server: IceServer) -> Check:
        (url,) = server.urls
        details: dict[str, Any] = {"url": url}
        try:
            found, complaints = await self._gather(RTCOptions((server,), policy="relay", gathering=ANSWER))
        except PeerPouchError as error:
            return Check("server", "failed", f"{url}: {error.reason}", _WRONG_SERVERS, details)
        details |= {"complaints": complaints}
        if found:
            return Check("server", "ok", f"{url} relays.", details=details)
        said = (
            f"it says {complaints[0].partition(': ')[2]}" if complaints else f"nothing came within {ANSWER:g} seconds"
        )
        advice = _NOT_LET_IN if any(" 401" in complaint for complaint in complaints) else _DEAD_TURN
        return Check("server", "failed", f"{url} does not relay: {said}", advice, details)

    async def _check_candidates(self, servers: list[IceServer]) -> Check:
        try:
            found, _ = await self._gather(RTCOptions(tuple(servers), policy=self._policy))
        except PeerPouchError as error:
            return Check("candidates", "failed", error.reason, _WRONG_SERVERS)
        details = {"candidates": found}
        if not found:
            advice = _NO_RELAY if self._policy == "relay" else "Check that this machine has a network."
            return Check("candidates", "failed", "There is no address that a peer could connect to.", advice, details)
        kinds = {each.partition(" ")[0] for each in found}
        words = [_KINDS.get(kind, kind) for kind in sorted(kinds)]
        text = f"A peer is offered {len(found)} addresses: {', '.join(words)}."
        if not own_addresses():
            return Check("candidates", "warning", text, _ALONE, details)
        return Check("candidates", "ok", text, details=details)

    # Meeting oneself

    async def _check_meeting(self, own: Identity, policy: Literal["all", "relay"]) -> AsyncIterator[Check]:
        async with AsyncExitStack() as stack:
            folder = await asyncio.to_thread(lambda: stack.enter_context(tempfile.TemporaryDirectory()))
            one, two = (
                Hub(
                    self._target.address,
                    identity=own,
                    contacts=Contacts(Path(folder) / "contacts.json"),  # the user's own learn nothing of this
                    ice_servers=self._options.servers,
                    ice_transport_policy=policy,
                    engine=self._engine,
                )
                for _ in range(2)
            )
            news = _News()
            database = await stack.enter_async_context(await _sample())
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    for hub in (one, two):
                        await stack.enter_async_context(hub)
                    await two.get_shared_databases(news.changed)
                    began = time.monotonic()
                    own_share = await one.share_database(database, name=NAME, access="read-only", peers=[own.key])
            except (PeerPouchError, TimeoutError) as error:
                yield Check("writing", "failed", f"Nothing can be shared at the hub: {_reason(error)}", _READ_ONLY_HUB)
                for name in ("feed", "connection", "path"):
                    yield Check(name, "skipped", "Not tried, because of the above.")
                return
            took = time.monotonic() - began
            yield Check("writing", "ok", f"The hub can be written ({took * 1000:.0f} ms).", details={"seconds": took})
            share = await news.of(own_share.id)
            if share is None:
                text = f"The hub's feed brought no news within {PATIENCE:g} seconds."
                yield Check("feed", "failed", text, _DEAD_FEED)
                for name in ("connection", "path"):
                    yield Check(name, "skipped", "Not tried, because of the above.")
                return
            took = time.monotonic() - began
            yield Check("feed", "ok", f"The hub's feed brings news ({took * 1000:.0f} ms).", details={"seconds": took})
            async for check in self._check_connection(share, policy):
                yield check

    async def _check_connection(self, share: SharedDatabase, policy: Literal["all", "relay"]) -> AsyncIterator[Check]:
        began = time.monotonic()
        try:
            async with share.open(timeout=PATIENCE) as remote:
                await remote.get("doctor")
                took = time.monotonic() - began
                stats = await remote.stats()
        except PeerPouchError as error:
            advice = _NO_RELAY if policy == "relay" else _NO_PATH
            yield Check("connection", "failed", f"Two sessions of this machine do not connect: {error.reason}", advice)
            yield Check("path", "skipped", "Not tried, because of the above.")
            return
        text = f"Two sessions of this machine connect and exchange a document ({took * 1000:.0f} ms)."
        yield Check("connection", "ok", text, details={"seconds": took})
        yield _path(stats)


class _News:
    """The shares that a hub's feed told of."""

    def __init__(self) -> None:
        self._shares: dict[str, SharedDatabase] = {}
        self._came = asyncio.Event()

    def changed(self, share: SharedDatabase) -> None:
        self._shares[share.id] = share
        self._came.set()

    async def of(self, share_id: str) -> SharedDatabase | None:
        """The share, once the feed has told of it; nothing if it does not in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                while share_id not in self._shares:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return None
        return self._shares[share_id]


async def _sample() -> Database:
    database = await open_file(":memory:")
    await database.put({"_id": "doctor"})
    return database


async def _ask(urls: list[str]) -> list[stun.Mapped | str]:
    places: list[tuple[str, int] | str] = []
    for url in urls:
        try:
            places.append(stun.endpoint(url))
        except PeerUnreachable as error:
            places.append(error.reason)
    told = iter(await stun.ask([place for place in places if isinstance(place, tuple)], limit=ANSWER))
    return [next(told) if isinstance(place, tuple) else place for place in places]


def _judge_router(answers: list[stun.Mapped]) -> Check | None:
    """What the addresses that servers see tell of the way to the internet."""
    if not answers:
        return None
    seen = {f"{answer.mapped[0]}:{answer.mapped[1]}" for answer in answers}
    details = {"mapped": sorted(seen)}
    if all(answer.mapped == answer.local for answer in answers):
        return Check("router", "ok", "There is no router (NAT) between you and the servers.", details=details)
    if len(answers) < 2:
        text = "You are behind a router (NAT). Most let direct connections through."
        return Check("router", "ok", text, "Give a second STUN server to learn of which kind it is.", details)
    if len(seen) == len(answers):
        text = "Your router (NAT) shows every server another address: most direct connections will fail."
        return Check("router", "warning", text, _TURN, details)
    return Check("router", "ok", "Your router (NAT) lets direct connections through.", details=details)


def _path(stats: LinkStats | None) -> Check:
    if stats is None:
        return Check("path", "failed", "The connection was lost at once.", _NO_PATH)
    trip = "" if stats.round_trip is None else f", round trip {stats.round_trip * 1000:.1f} ms"
    details = {"path": stats.path, "local": stats.local, "remote": stats.remote, "round_trip": stats.round_trip}
    text = f"Its path is {stats.path or 'not known'}, {stats.local} to {stats.remote}{trip}."
    return Check("path", "ok", text, "Both ends are on this machine: to others, the path may be another.", details)


def _is_turn(url: str) -> bool:
    return url.startswith(("turn:", "turns:"))


def _reason(error: PeerPouchError | TimeoutError) -> str:
    return error.reason if isinstance(error, PeerPouchError) else f"it did not answer within {PATIENCE:g} seconds."


def _advice_for_hub(error: PeerPouchError | TimeoutError) -> str:
    if isinstance(error, Unauthorized):
        return "Give the hub's name and password: https://name:password@…"
    if isinstance(error, DatabaseNotFound):
        return "Check its name; a hub that is a file is made by the first who shares something there."
    if isinstance(error, HubUnreachable):
        return "The hub is a share: its owner must be there."
    return "Check the address, this machine's network, and whether the hub runs."


_KINDS: Final = {"host": "this machine's own", "srflx": "as the internet sees it", "relay": "a relay's"}
_ALONE: Final = "This machine has no network: only its own programs connect."
_TURN: Final = "Use a TURN server, which relays what can't go directly: see “Connect through any network”."
_FETCH: Final = "Correct the function that fetches them; meanwhile no server is used."
_NO_SERVERS: Final = "In one network that is enough. Through routers, give a STUN server: PEERPOUCH_ICE_SERVERS."
_DEAD_STUN: Final = "Check its name, and that UDP goes out; or use another one: PEERPOUCH_ICE_SERVERS."
_WRONG_SERVERS: Final = "Correct the ICE servers."
_DEAD_TURN: Final = "Check its address, and that it runs and can be reached over UDP; a firewall may be in between."
_NOT_LET_IN: Final = "Check the name and password for it; short-lived ones may have run out."
_NO_RELAY: Final = "With relays only, a TURN server that works is needed: see the servers above."
_READ_ONLY_HUB: Final = "Ask the hub's operator for the right to write; reading and opening shares need it, too."
_DEAD_FEED: Final = "A proxy in front of the hub may hold responses back: turn its buffering off."
_NO_PATH: Final = "Look at the candidates above. A firewall on this machine may block UDP."
