"""What a request of ``_replicate``, or a document of ``_replicator``, asks for.

The fields are those of CouchDB's "Replicator Database" and "/_replicate". An endpoint may also be a database of the
server by its name, and a share by its ``webrtc://…``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest
from peerpouch.ports import ReplicationOptions

_SCHEMES: Final = ("http", "https", "webrtc")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a replication.

    Attributes:
        address: The name of a database of this server, a URL with its credentials, or a share's ``dbname``.
        headers: To be sent with every request.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_url(self) -> bool:
        """Whether it is reached by HTTP."""
        return self.address.startswith(("http://", "https://"))

    @property
    def is_name(self) -> bool:
        """Whether it is a database of this server."""
        return "://" not in self.address

    @property
    def shown(self) -> str:
        """The address without credentials."""
        if not self.is_url:
            return self.address
        parts = urlsplit(self.address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + "/", "", ""))

    def __repr__(self) -> str:
        # Addresses and headers have passwords, and a representation may get into a log.
        return f"<Endpoint {self.shown}>"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A replication that is wanted.

    Attributes:
        id: The same for the same request, as CouchDB's replication ids are.
        cancel: Rather end the job of this id.
    """

    id: str
    source: Endpoint
    target: Endpoint
    options: ReplicationOptions
    create_target: bool = False
    cancel: bool = False

    @property
    def continuous(self) -> bool:
        """Whether it goes on with what changes later."""
        return self.options.live


def parse(fields: Mapping[str, Any]) -> JobRequest:
    """Check a request.

    Raises:
        BadRequest: a field is missing or malformed.
    """
    source, target = _endpoint(fields, "source"), _endpoint(fields, "target")
    continuous, create = _boolean(fields, "continuous"), _boolean(fields, "create_target")
    doc_ids = fields.get("doc_ids")
    if doc_ids is not None and not (isinstance(doc_ids, list) and all(isinstance(item, str) for item in doc_ids)):
        raise BadRequest("`doc_ids` must be an array of strings")
    selector = fields.get("selector")
    if selector is not None and not isinstance(selector, dict):
        raise BadRequest("`selector` must be a JSON object")
    name = fields.get("filter")
    if name is not None and not isinstance(name, str):
        raise BadRequest("`filter` must be a string")
    if sum(choice is not None for choice in (doc_ids, selector, name)) > 1:
        raise BadRequest("`doc_ids`, `filter` and `selector` are mutually exclusive")
    query = fields.get("query_params")
    if query is not None and not isinstance(query, dict):
        raise BadRequest("`query_params` must be a JSON object")
    since = fields.get("since_seq")
    options = ReplicationOptions(
        live=continuous,
        doc_ids=None if doc_ids is None else tuple(map(_doc_id, doc_ids)),
        selector=selector,
        filter=name,
        query=None if query is None else {key: _text(value) for key, value in query.items()},
        since=None if since is None else _text(since),
        checkpoint=_boolean(fields, "use_checkpoints", True),
    )
    told = [source.address, target.address, doc_ids, selector, name, query, since]
    digest = hashlib.sha256(b"peerpouch job 1\0" + jsonio.canonical(told)).hexdigest()[:32]
    suffix = ("+continuous" if continuous else "") + ("+create_target" if create else "")
    return JobRequest(digest + suffix, source, target, options, create, _boolean(fields, "cancel"))


def cancelled_id(fields: Mapping[str, Any]) -> str | None:
    """The id of the job that a request wants to end; ``None`` if it wants something else."""
    given = fields.get("id", fields.get("replication_id", fields.get("_local_id")))
    return given if _boolean(fields, "cancel") and isinstance(given, str) else None


def _doc_id(given: str) -> str:
    """An id as it is in a URL, as CouchDB takes it, too: no document has an id that begins so otherwise."""
    for prefix in ("_design%2F", "_design%2f"):
        if given.startswith(prefix):
            return "_design/" + given.removeprefix(prefix)
    return given


def _text(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.dumps(value).decode()


def _boolean(fields: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"`{name}` must be a boolean")
    return value


def _endpoint(fields: Mapping[str, Any], side: str) -> Endpoint:
    given = fields.get(side)
    headers: dict[str, str] = {}
    address = given
    if isinstance(given, dict):
        address = given.get("url")
        named = given.get("headers", {})
        if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
            raise BadRequest(f"The headers of `{side}` must be a JSON object of strings")
        headers.update({str(name).lower(): value for name, value in named.items()})
        headers.update(_authorization(given.get("auth"), side))
    if not isinstance(address, str) or not address:
        raise BadRequest(f"Missing field `{side}`: a URL, a share or the name of a database")
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme and scheme not in _SCHEMES:
        raise BadRequest(f"`{side}` begins with {scheme}://, which is none of {', '.join(_SCHEMES)}")
    return Endpoint(address, headers)


def _authorization(auth: Any, side: str) -> dict[str, str]:
    if auth is None:
        return {}
    basic = auth.get("basic") if isinstance(auth, dict) else None
    name, password = (basic.get("username"), basic.get("password")) if isinstance(basic, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(password, str):
        raise BadRequest(f"The auth of `{side}` must be an object `basic` with `username` and `password`")
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
