"""How long to wait for the candidates of STUN and TURN servers.

An engine that is told of a dead server waits for it for up to 40 seconds, and a living one far away may need more than
one: a TURN server is asked twice, over TCP three times. No engine tells which of them it is waiting for. So the servers
are asked here too, beside the engine: who has not answered within :attr:`RTCOptions.gathering` is not waited for, and
for the candidates of who has, there is :attr:`RTCOptions.patience`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

from peerpouch.errors import PeerUnreachable

from .engine import IceServer
from .stun import Mapped, Refused, ask, endpoint

HEAD_START: Final = 0.25
"""Seconds that the engine has before servers are asked: on most networks it is done by then, and no more is sent."""

Kind = Literal["srflx", "relay"]


async def living(servers: Sequence[IceServer], *, limit: float) -> dict[str, Kind | None]:
    """Ask servers whether they are there.

    Args:
        limit: Seconds for all of it.

    Returns:
        For each URL whose server answered, the kind of candidate that is to be expected of it; ``None``: none, as the
        server sees this machine under the address that it has.
    """
    asking = {asyncio.ensure_future(_ask(url, limit)): url for server in servers for url in server.urls}
    if not asking:
        return {}
    try:
        done, _ = await asyncio.wait(asking, timeout=limit)
        answers = {asking[task]: task.result() for task in done if not task.exception()}
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return {url: answer for url, answer in answers.items() if answer != "dead"}


async def _ask(url: str, limit: float) -> Kind | Literal["dead"] | None:
    relays = url.startswith("turn")
    try:
        host, port = endpoint(url)
    except PeerUnreachable:
        return "dead"
    if url.startswith(("turns:", "stuns:")) or url.endswith("transport=tcp"):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return "dead"
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return "relay" if relays else None
    (answer,) = await ask([(host, port)], limit=limit)
    if isinstance(answer, str):
        return "relay" if relays and isinstance(answer, Refused) else "dead"
    return "relay" if relays else _seen(answer)


def _seen(answer: Mapped) -> Kind | None:
    return None if answer.mapped[0] == answer.local[0] else "srflx"


def outstanding(
    expected: Mapping[str, Kind | None], found: Iterable[tuple[str, str | None]], complaints: Iterable[str]
) -> set[str]:
    """The URLs of which a candidate is still to come.

    Args:
        found: Kind and URL of each candidate that there is; engines may leave the URL out.
        complaints: URLs of servers that failed, in the engine's words.
    """
    found = list(found)
    reflexive = any(kind == "srflx" for kind, _ in found)  # the same address is not found twice, by several servers
    relays = {None if url is None else _place(url) for kind, url in found if kind == "relay"}
    failed = {_place(url) for url in complaints}
    return {
        url
        for url, kind in expected.items()
        if _place(url) not in failed
        and ((kind == "srflx" and not reflexive) or (kind == "relay" and not relays & {_place(url), None}))
    }


def _place(url: str) -> tuple[str, int] | str:
    try:
        return endpoint(url)
    except PeerUnreachable:
        return url
