"""The database that an argument names, and arguments that are JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import click

from peerpouch.errors import Conflict, NotFound, NotSupported
from peerpouch.ports import Database

database_argument = click.argument("database", metavar="DATABASE")
"""A file, the URL of a CouchDB database, or the ``webrtc://…`` of a share."""


def opened(target: str, identity: str | None = None, *, create: bool = False) -> AbstractAsyncContextManager[Database]:
    """The database, open within ``async with``.

    Args:
        identity: The key file to open shares as; by default the user's own.
        create: Make a file where there is none.
    """
    import peerpouch

    own = None if identity is None else peerpouch.Identity.load(identity)
    return peerpouch.open(target, identity=own, create=create)


@asynccontextmanager
async def naming(doc_id: str) -> AsyncIterator[None]:
    """CouchDB's reasons ("missing", "deleted", "Document update conflict.") do not say of which document they speak."""
    try:
        yield
    except NotFound as error:
        if type(error) is NotFound and error.reason in ("missing", "deleted"):
            raise NotFound(f"Document {doc_id!r} is {error.reason}.") from None
        raise
    except Conflict as error:
        if error.reason == Conflict.default_reason:
            raise Conflict(f"Document {doc_id!r} has another revision by now, or exists already.") from None
        raise


def local(database: Database, what: str) -> Any:
    """The database, if it is a file of this machine: a :class:`peerpouch.LocalDatabase`.

    Raises:
        NotSupported: it is somewhere else.
    """
    import peerpouch

    if isinstance(database, peerpouch.LocalDatabase):
        return database
    raise NotSupported(f"Only a database in a file can be {what}. Replicate {database.name} into a file first.")


def json_value(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """For options that are JSON."""
    if value is None:
        return None
    try:
        return json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"it is not JSON: {error}", param=parameter) from None
