"""A folder of database files, as a server's registry.

Rules that hold here:

1. A file is opened when it is first asked for, and closed when nothing has used it for a while. What uses it is known
   by the gates that were handed out: a gate lives as long as the request, feed or download that it was made for.
2. At most :data:`MAX_OPEN` files are open; when all are in use, who asks for another is told to come back.
3. A database's file is opened, closed, made and deleted under the lock of its entry; an entry that is not the
   registry's any more is not used.
4. A database is not visible before its ``_security`` is written.
"""

from __future__ import annotations

import asyncio
import os
import re
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from peerpouch.access.users import UserGate, UsersGate
from peerpouch.core import security
from peerpouch.core.security import ADMIN_ROLE, UserAccess
from peerpouch.couchapi import passwords
from peerpouch.errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseExists,
    DatabaseNotFound,
    Forbidden,
    InvalidDatabaseName,
    StorageError,
    Unauthorized,
)
from peerpouch.hub.public.visit import Visit
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.node.settings import Settings
from peerpouch.ports import Clock, Database, Owner, Principal, Registry, SystemClock, User, Visitor
from peerpouch.query.indexer import Progress
from peerpouch.storage.maintenance import uploads_folder

MAX_OPEN: Final = 64
"""Files open at once: with five connections of three descriptors each, what a process may open by default holds them
beside as many clients."""

IDLE_AFTER: Final = 60.0
"""Seconds after which a file that nothing uses is closed: opening it again costs milliseconds."""

_SWEEP_EVERY: Final = 15.0

USERS: Final = "_users"
REPLICATOR: Final = "_replicator"
SYSTEM: Final = frozenset((USERS, REPLICATOR, "_global_changes"))

_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+/-]*")
_SUFFIX: Final = ".db"
_LONGEST: Final = 240
"""Bytes of a file's name: what every file system takes, with room for SQLite's own suffixes."""


def file_name(name: str) -> str:
    """The file of a database.

    Raises:
        InvalidDatabaseName
    """
    found = quote(name, safe="$()+") + _SUFFIX
    if name not in SYSTEM and not _NAME.fullmatch(name):
        raise InvalidDatabaseName(
            f"Name: '{name}'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, "
            "-, and / are allowed. Must begin with a letter."
        )
    if len(found) > _LONGEST:
        raise InvalidDatabaseName("The name is too long.")
    return found


def database_name(file: str) -> str | None:
    """The database of a file; ``None`` for a file that is none of the registry's."""
    if not file.endswith(_SUFFIX):
        return None
    name = unquote(file.removesuffix(_SUFFIX), errors="replace")
    with suppress(InvalidDatabaseName):
        if file_name(name) == file:
            return name
    return None


@dataclass(eq=False, slots=True)
class _Entry:
    """A database that is open, or being opened, closed, made or deleted."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    database: LocalDatabase | None = None
    gates: weakref.WeakSet[UserGate | Visit] = field(default_factory=weakref.WeakSet)
    holds: int = 0
    used: float = 0.0
    security_changes: int = 0

    @property
    def busy(self) -> bool:
        return self.holds > 0 or len(self.gates) > 0 or self.lock.locked()


class FolderRegistry(Registry):
    """The databases of a folder, for HTTP users. Use it in ``async with``.

    Args:
        folder: Where the files are; made if it is not there.
        settings: The server's identity and administrators.
        clock: For closing what is idle.
        max_open: Files open at once.
        hub: The name of a database that is a public hub, see :meth:`serve_hub`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        clock: Clock | None = None,
        max_open: int = MAX_OPEN,
        hub: str | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = SystemClock() if clock is None else clock
        self._max_open = max_open
        self._entries: dict[str, _Entry] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self._hub_name = hub
        self._visit: Callable[[Visitor], Visit] | None = None

    def serve_hub(self, visit: Callable[[Visitor], Visit]) -> None:
        """From now on, hand visits to those who come to the public hub as visitors."""
        self._visit = visit

    async def __aenter__(self) -> FolderRegistry:
        await asyncio.to_thread(self._clear_up)
        for name in (USERS, REPLICATOR):
            with suppress(DatabaseExists):
                await self._make(name)
        self._sweeper = asyncio.create_task(self._sweep(), name="peerpouch idle databases")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _clear_up(self) -> None:
        """Remove what a process that was killed left of databases that it was making."""
        for entry in os.scandir(self._folder):
            if entry.name.startswith(_MAKING):
                Path(entry.path).unlink(missing_ok=True)

    async def close(self) -> None:
        """End all feeds, finish what is being written, and close the files."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self.end_feeds()
        for name, entry in list(self._entries.items()):
            async with entry.lock:
                await self._shut(name, entry)

    def end_feeds(self) -> None:
        """Let all live feeds come to their end, in order."""
        for entry in list(self._entries.values()):
            for gate in list(entry.gates):
                gate.end_feeds()

    # Registry

    @property
    def uuid(self) -> str:
        return self._settings.uuid

    async def open(self, name: str, principal: Principal) -> Database:
        entry = await self._enter(name)
        try:
            if isinstance(principal, Visitor) and name == self._hub_name and self._visit is not None:
                visit = self._visit(principal)
                entry.gates.add(visit)
                return visit
            while True:
                changes = entry.security_changes
                access = await _access_of(name, _opened(entry), principal)
                if entry.security_changes == changes:
                    break  # else it was changed while we looked
            gate = self._gate(name, entry, principal, access)
            entry.gates.add(gate)
            return gate
        finally:
            self._leave(entry)

    def _gate(self, name: str, entry: _Entry, principal: Principal, access: UserAccess) -> UserGate:
        database = _opened(entry)

        async def changed() -> None:
            await self._security_changed(name, entry)

        if name == USERS:
            return UsersGate(
                database,
                principal,
                access,
                name=name,
                hash_password=hash_password,
                sign_up=access.member,
                on_security=changed,
            )

        return UserGate(database, principal, access, name=name, on_security=changed)

    async def _security_changed(self, name: str, entry: _Entry) -> None:
        """End the feeds and requests of those who may do something else now than when they came."""
        entry.security_changes += 1
        for gate in list(entry.gates):
            if isinstance(gate, UserGate):
                try:
                    same = await _access_of(name, _opened(entry), gate.principal) == gate.access
                except (Unauthorized, Forbidden):
                    same = False
                if not same:
                    gate.revoke("The database's _security was changed; ask again.")

    async def names(self, principal: Principal) -> list[str]:
        security.require_server_admin(_who(principal).roles)
        return await self.all_names()

    async def create(self, name: str, principal: Principal) -> None:
        security.require_server_admin(_who(principal).roles)
        await self._make(name)

    async def delete(self, name: str, principal: Principal) -> None:
        security.require_server_admin(_who(principal).roles)
        if name == self._hub_name:
            raise Forbidden("This database is the public hub of this server.")
        entry = await self._enter(name)
        try:
            async with entry.lock:
                database = entry.database
                if self._entries.get(name) is not entry or database is None:
                    raise DatabaseNotFound
                del self._entries[name]
                for gate in list(entry.gates):
                    gate.end_feeds()
                entry.database = None
                await database.destroy()
        finally:
            self._leave(entry)

    # For the server itself

    def uploads_folder(self, name: str) -> Path:
        """Where to keep what came of uploads to a database."""
        return uploads_folder(self._folder / file_name(name))

    def uploads_folders(self) -> list[Path]:
        """Those that are there. Blocks for the time of reading the folder."""
        return [found for file in self._folder.glob(f"*{_SUFFIX}") if (found := uploads_folder(file)).is_dir()]

    async def all_names(self) -> list[str]:
        """All databases, whoever asks."""
        files = await asyncio.to_thread(os.listdir, self._folder)
        return sorted(name for file in files if (name := database_name(file)) is not None)

    @property
    def open_count(self) -> int:
        """Databases that are open."""
        return sum(entry.database is not None for entry in self._entries.values())

    @property
    def indexing(self) -> list[tuple[str, Progress]]:
        """How far the indexes are that are being brought up to date, each with its database."""
        opened = [(name, entry.database) for name, entry in self._entries.items()]
        return [(name, index) for name, database in opened if database is not None for index in database.indexing]

    async def exists(self, name: str) -> bool:
        """Whether there is a database of this name."""
        return await asyncio.to_thread(self._path(name).exists)

    @asynccontextmanager
    async def hold(self, name: str, *, create: bool = False) -> AsyncIterator[LocalDatabase]:
        """The database itself, which stays open meanwhile.

        Raises:
            DatabaseNotFound, DatabaseBusy
        """
        if create and not await self.exists(name):
            with suppress(DatabaseExists):
                await self._make(name)
        entry = await self._enter(name)
        try:
            yield _opened(entry)
        finally:
            self._leave(entry)

    # Files

    def _path(self, name: str) -> Path:
        return self._folder / file_name(name)

    async def _enter(self, name: str) -> _Entry:
        """The entry of an open database, held until :meth:`_leave`."""
        while True:
            if self._closed:
                raise DatabaseClosed("The server is going down.")
            entry = self._entries.get(name)
            if entry is not None and entry.database is not None and not entry.lock.locked():
                entry.holds += 1
                return entry
            if entry is None:
                entry = self._entries[name] = _Entry()
            async with entry.lock:
                if self._entries.get(name) is not entry:
                    continue
                if entry.database is None:
                    try:
                        entry.database = await self._open_file(name)
                    except BaseException:
                        del self._entries[name]
                        raise
                entry.holds += 1
                return entry

    def _leave(self, entry: _Entry) -> None:
        entry.holds -= 1
        entry.used = self._clock.monotonic()

    async def _open_file(self, name: str) -> LocalDatabase:
        try:
            path = self._path(name)
        except InvalidDatabaseName:
            raise DatabaseNotFound from None
        if not await asyncio.to_thread(path.exists):
            raise DatabaseNotFound
        await self._make_room()
        # A hub's documents change every few seconds, and nobody asks for what they were.
        hub = name == self._hub_name
        return await open_file(str(path), create=False, validate=True, name=name, auto_compaction=hub)

    async def _make_room(self) -> None:
        while self.open_count >= self._max_open:
            idle = [
                (entry.used, name)
                for name, entry in self._entries.items()
                if entry.database is not None and not entry.busy
            ]
            if not idle:
                raise DatabaseBusy(f"All {self._max_open} databases that may be open at once are in use; try later.")
            await self._retire(min(idle)[1])

    async def _retire(self, name: str) -> None:
        """Close a database that nothing uses."""
        entry = self._entries.get(name)
        if entry is None or entry.busy:
            return
        async with entry.lock:
            await self._shut(name, entry)

    async def _shut(self, name: str, entry: _Entry) -> None:
        if self._entries.get(name) is entry:
            del self._entries[name]
        database, entry.database = entry.database, None
        if database is not None:
            await database.close()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_EVERY)
            before = self._clock.monotonic() - IDLE_AFTER
            for name, entry in list(self._entries.items()):
                if entry.database is not None and not entry.busy and entry.used < before:
                    await self._retire(name)

    async def _make(self, name: str) -> None:
        path = self._path(name)
        while True:
            if self._closed:
                raise DatabaseClosed("The server is going down.")
            entry = self._entries.setdefault(name, _Entry())
            async with entry.lock:
                if self._entries.get(name) is not entry:
                    continue
                if entry.database is not None:
                    raise DatabaseExists
                try:
                    if await asyncio.to_thread(path.exists):
                        raise DatabaseExists
                    await self._write_new(path, private=bool(self._settings.admins) or name in SYSTEM)
                    return
                finally:
                    del self._entries[name]

    async def _write_new(self, path: Path, *, private: bool) -> None:
        making = path.with_name(_MAKING + path.name)
        try:
            async with await open_file(str(making)) as database:
                if private:
                    await database.put_security(security.admins_only())
            await asyncio.to_thread(making.rename, path)
        except OSError as error:
            raise StorageError(f"{path} can't be made: {error.strerror or error}.") from None


_MAKING: Final = ".making-"


def _opened(entry: _Entry) -> LocalDatabase:
    if entry.database is None:
        raise DatabaseNotFound  # deleted meanwhile
    return entry.database


async def _access_of(name: str, database: Database, principal: Principal) -> UserAccess:
    who = _who(principal)
    if ADMIN_ROLE in who.roles:
        return UserAccess(admin=True)
    try:
        return security.access_of(await database.get_security(), who.name or None, who.roles)
    except (Unauthorized, Forbidden):
        if name != USERS:
            raise
        return UserAccess(anonymous=not who.name, member=False)  # the gate knows what of it everybody may see


def _who(principal: Principal) -> User:
    if isinstance(principal, User):
        return principal
    return User("", frozenset((ADMIN_ROLE,) if isinstance(principal, Owner) else ()))


async def hash_password(password: str) -> Mapping[str, Any]:
    """The record of a password, made beside the event loop."""
    return await asyncio.to_thread(passwords.make_record, password)
