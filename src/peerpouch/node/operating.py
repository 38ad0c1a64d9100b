"""What the operator of a hub does: prepare it, and tidy it up."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from peerpouch.errors import BadRequest, Forbidden, NotFound, NotSupported
from peerpouch.hub import shares
from peerpouch.hub.collector import Collected, collect_garbage
from peerpouch.identity.encoding import to_base32
from peerpouch.node import databases, targets, urls
from peerpouch.node.targets import Kind
from peerpouch.ports import Clock, Database, Document, SystemClock

DESIGN_ID = "_design/peerpouch_hub"

# Shapes and sizes only: what is in a document, its readers verify. The numbers are those of docs/protocol/trust.md,
# with room for base64 and for what later versions add.
VALIDATION = """\
function (doc, old, user) {
  function refuse(reason) { throw({forbidden: reason}); }
  function text(name, most) {
    if (typeof doc[name] !== 'string' || doc[name].length > most) { refuse(name + ' is missing or too long'); }
  }
  if (user.roles.indexOf('_admin') !== -1) { return; }
  var share = /^share:[0-9a-z]{26}$/.test(doc._id);
  var signal = /^signal:[0-9a-z]{26}:[0-9a-z]{26}$/.test(doc._id);
  if (!share && !signal) { refuse('this database is a hub: it takes shares and signals only'); }
  if (doc._deleted) { return; }
  if (doc._attachments) { refuse('a hub takes no attachments'); }
  if (doc.version !== 1) { refuse('unknown version'); }
  if (share) {
    if (doc.type !== 'peerpouch share') { refuse('unknown type'); }
    text('share', 26); text('key', 43); text('session', 26); text('session_key', 43); text('database', 43);
    text('signature', 86); text('name', 400);
    if (JSON.stringify(doc).length > 32768) { refuse('too large'); }
  } else {
    if (doc.type !== 'peerpouch signal') { refuse('unknown type'); }
    text('reply_to', 26); text('offer', 100000);
    if (doc.answer !== undefined) { text('answer', 100000); }
    if (JSON.stringify(doc).length > 220000) { refuse('too large'); }
  }
}
"""


async def prepare_hub(target: str) -> bool:
    """Make a database a hub: one that is not there is made, and a CouchDB takes nothing but shares and signals then.

    Args:
        target: The URL of a database, with the credentials of an administrator, or a path.

    Returns:
        Whether anything had to be done.

    Raises:
        Forbidden, Unauthorized: the server does not allow it.
        NotSupported: the server can't run the validation, so that the hub would take nothing; a new one was taken out.
    """
    async with await _open(target) as database:
        if targets.parse(target).kind is not Kind.HTTP:
            return False  # readers verify everything, and whoever can write the file can do anything to it
        wanted: Document = {"_id": DESIGN_ID, "language": "javascript", "validate_doc_update": VALIDATION}
        try:
            there = await database.get(DESIGN_ID)
        except NotFound:
            there = {}
        changed: bool = there.get("validate_doc_update") != VALIDATION
        new = None
        if changed:
            written = await database.put(wanted | ({"_rev": there["_rev"]} if there else {}))
            new = None if there else written.rev
        await _try(database, new)
        return changed


async def _try(database: Database, new: str | None) -> None:
    """Write what every hub takes: a server that can't run a validation takes nothing where there is one.

    Args:
        new: The revision of the validation that is taken out again then: one that was there before, stays.
    """
    nobody = shares.PREFIX + to_base32(secrets.token_bytes(17), shares.ID_LENGTH)
    try:
        await database.put({"_id": nobody, "_deleted": True})
    except Forbidden as error:
        if new is not None:
            await database.remove(DESIGN_ID, new)
        raise NotSupported(
            f"The hub takes nothing, because its server can't judge what is written: {error.reason} "
            "Of `peerpouch serve`, a public hub (--hub) judges by itself."
        ) from None


async def collect_hub(
    target: str, *, progress: Callable[[Collected], None] | None = None, clock: Clock | None = None
) -> Collected:
    """Delete what is dead in a hub, and forget for good what was deleted; see :func:`collect_garbage`."""
    now = (clock or SystemClock()).now()
    async with await _open(target, create=False) as database:
        return await collect_garbage(database, now=now, progress=progress)


async def _open(target: str, *, create: bool = True) -> Database:
    parsed = targets.parse(target)
    if parsed.kind is Kind.FILE:
        return await databases.open_file(parsed.address, create=create)
    if parsed.kind is not Kind.HTTP:
        raise BadRequest("A hub's operator names it by its URL or its path.")
    database = await urls.open_url(parsed.address)
    try:
        await database.info()
    except NotFound:
        if not create:
            await database.close()
            raise
        await database.create()
    except BaseException:
        await database.close()
        raise
    return database
