"""Many revisions at once: ``_bulk_get``, some requests at a time, or the older way round where a server lacks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

from peerpouch.errors import DatabaseNotFound, MethodNotAllowed, NotFound, NotSupported, ProtocolError
from peerpouch.ports import AttachmentMode, RevisionRequest, RevisionResult
from peerpouch.remote.ahead import Ahead
from peerpouch.remote.client import AnswerTooLarge, Client, document_path, error_of
from peerpouch.remote.pacing import Pacer
from peerpouch.remote.values import attachment_params, json_param, received, revision_list

_REVISIONS = 50
# Revisions in one URL: 2 KB, where servers and proxies begin to refuse at 8.


class Reader:
    """Reads revisions from one database, and remembers what the server can do and how large its documents are."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # The first number is a replicator's batch: in the usual case that costs one round trip.
        self._pacer = Pacer(500, 2000)
        self._lacks_bulk_get = False
        self.ahead = Ahead()

    async def bulk_get(
        self, requests: Sequence[RevisionRequest], *, revs: bool, latest: bool, attachments: AttachmentMode
    ) -> AsyncGenerator[RevisionResult, None]:
        at = 0
        here = self.ahead.take(requests) if revs and not latest and not attachments else None
        if here is not None:
            at = len(requests)
            for result in here:
                yield result
        while at < len(requests):
            chunk = requests[at : at + self._pacer.size]
            if self._lacks_bulk_get:
                results = await self._one_by_one(chunk[:1], revs=revs, latest=latest, attachments=attachments)
                at += 1
            else:
                try:
                    results = await self._bulk_get(chunk, revs=revs, latest=latest, attachments=attachments)
                except AnswerTooLarge:
                    if self._pacer.size == 1:
                        raise
                    self._pacer.shrink()
                    continue
                except DatabaseNotFound:
                    raise
                except (NotFound, MethodNotAllowed, NotSupported):
                    self._lacks_bulk_get = True
                    continue
                at += len(chunk)
            for result in results:
                yield result

    async def _bulk_get(
        self, requests: Sequence[RevisionRequest], *, revs: bool, latest: bool, attachments: AttachmentMode
    ) -> list[RevisionResult]:
        docs: list[dict[str, Any]] = []
        for wanted in requests:
            entry: dict[str, Any] = {"id": wanted.id}
            if wanted.rev is not None:
                entry["rev"] = wanted.rev
            if wanted.atts_since is not None:
                entry["atts_since"] = list(wanted.atts_since)
            docs.append(entry)
        answer, size = await self._client.sized_json(
            "POST",
            "/_bulk_get",
            params={"revs": revs, "latest": latest, **attachment_params(attachments)},
            body={"docs": docs},
            limit=self._pacer.limit,
        )
        with self._client.shape():
            self._pacer.seen(len(requests), size)
            return _in_order(requests, answer["results"], attachments, 0 if attachments else size // len(requests))

    async def _one_by_one(
        self, requests: Sequence[RevisionRequest], *, revs: bool, latest: bool, attachments: AttachmentMode
    ) -> list[RevisionResult]:
        results = []
        for wanted in requests:
            try:
                results += await self.open_revs(
                    wanted.id,
                    "all" if wanted.rev is None else [wanted.rev],
                    latest=latest,
                    with_revisions=revs,
                    attachments=attachments,
                    atts_since=wanted.atts_since,
                )
            except DatabaseNotFound:
                raise
            except NotFound as error:
                results.append(RevisionResult(wanted.id, wanted.rev, None, error))
        return results

    async def open_revs(
        self,
        doc_id: str,
        revs: Sequence[str] | Literal["all"],
        *,
        latest: bool,
        with_revisions: bool,
        attachments: AttachmentMode,
        atts_since: Sequence[str] | None,
    ) -> list[RevisionResult]:
        params = {"latest": latest, "revs": with_revisions, **attachment_params(attachments)}
        params["atts_since"] = revision_list(atts_since)
        chunks = ["all"] if revs == "all" else [revs[n : n + _REVISIONS] for n in range(0, len(revs), _REVISIONS)]
        results: list[RevisionResult] = []
        for chunk in chunks:
            params["open_revs"] = chunk if chunk == "all" else json_param(list(chunk))
            answer = await self._client.json("GET", document_path(doc_id), params=params)
            with self._client.shape():
                results += [_open_result(doc_id, item, attachments) for item in answer]
        return results


def _in_order(
    requests: Sequence[RevisionRequest], entries: Sequence[Any], attachments: AttachmentMode, share: int
) -> list[RevisionResult]:
    """Results in the order of the requests. PouchDB gives one entry per document, wherever it was asked for first.

    Args:
        share: The bytes of each, on average.
    """
    if len(entries) != len(requests) or any(
        entry["id"] != wanted.id for entry, wanted in zip(entries, requests, strict=True)
    ):
        order = {wanted.id: n for n, wanted in reversed([*enumerate(requests)])}
        for entry in entries:
            if entry["id"] not in order:
                raise ProtocolError(f"The server sent the document {str(entry['id'])[:100]!r}, which nobody asked for.")
        entries = sorted(entries, key=lambda entry: order[entry["id"]])
    return [_bulk_result(entry["id"], item, attachments, share) for entry in entries for item in entry["docs"]]


def _bulk_result(doc_id: str, item: Any, attachments: AttachmentMode, share: int) -> RevisionResult:
    if "ok" in item:
        doc = received(item["ok"], attachments, doc_id=doc_id)
        return RevisionResult(doc_id, doc["_rev"], doc, None, share)
    if "error" not in item:  # PouchDB's form
        return RevisionResult(doc_id, item.get("missing"), None, NotFound("missing"))
    fields = item["error"]
    rev = fields.get("rev")
    error = error_of(fields, 404 if fields.get("error") == "not_found" else 500)
    return RevisionResult(doc_id, None if rev in (None, "undefined") else rev, None, error)


def _open_result(doc_id: str, item: Any, attachments: AttachmentMode) -> RevisionResult:
    if "ok" in item:
        doc = received(item["ok"], attachments, doc_id=doc_id)
        return RevisionResult(doc_id, doc["_rev"], doc)
    if "missing" in item:
        return RevisionResult(doc_id, item["missing"], None, NotFound("missing"))
    return RevisionResult(doc_id, item.get("rev"), None, error_of(item))
