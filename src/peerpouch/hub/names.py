"""The ``dbname`` of a share: ``webrtc://<share id>?hub=<hub>``, one string that opens it.

The hub's credentials are left out: a ``dbname`` is shown, logged and pasted. Who opens it has them already, or
gets them in an invite.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from peerpouch.errors import BadRequest
from peerpouch.hub.shares import is_share_id

SCHEME: Final = "webrtc"
MAX_LENGTH: Final = 8_192
"""Characters; what web servers take of a URL."""


def format_name(share_id: str, hub: str) -> str:
    """The ``dbname`` of a share in a hub, given the hub's URL or path."""
    return f"{SCHEME}://{share_id}?hub={quote(without_credentials(hub), safe='')}"


def parse_name(name: str) -> tuple[str, str]:
    """The share id and the hub of a ``dbname``.

    Raises:
        BadRequest: if it is not one.
    """
    try:
        parts = urlsplit(name) if len(name) <= MAX_LENGTH else None
        hub = [] if parts is None else parse_qs(parts.query, strict_parsing=True).get("hub", [])
    except ValueError:
        parts, hub = None, []
    if parts is None or parts.scheme != SCHEME or not is_share_id(parts.netloc) or len(hub) != 1 or parts.path:
        raise BadRequest(f"A share's name looks like {SCHEME}://<share id>?hub=<hub>; this does not: {name:.80}")
    return parts.netloc, hub[0]


def without_credentials(hub: str) -> str:
    """A hub's URL without user and password; a path stays as it is."""
    try:
        parts = urlsplit(hub)
    except ValueError:
        return hub
    if "@" not in parts.netloc:
        return hub
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
