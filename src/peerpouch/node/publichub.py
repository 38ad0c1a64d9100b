"""A public hub, as part of a server: who a stranger is, and what its request proves.

:class:`HubDoor` stands behind the authentication. Whoever is no administrator and asks for the hub's database becomes a
:class:`~peerpouch.ports.Visitor` there, and the registry hands back the hub's visit for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.requests import Message, Receive, Scope, Send, split_path
from peerpouch.couchapi.responses import error_response, header
from peerpouch.errors import PeerPouchError
from peerpouch.hub.public.service import PublicHub
from peerpouch.identity import proofs
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Clock, User, Visitor

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LISTING = frozenset(("_all_docs", "_changes"))


class HubDoor:
    """ASGI middleware.

    Args:
        app: The application behind it.
        hub: The public hub.
        name: Its database.
        key: By which visitors prove what is theirs.
        clock: For the proofs' times.
        limits: The application's; what a visitor may send is less.
    """

    def __init__(self, app: App, hub: PublicHub, name: str, key: SessionKey, clock: Clock, limits: Limits) -> None:
        self._app = app
        self._hub = hub
        self._name = name
        self._key = key
        self._clock = clock
        self._limits = replace(limits, json_body=hub.limits.body, uploads=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_admin(scope):
            await self._app(scope, receive, send)
            return
        try:
            segments = split_path(scope)
        except PeerPouchError:
            segments = []  # the application says what is wrong with it
        if not segments or segments[0] != self._name:
            await self._app(scope, receive, send)
            return
        send = self._announcing(send)
        try:
            scope["peerpouch.principal"] = self._visitor(scope, segments)
        except PeerPouchError as error:
            refusal = error_response(error)
            await send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers})
            await send({"type": "http.response.body", "body": refusal.body})
            return
        scope["peerpouch.limits"] = self._limits
        await self._app(scope, receive, send)

    def _visitor(self, scope: Scope, segments: list[str]) -> Visitor:
        address = str((scope.get("client") or ("",))[0])
        self._hub.admit(address, listing=len(segments) > 1 and segments[1] in _LISTING)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        session, reply = (headers.get(name.encode()) for name in (proofs.SESSION_HEADER, proofs.REPLY_HEADER))
        return Visitor(
            address,
            None if session is None else proofs.check_session(session.decode("latin-1"), self._key, self._clock.now()),
            None if reply is None else proofs.check_reply(reply.decode("latin-1")),
        )

    def _announcing(self, send: Send) -> Send:
        async def announce(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = header(proofs.HUB_HEADER, proofs.announce(self._key, round(1000 * self._clock.now())))
                message = {**message, "headers": [*message["headers"], told]}
            await send(message)

        return announce


def _is_admin(scope: Any) -> bool:
    """Somebody who logged in as an administrator. In an admin party nobody did: there, too, a hub is used as a hub."""
    principal = scope.get("peerpouch.principal")
    return scope.get("peerpouch.authenticated") is not None and isinstance(principal, User) and principal.is_admin
