"""The route table: every path that is served, by whom it is handled, and what it does.

Sessions, users, replications and the server's own status are added to it by whoever composes the application.
"""

from __future__ import annotations

from peerpouch.couchapi import (
    attachments,
    bulk,
    changes,
    databases,
    documents,
    forms,
    listing,
    queries,
    server,
    updates,
    uploads,
)
from peerpouch.couchapi.routing import Access, Handler, Route

_SERVER = (
    Route("GET", "/", server.welcome, Access.SERVER),
    Route("GET", "/_up", server.up, Access.SERVER),
    Route("GET", "/_uuids", server.uuids, Access.SERVER),
    Route("GET", "/_all_dbs", server.all_dbs, Access.SERVER),
    Route("GET", "/_dbs_info", server.dbs_info, Access.SERVER),
    Route("POST", "/_dbs_info", server.dbs_info, Access.SERVER),
)

_DATABASE = (
    Route("PUT", "/{db}", databases.create, Access.ADMIN),
    Route("DELETE", "/{db}", databases.delete, Access.ADMIN),
    Route("GET", "/{db}", databases.info, Access.READ),
    Route("POST", "/{db}", databases.post, Access.WRITE),
    Route("GET", "/{db}/_upload/{upload}", uploads.get, Access.WRITE),
    Route("PUT", "/{db}/_upload/{upload}", uploads.put, Access.WRITE),
    Route("GET", "/{db}/_changes", changes.changes, Access.READ),
    Route("POST", "/{db}/_changes", changes.changes, Access.READ),
    Route("POST", "/{db}/_bulk_docs", bulk.bulk_docs, Access.WRITE),
    Route("POST", "/{db}/_bulk_get", bulk.bulk_get, Access.READ),
    Route("POST", "/{db}/_revs_diff", bulk.revs_diff, Access.READ),
    Route("POST", "/{db}/_missing_revs", bulk.missing_revs, Access.READ),
    Route("POST", "/{db}/_ensure_full_commit", databases.ensure_full_commit, Access.READ),
    Route("GET", "/{db}/_security", databases.get_security, Access.READ),
    Route("PUT", "/{db}/_security", databases.put_security, Access.ADMIN),
    Route("GET", "/{db}/_revs_limit", databases.get_revs_limit, Access.READ),
    Route("PUT", "/{db}/_revs_limit", databases.put_revs_limit, Access.ADMIN),
    Route("GET", "/{db}/_purged_infos_limit", databases.get_purged_infos_limit, Access.READ),
    Route("PUT", "/{db}/_purged_infos_limit", databases.put_purged_infos_limit, Access.ADMIN),
    Route("POST", "/{db}/_purge", databases.purge, Access.ADMIN),
    Route("POST", "/{db}/_compact", databases.compact, Access.ADMIN),
    Route("POST", "/{db}/_compact/{design}", databases.compact, Access.ADMIN),
    Route("POST", "/{db}/_view_cleanup", databases.view_cleanup, Access.ADMIN),
)

_LISTINGS: tuple[tuple[str, Handler, Handler], ...] = (
    ("_all_docs", listing.all_docs, listing.all_docs_queries),
    ("_design_docs", listing.design_docs, listing.design_docs_queries),
    ("_local_docs", listing.local_docs, listing.local_docs_queries),
)

_LISTED = tuple(
    route
    for name, one, many in _LISTINGS
    for route in (
        Route("GET", f"/{{db}}/{name}", one, Access.READ),
        Route("POST", f"/{{db}}/{name}", one, Access.READ),
        Route("POST", f"/{{db}}/{name}/queries", many, Access.READ),
    )
)

_QUERIES = (
    Route("POST", "/{db}/_find", queries.find, Access.READ, slow=True),
    Route("POST", "/{db}/_explain", queries.explain, Access.READ),
    Route("GET", "/{db}/_index", queries.get_indexes, Access.READ),
    Route("POST", "/{db}/_index", queries.create_index, Access.ADMIN),
    Route("POST", "/{db}/_index/_bulk_delete", queries.delete_indexes, Access.ADMIN),
    Route("DELETE", "/{db}/_index/{design}/json/{name}", queries.delete_index, Access.ADMIN),
    Route("DELETE", "/{db}/_index/_design/{design}/json/{name}", queries.delete_index, Access.ADMIN),
    Route("DELETE", "/{db}/_index/{rest*}", queries.no_index, Access.ADMIN),
    Route("POST", "/{db}/_temp_view", queries.temporary_view, Access.READ),
    Route("GET", "/{db}/_design/{design}/_info", queries.design_info, Access.READ),
    Route("GET", "/{db}/_design/{design}/_view/{view}", queries.view, Access.READ, slow=True),
    Route("POST", "/{db}/_design/{design}/_view/{view}", queries.view, Access.READ, slow=True),
    Route("POST", "/{db}/_design/{design}/_view/{view}/queries", queries.view_queries, Access.READ, slow=True),
)

_UPDATES = tuple(
    route
    for method in ("POST", "PUT", "DELETE")
    for route in (
        Route(method, "/{db}/_design/{design}/_update", updates.invalid_path, Access.READ),
        Route(method, "/{db}/_design/{design}/_update/{function}", updates.update, Access.WRITE, slow=True),
        Route(method, "/{db}/_design/{design}/_update/{function}/{doc*}", updates.update, Access.WRITE, slow=True),
    )
)


def _document(path: str, write: Access) -> tuple[Route, ...]:
    return (
        Route("GET", path, documents.get, Access.READ),
        Route("PUT", path, documents.put, write),
        Route("DELETE", path, documents.delete, write),
        Route("COPY", path, documents.copy, write),
    )


def _attachment(path: str, write: Access) -> tuple[Route, ...]:
    return (
        Route("GET", path, attachments.get, Access.READ),
        Route("PUT", path, attachments.put, write),
        Route("DELETE", path, attachments.delete, write),
    )


ROUTES: tuple[Route, ...] = (
    *_SERVER,
    *_DATABASE,
    *_LISTED,
    *_QUERIES,
    *_UPDATES,
    *_document("/{db}/{doc}", Access.WRITE),
    Route("POST", "/{db}/{doc}", forms.post, Access.WRITE),
    *_document("/{db}/_design/{design}", Access.ADMIN),
    *_document("/{db}/_local/{local}", Access.CHECKPOINT),
    *_attachment("/{db}/{doc}/{attachment*}", Access.WRITE),
    *_attachment("/{db}/_design/{design}/{attachment*}", Access.ADMIN),
)
"""Every route of the server, of databases, and of documents."""
