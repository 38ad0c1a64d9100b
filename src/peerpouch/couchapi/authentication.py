"""Who asks over HTTP: passwords in the Authorization header, and sessions in a cookie.

:class:`Authentication` stands in front of the application and puts a principal into the scope of every request. What
the principal may do is not decided here: the registry hands back databases that are gated for it.

A request with wrong credentials is refused; one without any is :class:`~peerpouch.ports.Anonymous`. On a server without
an administrator everybody is one (CouchDB's "admin party"); such a server listens on the loopback interface only.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

from peerpouch.core import jsonio
from peerpouch.couchapi import passwords, sessions
from peerpouch.couchapi.requests import Message, Receive, Request, Scope, Send
from peerpouch.couchapi.responses import Header, Response, error_response, header, json_response
from peerpouch.couchapi.routing import Access, Route
from peerpouch.errors import BadRequest, PeerPouchError, Unauthorized, UnsupportedMediaType
from peerpouch.ports import Anonymous, Clock, User

_WRONG = "Name or password is incorrect."

# Verified credentials are remembered, since a replicator sends its password with every request and each check costs
# milliseconds: as many as there may be clients at once, for no longer than a session.
_REMEMBERED = 1000

# Failures are counted per client address and per name. So many are free: a typing error costs nobody anything.
_FREE_FAILURES = 3
# Then each costs twice the wait of the one before, up to this many seconds.
_LONGEST_WAIT = 8.0
# A counter is forgotten after so many seconds without a failure, or when there are more counters than that.
_FORGET_AFTER = 600.0
_COUNTERS = 10_000

# Password checks at once: each keeps a core busy, and the event loop must keep the others.
_CHECKS_AT_ONCE = 2

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a user: the password's record (see :mod:`~peerpouch.couchapi.passwords`) and the roles."""

    record: Mapping[str, Any]
    roles: frozenset[str]


class Accounts(Protocol):
    """Where accounts are looked up: the server's administrators, then ``_users``."""

    @property
    def has_admins(self) -> bool:
        """Whether there is an administrator; without one everybody is."""

    async def lookup(self, name: str) -> Account | None: ...


class Authentication:
    """ASGI middleware.

    Args:
        app: The application behind it.
        accounts: Where accounts are looked up.
        secret: Signs the cookies; sessions survive a restart if it does.
        clock: For the sessions' end, and for the waits after failures.
        timeout: Seconds that a session lasts without a request.
    """

    def __init__(
        self, app: App, accounts: Accounts, secret: bytes, clock: Clock, *, timeout: int = sessions.TIMEOUT
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._secret = secret
        self._clock = clock
        self._timeout = timeout
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._memory_key = secrets.token_bytes(32)
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "peerpouch.principal" in scope:
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            principal, method, renewed = await self._identify(headers, scope)
        except PeerPouchError as error:
            await _refuse(error, send)
            return
        scope["peerpouch.principal"] = principal
        scope["peerpouch.authenticated"] = method
        await self._app(scope, receive, _with_cookie(send, renewed) if renewed else send)

    async def _identify(
        self, headers: Mapping[bytes, bytes], scope: Scope
    ) -> tuple[User | Anonymous, str | None, str | None]:
        """The principal, how it showed itself, and a cookie to send along."""
        authorization = headers.get(b"authorization")
        basic = None if authorization is None else _basic(authorization)
        if basic is not None:
            name, password = basic
            account = await self.check(name, password, _address(scope))
            return User(name, account.roles), "default", None
        cookie = _cookie(headers.get(b"cookie", b""))
        if cookie:
            claim = sessions.parse(cookie)
            if claim is None:
                raise BadRequest("Malformed AuthSession cookie. Please clear your cookies.")
            account_ = await self._accounts.lookup(claim.name)
            now = self._clock.now()
            if account_ is not None and sessions.verify(claim, self._secret, _salt(account_), now, self._timeout):
                renewed = None
                if sessions.wants_renewal(claim, now, self._timeout):
                    renewed = self._issue(claim.name, account_, scope)
                return User(claim.name, account_.roles), "cookie", renewed
        if not self._accounts.has_admins:
            return User("", frozenset({"_admin"})), None, None
        return Anonymous(), None, None

    async def check(self, name: str, password: str, address: str) -> Account:
        """The account, if the password is its own.

        After a few failures from one address, or for one name, the answer is held back, longer each time.

        Raises:
            Unauthorized: it is not, or there is no such account: the answers and their times are the same.
        """
        account = await self._accounts.lookup(name)
        memory = self._memory(name, password, account)
        expires = self._remembered.get(memory)
        now = self._clock.monotonic()
        if account is not None and expires is not None and now < expires:
            return account
        # Many requests at once with the same credentials, as a replicator's first ones are, share one check.
        running = self._running.get(memory)
        if running is None:
            running = asyncio.ensure_future(self._verify(name, password, account, address))
            self._running[memory] = running
            running.add_done_callback(lambda done: self._running.pop(memory, None))
        if not await asyncio.shield(running) or account is None:
            raise Unauthorized(_WRONG)
        self._remembered[memory] = self._clock.monotonic() + self._timeout
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return account

    async def _verify(self, name: str, password: str, account: Account | None, address: str) -> bool:
        keys = (f"address {address}", f"name {name[:200]}")
        now = self._clock.monotonic()
        wait = max(self._wait(key, now) for key in keys)
        # Counted before the check, so that guesses sent all at once wait for each other too.
        for key in keys:
            self._count_failure(key)
        if wait:
            await self._clock.sleep(wait)
        async with self._checks:
            right = await asyncio.to_thread(passwords.verify, password, None if account is None else account.record)
        if right:
            for key in keys:
                self._failures.pop(key, None)
        return right

    def _memory(self, name: str, password: str, account: Account | None) -> bytes:
        # Covers the record, so that a changed password is asked for again; keyed, so that it is no use in a core dump.
        record = {} if account is None else dict(account.record)
        told = jsonio.dumps([name, password, record.get("salt"), record.get("derived_key"), record.get("password_sha")])
        return hmac.digest(self._memory_key, told, hashlib.sha256)

    def _wait(self, key: str, now: float) -> float:
        failures, last = self._failures.get(key, (0, 0.0))
        if failures < _FREE_FAILURES or now - last > _FORGET_AFTER:
            return 0.0
        return float(min(_LONGEST_WAIT, 0.25 * 2.0 ** min(failures - _FREE_FAILURES, 10)))

    def _count_failure(self, key: str) -> None:
        now = self._clock.monotonic()
        failures, last = self._failures.pop(key, (0, now))
        if now - last > _FORGET_AFTER:
            failures = 0
        self._failures[key] = (failures + 1, now)
        while len(self._failures) > _COUNTERS:
            self._failures.popitem(last=False)

    def _issue(self, name: str, account: Account, scope: Scope) -> str:
        value = sessions.issue(self._secret, _salt(account), name, self._clock.now())
        return sessions.header(value, timeout=self._timeout, secure=scope.get("scheme") == "https")

    # ------------------------------------------------------------------------------------------- /_session

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of ``/_session``, to be added to the application's."""
        return (
            Route("GET", "/_session", self.show, Access.SERVER),
            Route("POST", "/_session", self.log_in, Access.SERVER),
            Route("DELETE", "/_session", self.log_out, Access.SERVER),
        )

    async def show(self, request: Request) -> Response:
        """``GET /_session``: who the server takes the client for."""
        principal = request.principal
        info: dict[str, Any] = {"authentication_db": "_users", "authentication_handlers": ["cookie", "default"]}
        if method := request.scope.get("peerpouch.authenticated"):
            info["authenticated"] = method
        name = principal.name or None if isinstance(principal, User) else None
        roles = sorted(principal.roles) if isinstance(principal, User) else []
        return json_response({"ok": True, "userCtx": {"name": name, "roles": roles}, "info": info})

    async def log_in(self, request: Request) -> Response:
        """``POST /_session`` with a name and a password, as JSON or as a form."""
        name, password = await _credentials(request)
        try:
            account = await self.check(name, password, _address(request.scope))
        except Unauthorized as error:
            failing = _own_path(request.params.text("fail"))
            if failing is None:
                raise
            return json_response(error.as_json(), status=302, headers=[_location(request, failing)])
        headers = [header("set-cookie", self._issue(name, account, request.scope))]
        body = {"ok": True, "name": name, "roles": sorted(account.roles)}
        following = _own_path(request.params.text("next"))
        if following is not None:
            return json_response(body, status=302, headers=[*headers, _location(request, following)])
        return json_response(body, headers=headers)

    async def log_out(self, request: Request) -> Response:
        """``DELETE /_session``: the browser forgets the cookie."""
        secure = request.scope.get("scheme") == "https"
        return json_response({"ok": True}, headers=[header("set-cookie", sessions.header("", secure=secure))])


def _own_path(path: str | None) -> str | None:
    """A path of this server: anything else would let a link send a user on to another one."""
    if path is None or not path.startswith("/") or path.startswith(("//", "/\\")):
        return None
    return path


def _location(request: Request, path: str) -> Header:
    return header("location", request.url() + path[1:])


async def _credentials(request: Request) -> tuple[str, str]:
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    fields: Mapping[str, Any]
    if kind == "application/json":
        fields = await request.json_object()
    elif kind == "application/x-www-form-urlencoded":
        fields = dict(parse_qsl((await request.read()).decode("utf-8", "replace"), keep_blank_values=True))
    else:
        raise UnsupportedMediaType("Content-Type must be application/json or application/x-www-form-urlencoded")
    name, password = fields.get("name", fields.get("username")), fields.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise BadRequest("request body must contain a username and a password")
    return name, password


def _basic(value: bytes) -> tuple[str, str] | None:
    """Name and password. As in CouchDB, another scheme is somebody else's business, and ``_:_`` is nobody: a browser
    forgets a password by it."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise BadRequest("Authorization header has invalid base64 value") from None
    if not colon:
        raise BadRequest("Authorization header has no password")
    return None if (name, password) == ("_", "_") else (name, password)


def _cookie(value: bytes) -> str | None:
    for item in value.decode("latin-1").split(";"):
        name, equals, content = item.strip().partition("=")
        if equals and name == sessions.NAME:
            return content.strip('"')
    return None


def _salt(account: Account) -> str:
    return str(account.record.get("salt", ""))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _refuse(error: PeerPouchError, send: Send) -> None:
    headers: list[Header] = []
    response = error_response(error, headers=headers)
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})


def _with_cookie(send: Send, cookie: str) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            if not any(name == b"set-cookie" for name, _ in headers):
                message = {**message, "headers": [*headers, header("set-cookie", cookie)]}
        await send(message)

    return wrapped
