"""Point reads: one document, its revisions, and what of a list of revisions is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import apsw

from peerpouch.core import jsonio, revisions
from peerpouch.core.revtree import RevTree, is_line, line_has
from peerpouch.errors import NotFound, PeerPouchError
from peerpouch.ports import (
    AttachmentMode,
    DatabaseInfo,
    Document,
    PlainRevisions,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
)
from peerpouch.storage.connections import Location, any_between, fetch, fetch_one, gather, gather_values, placeholders
from peerpouch.storage.feed import format_seq
from peerpouch.storage.listing import PAGE_BYTES
from peerpouch.storage.rows import DOCUMENT, DOCUMENT_WITH_HISTORY, StoredDocument, read_json
from peerpouch.storage.schema import ATTACHMENTS, BRANCHED, DELETED, EXACT

INLINE_BODY = 64 * 1024
"""A larger body is read and parsed in a thread: beyond, the time it takes the event loop grows past 0.2 ms."""

FEW = 8
"""Documents that are looked up, and revisions that are compared, where the caller runs: some 50 microseconds."""

_POINT = f"SELECT rev, flags, CASE WHEN length(body) <= {INLINE_BODY} THEN body END FROM docs WHERE id = ?"
LOOKUP = 512  # documents looked up in one statement
# A larger body is read by itself, so that those read together are no more than PAGE_BYTES.
_SMALL_BODY = PAGE_BYTES // LOOKUP


@dataclass(frozen=True, slots=True)
class GetOptions:
    """What ``get`` was asked for; see :meth:`peerpouch.ports.Documents.get`."""

    rev: str | None = None
    revs: bool = False
    revs_info: bool = False
    conflicts: bool = False
    deleted_conflicts: bool = False
    latest: bool = False
    local_seq: bool = False
    attachments: AttachmentMode = False
    atts_since: Sequence[str] | None = None


def point_get(connection: apsw.Connection, doc_id: str) -> Document | None:
    """The winner, when that is a matter of one row; else ``None``, and :func:`get` must be asked.

    Raises:
        NotFound
    """
    row = fetch_one(connection, _POINT, (doc_id,))
    if row is None:
        raise NotFound("missing")
    rev, flags, body = row
    if flags & DELETED:
        raise NotFound("deleted")
    if flags & ATTACHMENTS or body is None:
        return None
    doc: Document = {"_id": doc_id, "_rev": rev}
    doc.update(read_json(body, flags))
    return doc


def get_local(connection: apsw.Connection, doc_id: str) -> Document:
    """A ``_local`` document.

    Raises:
        NotFound
    """
    row = fetch_one(connection, "SELECT rev, flags, body FROM local WHERE id = ?", (doc_id,))
    if row is None:
        raise NotFound("missing")
    return {"_id": doc_id, "_rev": f"0-{row[0]}", **read_json(row[2], row[1])}


def get(connection: apsw.Connection, doc_id: str, options: GetOptions, incarnation: str) -> Document:
    """A document with all that was asked for.

    Raises:
        NotFound
    """
    stored = StoredDocument.find(connection, doc_id)
    if stored is None:
        raise NotFound("missing")
    rev = options.rev
    if rev is None:
        if stored.deleted:
            raise NotFound("deleted")
        rev = stored.rev
    elif options.latest:
        parsed = revisions.parse(rev)
        above = stored.tree.leaves_above(parsed) if parsed in stored.tree else []
        rev = revisions.format(above[0].rev) if above else rev
    doc = stored.read(rev, options.attachments, options.atts_since)
    if doc is None:
        raise NotFound("missing")
    parsed = revisions.parse(rev)
    if options.revs:
        doc["_revisions"] = stored.history(parsed)
    if options.revs_info:
        doc["_revs_info"] = stored.revs_info(parsed)
    if options.conflicts or options.deleted_conflicts:
        stored.conflict_fields(doc, options.conflicts, options.deleted_conflicts)
    if options.local_seq:
        doc["_local_seq"] = format_seq(stored.seq, incarnation)
    return doc


def open_revs(
    connection: apsw.Connection,
    doc_id: str,
    revs: Sequence[str] | Literal["all"],
    *,
    latest: bool = False,
    with_revisions: bool = False,
    attachments: AttachmentMode = False,
    atts_since: Sequence[str] | None = None,
) -> list[RevisionResult]:
    """The leaves of a document, or the revisions asked for.

    Raises:
        NotFound: for ``"all"``, when there is no such document.
    """
    stored = StoredDocument.find(connection, doc_id)
    if stored is None:
        if revs == "all":
            raise NotFound("missing")
        return [RevisionResult(doc_id, rev, None, NotFound("missing")) for rev in revs]
    return stored.revisions_asked(
        stored.leaf_revs() if revs == "all" else revs,
        latest=latest,
        with_revisions=with_revisions,
        attachments=attachments,
        atts_since=atts_since,
    )


def bulk_get_one(
    connection: apsw.Connection,
    request: RevisionRequest,
    *,
    revs: bool,
    latest: bool,
    attachments: AttachmentMode,
) -> tuple[list[RevisionResult], int]:
    """The results of one entry of ``bulk_get`` (an error is a result, too), and their bytes."""
    try:
        stored = StoredDocument.find(connection, request.id)
        if stored is None:
            raise NotFound("missing")
        found = stored.revisions_asked(
            stored.leaf_revs() if request.rev is None else [request.rev],
            latest=latest,
            with_revisions=revs,
            attachments=attachments,
            atts_since=request.atts_since,
        )
        return found, stored.bytes_read
    except PeerPouchError as error:
        return [RevisionResult(request.id, request.rev, None, error)], 0


def bulk_get_page(
    connection: apsw.Connection,
    requests: Sequence[RevisionRequest],
    *,
    revs: bool,
    latest: bool,
    attachments: AttachmentMode,
) -> tuple[list[RevisionResult], int]:
    """Results of the first of these requests, and how many of them they answer.

    Winners of documents that are as most documents are get read together; all else is read one by one.
    """
    page = requests[:LOOKUP]
    known, share = _winners(connection, page, revs)
    absent = _absent(connection, [request.id for request in page if request.id not in known])
    results: list[RevisionResult] = []
    size = 0
    for n, request in enumerate(page, 1):
        doc = known.pop(request.id, None)  # once: no two results may share parts
        if doc is not None and (request.rev is None or request.rev == doc["_rev"]):
            results.append(RevisionResult(request.id, doc["_rev"], doc, None, share))
            continue
        if request.id in absent:
            results.append(RevisionResult(request.id, request.rev, None, NotFound("missing")))
            continue
        found, cost = bulk_get_one(connection, request, revs=revs, latest=latest, attachments=attachments)
        results += found
        size += cost
        if size > PAGE_BYTES:
            return results, n
    return results, len(page)


def bulk_get_few(
    connection: apsw.Connection, requests: Sequence[RevisionRequest], revs: bool
) -> list[RevisionResult] | None:
    """The results of a few requests, when all are for winners that are small and plain; else ``None``."""
    known, share = _winners(connection, requests, revs)
    results = []
    for request in requests:
        doc = known.pop(request.id, None)
        if doc is None or request.rev not in (None, doc["_rev"]):
            return None
        results.append(RevisionResult(request.id, doc["_rev"], doc, None, share))
    return results


def _winners(
    connection: apsw.Connection, requests: Sequence[RevisionRequest], revs: bool
) -> tuple[dict[str, Any], int]:
    """The winners of those documents that are small and have a single line of history and no attachments, by id; and
    how many bytes each is as JSON, on average."""
    marks, bindings = placeholders([request.id for request in requests], (1, 16, LOOKUP))
    columns = "id, rev, flags, body, ancestry"
    plain = f"NOT flags & {ATTACHMENTS | BRANCHED | EXACT} AND length(body) <= {_SMALL_BODY}"
    try:
        docs, size = gather_values(
            connection,
            DOCUMENT_WITH_HISTORY if revs else DOCUMENT,
            f"SELECT {columns} FROM docs WHERE id IN ({marks}) AND {plain} LIMIT -1",
            bindings,
        )
    except ValueError:
        return {}, 0  # one of them is damaged: read by itself, it is named
    return {doc["_id"]: doc for doc in docs}, size // max(1, len(docs))


def read_plain(connection: apsw.Connection, wanted: Mapping[str, str]) -> PlainRevisions:
    """Those of these revisions that are winners, small, and have nothing but a body and a line of history; at most
    ``LOOKUP`` are asked for.

    Each body is JSON, as SQLite sees it, and UTF-8: that costs next to nothing here.

    What stands before the bodies comes as one JSON text, and they behind each other as another: nothing of them is
    parsed, and the interpreter's lock is given up once for all.
    """
    marks, bindings = placeholders([*wanted], (1, 16, LOOKUP))
    head = """'["' || rev || '","' || coalesce(ancestry, '') || '",' || length(body) || ',' || json_quote(id) || ']'"""
    heads, together = fetch_one(
        connection,
        f"SELECT CAST('[' || group_concat({head}) || ']' AS BLOB), CAST(group_concat(body, '') AS BLOB) FROM "
        f"(SELECT id, rev, body, ancestry FROM docs WHERE id IN ({marks}) AND flags = 0 "
        f"AND length(body) <= {_SMALL_BODY} AND json_valid(CAST(body AS TEXT)) LIMIT -1)",
        bindings,
    )
    none = PlainRevisions([], [], [], [])
    if not heads:
        return none
    try:
        revs, ancestors, lengths, ids = map(list, zip(*jsonio.parse(heads), strict=True))
        ends = [*accumulate(lengths, initial=0)]
        together.decode()
    except (ValueError, TypeError):
        return none  # one of them is damaged: read by itself, it is named
    if ends[-1] != len(together):
        return none
    found = PlainRevisions(ids, revs, ancestors, [together[start:end] for start, end in pairwise(ends)])
    if len(ids) == len(wanted) and ids == [*wanted] and revs == [*wanted.values()]:
        return found
    places = {doc_id: n for n, doc_id in enumerate(ids)}
    order = [n for doc_id, rev in wanted.items() if (n := places.get(doc_id)) is not None and revs[n] == rev]
    revs, ancestors = [revs[n] for n in order], [ancestors[n] for n in order]
    return PlainRevisions([ids[n] for n in order], revs, ancestors, [found.bodies[n] for n in order])


def _absent(connection: apsw.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids that no document has, where it saves statements to know."""
    if len(ids) < 2:
        return set()
    if not any_between(connection, ids):
        return set(ids)
    marks, bindings = placeholders(ids, (16, LOOKUP))
    found, _ = gather_values(
        connection, "json_quote(id)", f"SELECT id FROM docs WHERE id IN ({marks}) LIMIT -1", bindings
    )
    return {*ids} - {*found}


def find_attachment(connection: apsw.Connection, doc_id: str, name: str, rev: str | None) -> tuple[Any, ...]:
    """``content, content_type, digest, revpos, length, encoding, encoded_length, sha256`` of an attachment.

    Raises:
        NotFound
    """
    row = fetch_one(connection, "SELECT key, rev, flags FROM docs WHERE id = ?", (doc_id,))
    if row is None:
        raise NotFound("missing")
    if rev is None and row[2] & DELETED:
        raise NotFound("deleted")
    found: tuple[Any, ...] | None = fetch_one(
        connection,
        "SELECT content, content_type, digest, revpos, a.length, encoding, encoded_length, sha256 "
        "FROM attachments a JOIN contents USING (content) WHERE key = ? AND rev = ? AND name = ?",
        (row[0], rev or row[1], name),
    )
    if found is None:
        raise NotFound("Document is missing attachment")
    return found


def revs_diff(connection: apsw.Connection, asked: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
    """Which of the revisions are not in the documents' trees."""
    result: dict[str, RevsDiff] = {}
    ids = list(asked)
    for offset in range(0, len(ids), LOOKUP):
        part = ids[offset : offset + LOOKUP]
        known = _heads(connection, part)
        if not known and all(len(asked[doc_id]) == 1 for doc_id in part):  # a first replication's batches
            missing = [asked[doc_id][0] for doc_id in part]
            if revisions.are_plain(missing):
                result.update({doc_id: {"missing": [rev]} for doc_id, rev in zip(part, missing, strict=True)})
                continue
        for doc_id in part:
            revs = asked[doc_id]
            revs = list(dict.fromkeys(revs)) if len(revs) > 1 else [*revs]
            row = known.get(doc_id)
            if row is None:
                for rev in revs:
                    revisions.parse(rev)
                if revs:
                    result[doc_id] = {"missing": revs}
            elif (diff := _diff(row, revs)) is not None:
                result[doc_id] = diff
    return result


def _heads(connection: apsw.Connection, ids: Sequence[str]) -> dict[str, Any]:
    """``id, rev, flags, ancestry`` of those documents that there are."""
    if len(ids) > 1 and not any_between(connection, ids):
        return {}
    marks, bindings = placeholders(ids, (1, 16, LOOKUP))
    rows = gather(
        connection,
        ["json_quote(id)", "json_quote(rev)", "flags", "json_quote(ancestry)"],
        f"SELECT id, rev, flags, ancestry FROM docs WHERE id IN ({marks}) LIMIT -1",
        bindings,
    )
    return {row[0]: row for row in rows}


def _diff(row: Any, revs: list[str]) -> RevsDiff | None:
    _, winner, flags, ancestry = row
    if is_line(ancestry) and revs == [winner]:
        return None
    end = revisions.split(winner)
    asked = list(map(revisions.parse, revs))
    if is_line(ancestry):
        absent = [rev for rev in asked if not line_has(end, ancestry, rev)]
        ancestors = [end] if absent and end[0] < max(absent)[0] else []
    else:
        tree = RevTree.load(end, bool(flags & DELETED), ancestry)
        absent = [rev for rev in asked if rev not in tree]
        ancestors = tree.possible_ancestors(absent) if absent else []
    if not absent:
        return None
    diff: RevsDiff = {"missing": list(map(revisions.format, absent))}
    if ancestors:
        diff["possible_ancestors"] = list(map(revisions.format, ancestors))
    return diff


def info(connection: apsw.Connection, location: Location, incarnation: str) -> DatabaseInfo:
    """Counts, sequences and sizes."""
    update_seq, docs, deletions, purge_seq = fetch_one(
        connection, "SELECT update_seq, doc_count, del_count, purge_seq FROM state"
    )
    meta = dict(fetch(connection, "SELECT name, value FROM meta WHERE name IN ('uuid', 'created')"))
    page_size, pages, free = (
        int(connection.pragma(name) or 0) for name in ("page_size", "page_count", "freelist_count")
    )
    file = pages * page_size
    if location.path is not None:
        sizes = [location.path, location.wal()]
        file = sum(item.stat().st_size for item in sizes if item is not None and item.exists())
    active = (pages - free) * page_size
    return {
        "db_name": location.label,
        "doc_count": docs,
        "doc_del_count": deletions,
        "update_seq": format_seq(update_seq, incarnation),
        "purge_seq": format_seq(purge_seq, incarnation),
        "sizes": {"file": file, "active": active, "external": active},
        "instance_start_time": str(meta["created"]),
        "uuid": meta["uuid"],
        "incarnation": incarnation,
    }
