"""Databases behind URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from peerpouch.exchange import Exchange
from peerpouch.identity.proofs import HubSession
from peerpouch.node.proving import ProvingExchange
from peerpouch.ports import Clock, SystemClock
from peerpouch.remote import RemoteDatabase
from peerpouch.transports.network import NetworkExchange

REQUEST_TIMEOUT: Final = 120.0
"""Seconds for each step of a request: a CouchDB that compacts, or builds a view, is silent for long."""


async def open_url(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    session: HubSession | None = None,
    clock: Clock | None = None,
    secret: Callable[[], bytes] | None = None,
) -> RemoteDatabase:
    """A database behind an ``http(s)`` URL; a user name and password in it are sent as basic authentication.

    Nothing is sent before the first request.

    Args:
        headers: Sent with every request, to this server only.
        session: What is proved to the database if it is a public hub.
        secret: See :class:`~peerpouch.remote.RemoteDatabase`.
    """
    exchange: Exchange = NetworkExchange(url, headers=headers)
    if session is not None:
        exchange = ProvingExchange(exchange, urlsplit(url).path, session, clock or SystemClock())
    limit = REQUEST_TIMEOUT if timeout is None else timeout
    return RemoteDatabase(exchange, url, timeout=limit, on_close=exchange.aclose, secret=secret)
