"""``RemoteDatabase``: the whole port over CouchDB's API, wherever an Exchange leads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from peerpouch.errors import BadRequest, NotSupported, PeerPouchError
from peerpouch.exchange import Exchange
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    AttachmentData,
    AttachmentMode,
    Changes,
    ChangesFilter,
    Database,
    DatabaseInfo,
    Document,
    FindResult,
    Guard,
    MapFunction,
    PlainRevisions,
    ReduceFunction,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    Updated,
    ViewResult,
    WriteFailure,
    WriteResult,
    Written,
)
from peerpouch.remote import attachments as attachment_requests
from peerpouch.remote import queries, writing
from peerpouch.remote.client import Client, document_path
from peerpouch.remote.feed import Feed, text_seq
from peerpouch.remote.listing import KeyListing, Listing, read_head, read_rows
from peerpouch.remote.pacing import Pacer
from peerpouch.remote.reading import Reader
from peerpouch.remote.uploads import Uploads
from peerpouch.remote.values import attachment_params, described, json_param, received, revision_list

_REVS_DIFF_IDS = 5000
# Ids in one request of `_revs_diff`: about half a megabyte.

_UNKNOWN: Any = {"db_name": "", "doc_count": 0, "doc_del_count": 0, "purge_seq": "0", "instance_start_time": "0"}
_UNKNOWN["sizes"] = {"file": 0, "active": 0, "external": 0}


class RemoteDatabase(Database):
    """A database at the other end of an Exchange: a CouchDB, a ``peerpouch serve``, another peer's share.

    Failures raise the classes that a local database raises; what the exchange raises passes through. Nothing is retried
    here, as only the caller knows what may be done twice.

    Args:
        exchange: Carries the requests. It is shared, and not closed here.
        url: The database's URL.
        name: What :attr:`name` says; the URL without credentials by default.
        headers: Sent with every request.
        timeout: Seconds to wait for each step of an answer, over networks.
        on_close: Awaited when the database is closed.
        secret: Gives what large uploads are named by, so that they go on after a restart; see
            :mod:`peerpouch.remote.uploads`.
    """

    def __init__(
        self,
        exchange: Exchange,
        url: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 120.0,
        on_close: Callable[[], Awaitable[None]] | None = None,
        secret: Callable[[], bytes] | None = None,
    ) -> None:
        self._client = Client(exchange, url, headers=headers, timeout=timeout)
        self._reader = Reader(self._client)
        self._uploads = Uploads(self._client, secret)
        self._name = self._client.shown if name is None else name
        self._on_close = on_close
        self._id = ""

    @property
    def name(self) -> str:
        return self._name

    async def id(self) -> str:
        """The database's own uuid where the server is a peerpouch; else the server's uuid and the path there."""
        if not self._id:
            info = await self._client.json("GET", "")
            with self._client.shape():
                uuid = info.get("uuid")
            self._id = str(uuid) if uuid else await self._derived_id()
        return self._id

    async def _derived_id(self) -> str:
        try:
            welcome = await self._client.json("GET", "", url=self._client.root)
        except PeerPouchError as error:
            # A server that hides its welcome always does; one that can't be reached must not get another id for that.
            if error.status >= 500 or error.status in (408, 429):
                raise
            welcome = None
        uuid = welcome.get("uuid") if isinstance(welcome, dict) else None
        if not uuid:
            return self._client.shown
        # The path, and not the host: the same server has many names.
        return f"{uuid}{urlsplit(self._client.url).path}"

    async def create(self) -> None:
        """Make the database. Raises DatabaseExists, and Forbidden or Unauthorized if the server does not allow it."""
        await self._client.json("PUT", "")

    async def info(self) -> DatabaseInfo:
        info = await self._client.json("GET", "")
        with self._client.shape():
            # Other servers leave out what they do not know.
            return described({**_UNKNOWN, **info, "update_seq": text_seq(info["update_seq"])})

    async def get(
        self,
        doc_id: str,
        *,
        rev: str | None = None,
        revs: bool = False,
        revs_info: bool = False,
        conflicts: bool = False,
        deleted_conflicts: bool = False,
        latest: bool = False,
        local_seq: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> Document:
        params = {
            "rev": rev,
            "revs": revs,
            "revs_info": revs_info,
            "conflicts": conflicts,
            "deleted_conflicts": deleted_conflicts,
            "latest": latest,
            "local_seq": local_seq,
            "atts_since": revision_list(atts_since),
            **attachment_params(attachments),
        }
        doc = await self._client.json("GET", self._path(doc_id), params=params)
        return received(doc, attachments, doc_id=doc_id)

    @staticmethod
    def _path(doc_id: str) -> str:
        if not doc_id:  # its path would be the database's own
            raise BadRequest("A document id must be a non-empty string.")
        return document_path(doc_id)

    async def open_revs(
        self,
        doc_id: str,
        revs: Sequence[str] | Literal["all"] = "all",
        *,
        latest: bool = False,
        with_revisions: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> list[RevisionResult]:
        return await self._reader.open_revs(
            doc_id,
            revs,
            latest=latest,
            with_revisions=with_revisions,
            attachments=attachments,
            atts_since=atts_since,
        )

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        if guard is not None:
            raise NotSupported("A guard can't be sent to another database: it judges its writes itself.")
        return await writing.bulk_docs(self._client, self._uploads, docs, new_edits=new_edits)

    async def write_plain(self, revisions: PlainRevisions) -> list[WriteFailure]:
        failed = await writing.write_plain(self._client, revisions)
        return await super().write_plain(revisions) if failed is None else failed

    def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        return self._reader.bulk_get(requests, revs=revs, latest=latest, attachments=attachments)

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        ids = list(revs)
        result: dict[str, RevsDiff] = {}
        for at in range(0, len(ids), _REVS_DIFF_IDS):
            asked = {doc_id: list(revs[doc_id]) for doc_id in ids[at : at + _REVS_DIFF_IDS]}
            answer = await self._client.json("POST", "/_revs_diff", body=asked)
            with self._client.shape():
                for doc_id, diff in answer.items():
                    if doc_id not in asked or not isinstance(diff["missing"], list):
                        raise ValueError("the answer is of another question")
                    if diff["missing"]:
                        result[doc_id] = diff
        return result

    def all_docs(
        self,
        *,
        keys: Sequence[str] | None = None,
        startkey: str | None = None,
        endkey: str | None = None,
        inclusive_end: bool = True,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update_seq: bool = False,
    ) -> AllDocs:
        pacer = Pacer(200, 10_000)
        options = {"include_docs": include_docs, "conflicts": conflicts}
        if keys is not None:
            if startkey is not None or endkey is not None:
                raise BadRequest("`keys` is incompatible with `startkey` and `endkey`.")
            wanted = list(keys)[::-1] if descending else list(keys)
            wanted = wanted[skip:] if limit is None else wanted[skip : skip + limit]
            options["update_seq"] = update_seq
            by_key = KeyListing(self._client, pacer, options, wanted, attachments)
            return AllDocs(by_key.head, by_key.pages)
        every = {
            **options,
            "endkey": json_param(endkey),
            "inclusive_end": None if inclusive_end else "false",
            "descending": descending,
        }
        first = {"startkey": json_param(startkey), "skip": skip or None, "update_seq": update_seq}
        listing = Listing(self._client, pacer, every, first, limit, attachments)
        return AllDocs(listing.head, listing.pages)

    def changes(
        self,
        *,
        since: Seq | int = "0",
        limit: int | None = None,
        live: bool = False,
        descending: bool = False,
        style: Literal["main_only", "all_docs"] = "main_only",
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        doc_ids: Sequence[str] | None = None,
        selector: Mapping[str, Any] | None = None,
        filter: ChangesFilter | None = None,
        query: Mapping[str, str] | None = None,
        heartbeat: float | None = None,
        timeout: float | None = None,
        seq_interval: int | None = None,
        batch_size: int = 1000,
    ) -> Changes:
        judge = filter if callable(filter) else None
        params: dict[str, Any] = {
            **(query or {}),
            "style": None if style == "main_only" else style,
            "descending": descending,
            "include_docs": include_docs or judge is not None,
            "conflicts": conflicts,
            "seq_interval": seq_interval,
            **(attachment_params(attachments) if include_docs else {}),
        }
        body: dict[str, Any] | None = None
        if doc_ids is not None:
            params["filter"], body = "_doc_ids", {"doc_ids": list(doc_ids)}
        elif selector is not None:
            params["filter"], body = "_selector", {"selector": dict(selector)}
        elif isinstance(filter, str):
            params["filter"] = filter
        feed = Feed(
            client=self._client,
            params=params,
            body=body,
            since=str(since),
            limit=limit,
            live=live,
            descending=descending,
            batch_size=max(1, batch_size),
            heartbeat=heartbeat,
            timeout=timeout,
            attachments=attachments,
            accept=judge,
            keep_docs=include_docs,
            # All leaves are asked for by who is going to fetch them.
            ahead=self._reader.ahead if style == "all_docs" and not params["include_docs"] else None,
        )
        return Changes(feed.pages)

    async def get_attachment(
        self,
        doc_id: str,
        name: str,
        *,
        rev: str | None = None,
        start: int = 0,
        end: int | None = None,
        encoded: bool = False,
    ) -> Attachment:
        return await attachment_requests.get_attachment(
            self._client, doc_id, name, rev=rev, start=start, end=end, encoded=encoded
        )

    async def put_attachment(
        self,
        doc_id: str,
        name: str,
        data: AttachmentData,
        content_type: str = "application/octet-stream",
        *,
        rev: str | None = None,
    ) -> Written:
        return await attachment_requests.put_attachment(self._client, doc_id, name, data, content_type, rev=rev)

    async def remove_attachment(self, doc_id: str, name: str, rev: str) -> Written:
        return await attachment_requests.remove_attachment(self._client, doc_id, name, rev)

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        # They are few, and not every server pages them: one request gives all.
        rows: list[AllDocsRow] | None = None

        async def head() -> AllDocsHead:
            nonlocal rows
            answer = await self._client.json("GET", "/_local_docs", params={"include_docs": include_docs})
            with self._client.shape():
                rows = read_rows(answer["rows"], False)
                found = read_head(answer)
                return found._replace(total_rows=found.total_rows or len(rows))

        async def pages() -> AsyncIterator[list[AllDocsRow]]:
            if rows is None:
                await head()
            yield [] if rows is None else rows

        return AllDocs(head, pages)

    async def get_security(self) -> Document:
        security: Document = await self._client.json("GET", "/_security")
        return security

    async def put_security(self, security: Document) -> None:
        await self._client.json("PUT", "/_security", body=security)

    async def get_revs_limit(self) -> int:
        limit = await self._client.json("GET", "/_revs_limit")
        with self._client.shape():
            return int(limit)

    async def put_revs_limit(self, limit: int) -> None:
        await self._client.json("PUT", "/_revs_limit", body=limit)

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return await writing.purge(self._client, revs)

    async def compact(self) -> None:
        await self._client.json("POST", "/_compact")

    async def close(self) -> None:
        if not self._client.closed:
            await self._client.close()
            if self._on_close is not None:
                await self._on_close()

    async def destroy(self) -> None:
        await self._client.json("DELETE", "")
        await self.close()

    async def find(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
        bookmark: str | None = None,
        conflicts: bool = False,
        execution_stats: bool = False,
    ) -> FindResult:
        body = queries.mango(selector, fields, sort, use_index, conflicts)
        if execution_stats:
            body["execution_stats"] = True
        return await queries.find(self._client, body, limit=limit, skip=skip, bookmark=bookmark)

    async def explain(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
        conflicts: bool = False,
    ) -> Document:
        body = {**queries.mango(selector, fields, sort, use_index, conflicts), "skip": skip}
        if limit is not None:
            body["limit"] = limit
        plan: Document = await self._client.json("POST", "/_explain", body=body)
        return plan

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        index: dict[str, Any] = {"fields": list(fields)}
        if partial_filter_selector is not None:
            index["partial_filter_selector"] = dict(partial_filter_selector)
        body: dict[str, Any] = {"index": index, "type": "json"}
        body.update({key: value for key, value in (("name", name), ("ddoc", ddoc)) if value is not None})
        made: Document = await self._client.json("POST", "/_index", body=body)
        return made

    async def get_indexes(self) -> Document:
        indexes: Document = await self._client.json("GET", "/_index")
        return indexes

    async def delete_index(self, ddoc: str, name: str) -> None:
        await queries.delete_index(self._client, ddoc, name)

    async def query(
        self,
        view: str | MapFunction,
        *,
        reduce: bool | str | ReduceFunction | None = None,
        key: Any = ...,
        keys: Sequence[Any] | None = None,
        startkey: Any = ...,
        endkey: Any = ...,
        startkey_docid: str | None = None,
        endkey_docid: str | None = None,
        inclusive_end: bool = True,
        group: bool = False,
        group_level: int | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update: Literal["true", "false", "lazy"] = "true",
        update_seq: bool = False,
    ) -> ViewResult:
        path = queries.view_path(view)
        if reduce is not None and not isinstance(reduce, bool):
            raise NotSupported("A stored view has its own reduce function: reduce=True uses it, reduce=False does not.")
        options = {
            "reduce": reduce,
            "key": key,
            "keys": keys,
            "startkey": startkey,
            "endkey": endkey,
            "startkey_docid": startkey_docid,
            "endkey_docid": endkey_docid,
            "inclusive_end": None if inclusive_end else False,
            "group": group,
            "group_level": group_level,
            "descending": descending,
            "skip": skip or None,
            "limit": limit,
            "include_docs": include_docs,
            "conflicts": conflicts,
            "update": None if update == "true" else update,
            "update_seq": update_seq,
        }
        return await queries.query(self._client, path, options, attachments)

    async def run_update(self, function: str, doc: Document | None, request: Mapping[str, Any]) -> Updated:
        raise NotSupported("Update functions of another database are called by its own HTTP API.")

    async def view_cleanup(self) -> None:
        await self._client.json("POST", "/_view_cleanup")
