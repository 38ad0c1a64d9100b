"""STUN and TURN servers as users give them, and the default."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidJSON
from peerpouch.transports.webrtc.engine import IceServer, IceServers

DEFAULT: Final = "stun:stun.l.google.com:19302"
"""Asked for this machine's address as the internet sees it, when a connection is made through a NAT. It learns that
address and the time, and nothing of peers, shares or data. ``ice_servers=[]`` turns it off."""

VARIABLE: Final = "PEERPOUCH_ICE_SERVERS"
"""An environment variable in place of the default: URLs, separated by spaces; a JSON array of W3C's mappings, for
servers with a name and password; or ``none`` for none."""

IceServerLike = IceServer | str | Mapping[str, Any]
"""An :class:`IceServer`, a URL such as ``stun:host:port``, or a mapping with W3C's ``urls, username, credential``."""

IceServersLike = Sequence[IceServerLike] | Callable[[], Awaitable[Sequence[IceServerLike]]] | None
"""Servers, or an asynchronous function that fetches them anew for each connection; ``None`` for the default."""


def parse(servers: IceServersLike) -> IceServers:
    """Servers in the form that the transport takes.

    Raises:
        BadRequest: something is none of the forms of :data:`IceServerLike`.
    """
    if callable(servers):
        fetch = servers

        async def fetched() -> Sequence[IceServer]:
            return [_parse_one(server) for server in await fetch()]

        return fetched
    if servers is None:
        servers = _given(os.environ.get(VARIABLE, DEFAULT))
    if isinstance(servers, str):
        raise BadRequest("ice_servers is a list of servers, not a string.")
    return [_parse_one(server) for server in servers]


def check_policy(servers: IceServers, policy: str) -> None:
    """Say at once that nobody can be reached.

    Raises:
        BadRequest: only relays are to be used, and there is none among the servers.
    """
    if policy == "relay" and not callable(servers) and not any(_relays(server) for server in servers):
        raise BadRequest(
            "Only TURN servers are to be used, and none is given: name one in ice_servers, or in "
            f"{VARIABLE}; see “Connect through any network”."
        )


def _relays(server: IceServer) -> bool:
    return any(url.startswith(("turn:", "turns:")) for url in server.urls)


def _given(text: str) -> Sequence[IceServerLike]:
    if not text.lstrip().startswith("["):
        urls = text.split()
        return [] if urls == ["none"] else urls
    try:
        servers = jsonio.loads(text)
    except InvalidJSON:
        servers = None
    if not isinstance(servers, list) or not all(isinstance(server, (str, dict)) for server in servers):
        raise BadRequest(f"{VARIABLE} is not a JSON array of ICE servers.")
    return servers


def _parse_one(server: IceServerLike) -> IceServer:
    if isinstance(server, IceServer):
        return server
    fields: Any = {"urls": server} if isinstance(server, str) else server
    urls = fields.get("urls") if isinstance(fields, Mapping) else None
    listed = (urls,) if isinstance(urls, str) else tuple(urls) if isinstance(urls, Sequence) else ()
    if not listed or not all(isinstance(url, str) and url.partition(":")[0] in _SCHEMES for url in listed):
        raise BadRequest("An ICE server has urls that begin with stun:, stuns:, turn: or turns:.")
    if any("@" in url for url in listed):  # which no such URL has, and would show wherever the URL is
        raise BadRequest("The name and password of a TURN server go beside its URL, as username and credential.")
    return IceServer(listed, fields.get("username"), fields.get("credential"))


_SCHEMES: Final = ("stun", "stuns", "turn", "turns")
