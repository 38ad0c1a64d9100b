"""The pages and modules for browsers, as plain files under ``/_peerpouch/``.

They are the same for everybody and hold no secrets, so they are served before anybody is asked who they are. What is
served is a table made at the start: a path that is not in it does not exist, whatever it looks like.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peerpouch.couchapi.front import App
from peerpouch.couchapi.requests import Receive, Scope, Send
from peerpouch.couchapi.responses import Header

PREFIX: Final = "/_peerpouch/"

START: Final = "dashboard/"
"""Where ``/_peerpouch/`` leads."""

TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
"""The kinds of files that are served; others are left alone."""

_COMPRESSED: Final = (".html", ".js", ".css", ".json", ".svg", ".txt")

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    # A hub may be anywhere, and an invite names it.
    "connect-src *; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_GUARDS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_REVALIDATED: Final = b"no-cache"
_IMMUTABLE: Final = b"public, max-age=31536000, immutable"
"""For files whose name has their version."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was read. Those of the plugin are half a megabyte together, so they are kept."""

    stamp: tuple[int, int]
    data: bytes
    zipped: bytes | None
    etag: bytes


class Pages:
    """ASGI middleware that answers what begins with ``/_peerpouch/`` and is one of its files; the rest goes on.

    Args:
        app: What is behind it.
        folders: Folders by the path below the prefix under which their files are found; ``""`` for the prefix itself.
    """

    def __init__(self, app: App, folders: Mapping[str, Path]) -> None:
        self._app = app
        self._paths: dict[str, Path] = {}
        for below, folder in folders.items():
            for path in sorted(folder.rglob("*")):
                if path.suffix in TYPES and path.is_file() and not path.is_symlink():
                    self._paths[PREFIX + below + path.relative_to(folder).as_posix()] = path
        self._files: dict[str, _File] = {}

    @property
    def paths(self) -> Iterable[str]:
        """The paths of all files."""
        return self._paths.keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.startswith(PREFIX[:-1]) or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        found = path + "index.html" if path.endswith("/") else path
        if path in (PREFIX, PREFIX[:-1]) and PREFIX + START + "index.html" in self._paths:
            # Relative, so that it is right behind a proxy that serves this below a path of its own.
            await _send(send, 302, [(b"location", (START if path == PREFIX else PREFIX[1:] + START).encode())])
        elif found in self._paths:
            await self._respond(found, scope, send)
        elif path + "/index.html" in self._paths:
            await _send(send, 301, [(b"location", (path.rpartition("/")[2] + "/").encode())])
        else:
            await self._app(scope, receive, send)

    async def _respond(self, name: str, scope: Scope, send: Send) -> None:
        path = self._paths[name]
        try:
            file = await asyncio.to_thread(self._read, name, path)
        except OSError:  # it is being replaced by an upgrade
            await _send(send, 503, [(b"retry-after", b"1")])
            return
        headers = dict(scope["headers"])
        versioned = name.startswith(PREFIX + "vendor/")
        zipped = file.zipped if _takes_gzip(headers.get(b"accept-encoding", b"")) else None
        etag = b'"' + file.etag + (b"-gzip" if zipped is not None else b"") + b'"'
        answer = [
            (b"content-type", TYPES[path.suffix].encode()),
            (b"etag", etag),
            (b"cache-control", _IMMUTABLE if versioned else _REVALIDATED),
            (b"vary", b"accept-encoding"),
            *_GUARDS,
        ]
        known = [tag.strip().removeprefix(b"W/") for tag in headers.get(b"if-none-match", b"").split(b",")]
        if etag in known or b"*" in known:
            await _send(send, 304, answer)
            return
        body = file.data if zipped is None else zipped
        if zipped is not None:
            answer.append((b"content-encoding", b"gzip"))
        answer.append((b"content-length", b"%d" % len(body)))
        await _send(send, 200, answer, b"" if scope["method"] == "HEAD" else body)

    def _read(self, name: str, path: Path) -> _File:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        file = self._files.get(name)
        if file is None or file.stamp != stamp:
            data = path.read_bytes()
            zipped = gzip.compress(data, mtime=0) if path.suffix in _COMPRESSED and len(data) > 1024 else None
            etag = hashlib.sha256(data).hexdigest()[:32].encode()
            file = self._files[name] = _File(stamp, data, zipped, etag)
        return file


def _takes_gzip(accepted: bytes) -> bool:
    for item in accepted.split(b","):
        name, _, weight = item.partition(b";")
        if name.strip().lower() == b"gzip":
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def _send(send: Send, status: int, headers: list[Header], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
