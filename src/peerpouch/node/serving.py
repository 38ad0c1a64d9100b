"""``Server``: a folder of databases behind CouchDB's HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from peerpouch.couchapi import passwords
from peerpouch.couchapi.app import CouchApp, create_app
from peerpouch.couchapi.authentication import Authentication
from peerpouch.couchapi.configuration import ConfigurationRoutes
from peerpouch.couchapi.front import CORS, AccessLog, LoopbackOnly, is_loopback
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.pages import Pages
from peerpouch.couchapi.replications import ReplicationRoutes, require_admin
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, json_response
from peerpouch.couchapi.routing import Access, Route
from peerpouch.couchapi.staging import Uploads
from peerpouch.errors import BadRequest, DatabaseClosed, NotSupported, PeerPouchError
from peerpouch.hub.public.service import PublicHub
from peerpouch.identity.proofs import hub_key
from peerpouch.node.accounts import FolderAccounts
from peerpouch.node.folder import SYSTEM, FolderRegistry
from peerpouch.node.meeting import AnyIdentity
from peerpouch.node.pages import folders
from peerpouch.node.publichub import HubDoor
from peerpouch.node.settings import Settings
from peerpouch.node.standing import ShareOptions, StandingShare
from peerpouch.node.unattended import Unattended
from peerpouch.ports import SystemClock

try:
    import uvicorn

    from peerpouch.node.punctual import PunctualProtocol
except ImportError:
    raise NotSupported("A server needs the package uvicorn: install peerpouch[server].") from None

DEFAULT_PORT: Final = 5984
"""CouchDB's."""

STOP_WITHIN: Final = 10.0
"""Seconds that requests under way have to end by themselves when the server stops."""

_BACKLOG: Final = 2048
"""Connections that wait to be accepted: a thousand clients that come back at once after a restart."""

# It tells of its start and its end, which is said elsewhere.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


class _HTTPServer(uvicorn.Server):
    """Leaves signals to whoever runs the event loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A folder of databases behind CouchDB's HTTP API. Use it in ``async with``; it serves until that is left.

    Args:
        folder: The databases' files; made if it is not there.
        host: The address to listen at. Without an administrator only loopback addresses are allowed.
        port: ``0`` for any free one.
        admins: Names and passwords of administrators to set. They are remembered in the folder, as hashes; ``None``
            stands for the password that is remembered.
        cors: Origins whose web pages may use the server.
        tls_cert, tls_key: Files, for HTTPS.
        forwarded_from: Addresses of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
        identity: In whose name databases are shared, and shares are opened; by default the user's own.
        shares: What to share, for as long as the server runs.
        hub: The name of a database that is made a public hub: strangers may find and announce shares in it and leave
            signals, and nothing else. It is made if it is not there.

    Raises:
        BadRequest: there is no administrator and ``host`` is not a loopback address, or the address can't be used.
        StorageError: the folder can't be used.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        admins: Mapping[str, str | None] | None = None,
        cors: Sequence[str] = (),
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        forwarded_from: Sequence[str] = (),
        identity: AnyIdentity = None,
        shares: Sequence[ShareOptions] = (),
        hub: str | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._host = host
        self._port = port
        self._admins = dict(admins or {})
        self._cors = tuple(cors)
        self._tls = (tls_cert, tls_key)
        self._forwarded_from = tuple(forwarded_from)
        self._identity = identity
        self._shares = tuple(shares)
        self._hub = hub
        self._public: PublicHub | None = None
        self._standing: list[StandingShare] = []
        self._stack: AsyncExitStack | None = None
        self._clock = SystemClock()
        self._began = self._clock.monotonic()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._settings = await asyncio.to_thread(Settings.load, self.folder)
            for name, password in self._admins.items():
                await asyncio.to_thread(self._set_admin, name, password)
            if not self._settings.admins and not is_loopback(self._host):
                raise BadRequest(
                    f"Without an administrator everybody may do everything, so {self._host} is not listened at: "
                    "set an administrator with --admin, or listen at 127.0.0.1."
                )
            self.registry = await stack.enter_async_context(FolderRegistry(self.folder, self._settings, hub=self._hub))
            if self._hub is not None:
                await self._open_hub(stack, self._hub)
            self._uploads = Uploads(folder=self.registry.uploads_folder)
            stack.push_async_callback(self._uploads.close)
            await self._uploads.restore(await asyncio.to_thread(self.registry.uploads_folders))
            self._unattended = Unattended(self.registry, self._identity, self._clock)
            await stack.enter_async_context(self._unattended)
            listener = self._listen()
            stack.callback(listener.close)
            self._http = _HTTPServer(self._config())
            self._task = asyncio.create_task(self._http.serve(sockets=[listener]), name="peerpouch HTTP server")
            stack.push_async_callback(self._stop)
            self.port: int = listener.getsockname()[1]
            for options in self._shares:
                share = StandingShare(options, self.registry, self._identity, self._clock)
                self._standing.append(await stack.enter_async_context(share))
            self._stack = stack.pop_all()
        return self

    async def _open_hub(self, stack: AsyncExitStack, name: str) -> None:
        if name in SYSTEM:
            raise BadRequest(f"{name} has another purpose, and can't be a hub.")
        database = await stack.enter_async_context(self.registry.hold(name, create=True))
        self._public = await stack.enter_async_context(PublicHub(database, self._clock, name=name))
        self.registry.serve_hub(self._public.visit)

    def _set_admin(self, name: str, password: str | None) -> None:
        known = self._settings.admins.get(name)
        if password is None:
            if known is None:
                raise BadRequest(f"The administrator {name} has no password yet.")
        elif not name or ":" in name or name.startswith("_"):
            raise BadRequest(f"{name!r} is no name for an administrator.")
        elif not password:
            raise BadRequest("An administrator needs a password.")
        elif known is None or not passwords.verify(password, known):  # a new record would end all sessions
            self._settings.set_admin(name, passwords.make_record(password))

    def _listen(self) -> socket.socket:
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise BadRequest(f"{self._host}:{self._port} can't be listened at: {error.strerror or error}.") from None
        # Inherited by the connections. Without it a response waits 40 ms for the client's delayed acknowledgement of
        # its head; asyncio itself sets it only for sockets that say which protocol they are of.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        return listener

    def _config(self) -> uvicorn.Config:
        cert, key = self._tls
        config = uvicorn.Config(
            self._application(),
            http=PunctualProtocol,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self._forwarded_from),
            forwarded_allow_ips=list(self._forwarded_from),
            timeout_graceful_shutdown=int(STOP_WITHIN),
            ssl_certfile=cert,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise BadRequest(f"The certificate {cert} and key {key} can't be used: {error}") from None
        return config

    def _application(self) -> Any:
        accounts = FolderAccounts(self._settings, self.registry)

        async def inner(scope: Any, receive: Any, send: Any) -> None:
            await door(scope, receive, send)

        authentication = Authentication(inner, accounts, self._settings.secret, self._clock)
        routes = (
            *authentication.routes,
            *ReplicationRoutes(self._unattended).routes,
            *ConfigurationRoutes(self._settings, passwords.make_record).routes,
            Route("GET", "/_peerpouch/status", self._status, Access.ADMIN),
        )
        app: CouchApp = create_app(self.registry, limits=Limits(uploads=self._uploads), extra_routes=routes)
        door: Any = app
        if self._hub is not None and self._public is not None:
            key = hub_key(self._settings.secret, self._hub)
            door = HubDoor(app, self._public, self._hub, key, self._clock, app.limits)
        front: Any = LoopbackOnly(Pages(authentication, folders()), lambda: not accounts.has_admins)
        if self._cors:
            front = CORS(front, self._cors)
        return AccessLog(front)

    async def _status(self, request: Request) -> Response:
        require_admin(request)
        return json_response(
            {
                "version": metadata.version("peerpouch"),
                "uuid": self._settings.uuid,
                "uptime": round(self._clock.monotonic() - self._began),
                "databases": {"known": len(await self.registry.all_names()), "open": self.registry.open_count},
                "shares": [await share.status() for share in self._standing],
                "replications": self._unattended.scheduler_jobs(),
                "hub": None if self._public is None else self._public.status(),
            }
        )

    async def _stop(self) -> None:
        self._http.should_exit = True
        while not self._task.done():
            # Again and again, as a feed may begin until the listener is closed.
            self.registry.end_feeds()
            await asyncio.wait({self._task}, timeout=0.1)

    @property
    def url(self) -> str:
        """Where it listens, with a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls[0] else 'http'}://{host}:{self.port}/"

    @property
    def hub_url(self) -> str | None:
        """The address of the public hub, if there is one."""
        return None if self._hub is None else self.url + quote(self._hub, safe="")

    @property
    def admin_party(self) -> bool:
        """Whether there is no administrator, so that everybody is one."""
        return not self._settings.admins

    async def wait(self) -> None:
        """Wait until the server ends by itself, which it does with an error only."""
        await asyncio.wait({self._task})
        error = None if self._task.cancelled() else self._task.exception()
        if isinstance(error, PeerPouchError):
            raise error
        if error is not None:
            raise PeerPouchError(f"The server ended: {error}") from error
        raise DatabaseClosed("The server was closed.")

    async def close(self) -> None:
        """Stop listening, end the feeds, finish the requests under way, and close the databases."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
