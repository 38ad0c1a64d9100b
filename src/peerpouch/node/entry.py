"""``open``: by what a target is, it loads what opens it. A file needs nothing of what connects to others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from peerpouch.node import databases, targets
from peerpouch.node.opening import Opening
from peerpouch.ports import Database

if TYPE_CHECKING:
    from peerpouch.identity.contacts import Contacts
    from peerpouch.identity.invites import Invite
    from peerpouch.node.ice import IceServersLike
    from peerpouch.node.meeting import AnyIdentity


def open(
    target: str | os.PathLike[str] | Invite,
    *,
    info: Any = None,
    identity: AnyIdentity = None,
    contacts: Contacts | None = None,
    confirm: bool = False,
    timeout: float | None = None,
    request_timeout: float | None = None,
    headers: Mapping[str, str] | None = None,
    ice_servers: IceServersLike = None,
    ice_transport_policy: Literal["all", "relay"] = "all",
    compression: Literal["auto", "on", "off"] = "auto",
    create: bool = True,
    durability: Literal["full", "normal"] = "full",
    auto_compaction: bool = False,
    max_document_size: int = databases.MAX_DOCUMENT_SIZE,
    validate: bool = False,
) -> Opening[Database]:
    """Open a database. Await it, or use it in ``async with``, which closes it too.

    Args:
        target: A path (``":memory:"`` for a database that ends with the process), the URL of a database of a CouchDB or
            of ``peerpouch serve``, the ``dbname`` of a share, or an invite.
        info: For a share: any JSON for its owner.
        contacts: For a share: the user's names for others' keys; by default those in the user's data folder.
        confirm: For a share: open it also if its name was first opened under another key, and remember this key.
        identity: For a share: in whose name; by default the user's own.
        timeout: Seconds. For a share: to connect, now and after a loss. For a URL: for each step of a request.
        request_timeout: Seconds. For a share: for each step of an answer, once it is connected.
        headers: For a URL: sent with every request to that server, and to no other: a bearer token as
            ``{"Authorization": "Bearer …"}``, or what a proxy wants. A user name and password go into the URL.
        ice_servers, ice_transport_policy, compression: For a share: as for :class:`Hub`.
        create: For a path: make the file when there is none.
        durability: For a path. ``"full"``: what was acknowledged survives a power cut; ``"normal"``: a killed process.
        auto_compaction: For a path: drop the body of a revision as soon as it is no leaf any more.
        max_document_size: For a path: the most bytes of a document's JSON, without its attachments.
        validate: For a path: let ``validate_doc_update`` of its design documents judge what is written through this
            object, by replication and through shares too. It needs the extra ``js``.

    A share is opened by way of a :class:`Hub` object of the same hub, if one is open in this event loop, and is closed
    with it at the latest. Without one, ``open`` makes a session of its own at the hub; a hub that needs a name and
    password, which no ``dbname`` contains, can only be used through a ``Hub`` object.

    Raises:
        IdentityChanged: the share's key is not the one of the invite, or its name was first opened under another key.
        DatabaseNotFound, NotADatabase, SchemaTooNew, StorageError: for a path.
        ConnectionFailed, Unauthorized, Forbidden, DatabaseNotFound: for a URL.
        HubUnreachable, ShareNotFound, Forbidden, PeerUnreachable, InvalidSignal, ClockSkew: for a share.
        BadRequest: the target is none of these.
    """
    file = partial(
        databases.open_file,
        create=create,
        durability=durability,
        auto_compaction=auto_compaction,
        max_document_size=max_document_size,
        validate=validate,
    )
    if targets.is_path(target) and headers is None and ice_servers is None:
        return Opening(lambda: file(targets.parse(target).address))
    # Two thirds of the time that a command takes which opens a file.
    from peerpouch.node import hubs

    asked = hubs.Asked(
        info=info,
        identity=identity,
        contacts=contacts,
        confirm=confirm,
        timeout=timeout,
        request_timeout=request_timeout,
        network=hubs.network(ice_servers, ice_transport_policy, compression),
    )
    return Opening(partial(hubs.open_target, target, visit=asked, headers=headers, file=file))
