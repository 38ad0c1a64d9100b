"""Map/reduce: stored views, kept up to date in an index, and Python functions, computed when asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.core.modules import view_modules_of
from peerpouch.errors import BadRequest, InvalidDocument, InvalidQuery, NotFound, NotSupported, PeerPouchError
from peerpouch.ports import (
    Document,
    Documents,
    FunctionRunner,
    IndexGroup,
    IndexRow,
    IndexStore,
    MapFunction,
    Seq,
    ViewResult,
    ViewRow,
)
from peerpouch.query.definitions import DESIGN, LANGUAGE, design_id, indexes_of
from peerpouch.query.indexer import Indexer, MapDocuments, Rows
from peerpouch.query.reducers import (
    BUILT_IN,
    BuiltIn,
    Emitted,
    FunctionReducer,
    MakeReducer,
    Reducer,
    of_stored,
    python_reducer,
)
from peerpouch.query.rows import (
    PAGE,
    RowSource,
    StoredRows,
    TemporaryGroups,
    TemporaryRows,
    decode_row,
    encode_rows,
    group_of,
    map_rows,
)
from peerpouch.query.viewoptions import Range, ViewOptions

# Raise it when rows are encoded in another way, so that they are made anew.
_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view of a design document (``design`` is its id) that is not a Mango index."""

    map_source: str
    reduce_source: str | None
    language: str
    design_docs: bool
    modules: str = ""
    design: str = ""

    @property
    def store_name(self) -> str:
        definition = [_VERSION, self.language, self.map_source, self.design_docs]
        if self.modules:
            definition.append(self.modules)
        return f"view/{hashlib.sha256(jsonio.dumps(definition)).hexdigest()}"


def views_of(doc: Document) -> dict[str, StoredView]:
    """The map/reduce views of a design document; malformed ones are left out."""
    views = doc.get("views")
    language = doc.get("language", "javascript")
    if type(views) is not dict or type(language) is not str or language == LANGUAGE:
        return {}
    options = doc.get("options")
    design_docs = type(options) is dict and options.get("include_design") is True
    found: dict[str, StoredView] = {}
    for name, view in views.items():
        if name != "lib" and type(view) is dict and type(view.get("map")) is str:
            reduce = view.get("reduce")
            source = view["map"]
            modules = view_modules_of(source, doc)
            reduction = reduce if type(reduce) is str else None
            found[name] = StoredView(source, reduction, language, design_docs, modules, doc["_id"])
    return found


class ViewQueries:
    """Map/reduce queries of one database."""

    def __init__(
        self,
        documents: Documents,
        store: IndexStore,
        indexer: Indexer,
        runner: Callable[[], FunctionRunner | None],
    ) -> None:
        self._documents = documents
        self._store = store
        self._indexer = indexer
        self._runner = runner
        self._tasks: set[asyncio.Task[Seq]] = set()

    async def query(self, options: ViewOptions) -> ViewResult:
        """See :meth:`peerpouch.ports.Queries.query`."""
        if callable(options.view):
            make = self._reducer(options.reduce, None, stored=False)
            options.check(make is not None)
            result = await self._compute(options.view, options, make)
            if options.update_seq:
                result["update_seq"] = (await self._documents.info())["update_seq"]
            return result
        view = await self._find_view(options.view)
        make = self._reducer(options.reduce, view.reduce_source, stored=True)
        options.check(make is not None)
        if options.update == "true":
            await self._refresh(view)
        result = await self._answer(StoredRows(self._store, view.store_name), options, make)
        if options.update_seq:
            state = await self._store.index_state(view.store_name)
            result["update_seq"] = "0" if state is None else state.seq
        if options.update == "lazy":
            task = asyncio.create_task(self._refresh(view))
            self._tasks.add(task)
            task.add_done_callback(self._forget)
        return result

    def _forget(self, task: asyncio.Task[Seq]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Nobody waits for it (the database may have been closed); whoever asks for an update gets its own error.
            task.exception()

    async def cleanup(self, design_docs: Sequence[Document]) -> None:
        """Drop the rows of all views and indexes that no design document defines any more."""
        used = {index.store_name for index in indexes_of(design_docs)}
        used.update(view.store_name for doc in design_docs for view in views_of(doc).values())
        for name in await self._store.index_names():
            if name.startswith(("mango/", "view/")) and name not in used:
                await self._store.drop_index(name)

    # -- where rows come from

    async def _find_view(self, name: str) -> StoredView:
        if type(name) is not str:
            raise BadRequest("A view is named by text, or given as a Python function.")
        ddoc, _, view_name = name.removeprefix(DESIGN).partition("/")
        doc = await self._documents.get(design_id(ddoc))
        if doc.get("language") == LANGUAGE:
            raise BadRequest(f"{name} is a Mango index: use find.")
        view = views_of(doc).get(view_name or ddoc)
        if view is None:
            raise NotFound("missing_named_view")
        return view

    async def _refresh(self, view: StoredView) -> Seq:
        return await self._indexer.refresh(
            view.store_name, self._map(view), view.design, design_docs=view.design_docs, conflicts=True
        )

    def _map(self, view: StoredView) -> MapDocuments:
        runner = self._runner() if view.language == "javascript" else None
        if runner is None:
            raise NotSupported(
                f"Views in {view.language} can't be computed here: "
                "install the extra `js` for JavaScript, or pass a Python function."
            )

        async def map_documents(docs: list[Document]) -> list[Rows]:
            mapped = await runner.map(view.map_source, docs, modules=view.modules)
            return await asyncio.to_thread(lambda: [_encoded(rows) for rows in mapped])

        return map_documents

    async def _compute(self, function: MapFunction, options: ViewOptions, make: MakeReducer | None) -> ViewResult:
        """The answer of a Python function, which is run on all documents."""
        built_in = next((kind for kind in BUILT_IN.values() if kind is make), None)
        if built_in is not None:
            groups = TemporaryGroups(options, built_in)
            await self._scan(lambda doc: groups.add(function, doc))
            return {"rows": groups.rows()}
        most = None
        if make is None and options.limit is not None and options.keys is None:
            most = options.skip + options.limit
        rows = TemporaryRows(options.ranges(), options.descending, most)
        await self._scan(lambda doc: rows.add(doc["_id"], map_rows(function, doc)))
        await asyncio.to_thread(rows.sort)
        return await self._answer(rows, options, make)

    async def _scan(self, visit: Callable[[Document], None]) -> None:
        def run(docs: list[Document]) -> None:
            for doc in docs:
                visit(doc)

        async with aclosing(self._documents.all_docs(include_docs=True, conflicts=True).pages()) as pages:
            async for page in pages:
                docs = [row.get("doc") for row in page if not row["key"].startswith(DESIGN)]
                await asyncio.to_thread(run, [doc for doc in docs if doc is not None])

    # -- what becomes of them

    def _reducer(self, asked: Any, source: str | None, *, stored: bool) -> MakeReducer | None:
        if asked is False or (asked is None and source is None):
            return None
        if asked is True and source is None:
            raise InvalidQuery("Reduce is invalid for map-only views.")
        if callable(asked):
            return python_reducer(asked)
        name = asked if type(asked) is str else source
        assert name is not None
        # Whatever follows a built-in's name in a design document is ignored, as in CouchDB.
        built_in = next(
            (known for known in BUILT_IN if name == known or (name == source and name.startswith(known))), ""
        )
        if built_in:
            return of_stored(BUILT_IN[built_in]) if stored else BUILT_IN[built_in]
        if name.startswith("_") or name != source:
            raise BadRequest(f"There is no built-in reduce function {name!r}; there are {', '.join(BUILT_IN)}.")
        runner = self._runner()
        if runner is None:
            raise NotSupported("JavaScript reduce functions need the extra `js`; reduce=False gives the rows.")

        async def call(keys: list[Any] | None, values: list[Any], rereduce: bool) -> Any:
            (result,) = await runner.call_each(name, [(keys, values, rereduce)])
            # What the function throws costs the group its value and not the query its answer, as in CouchDB.
            return None if isinstance(result, PeerPouchError) else result

        return lambda: FunctionReducer(call)

    async def _answer(self, source: RowSource, options: ViewOptions, make: MakeReducer | None) -> ViewResult:
        ranges = options.ranges()
        if make is not None:
            return {"rows": await self._reduced(source, ranges, options, make)}
        rows = await self._plain(source, ranges, options)
        if options.include_docs:
            rows = await self._with_docs(rows, options)
        total = await source.total()
        before = await source.before(ranges[0], options.descending) if len(ranges) == 1 else 0
        return {"total_rows": total, "offset": min(before + options.skip, total), "rows": rows}

    async def _plain(self, source: RowSource, ranges: list[Range], options: ViewOptions) -> list[ViewRow]:
        rows: list[ViewRow] = []
        skip, limit = options.skip, options.limit
        for part in ranges:
            if part.empty:
                continue
            # Only with a single range is it known that what is skipped lies in it.
            skipped = skip if len(ranges) == 1 else 0
            async for page in source.pages(part, options.descending, skipped):
                found = page
                if len(ranges) > 1 and skip:
                    found, skip = page[skip:], max(0, skip - len(page))
                if limit is not None:
                    found = found[: limit - len(rows)]
                for row in found:
                    key, doc_id, value = decode_row(row)
                    rows.append({"id": doc_id, "key": key, "value": value})
                if limit is not None and len(rows) >= limit:
                    return rows
        return rows

    async def _reduced(
        self, source: RowSource, ranges: list[Range], options: ViewOptions, make: MakeReducer
    ) -> list[ViewRow]:
        groups = _Groups(options, make)
        for part in ranges:
            if part.empty:
                continue
            if isinstance(make(), BuiltIn):
                async for found in source.groups(part, options.descending):
                    await groups.take_grouped(found)
                    if groups.full:
                        return groups.rows
                await groups.close()
                continue
            async for page in source.pages(part, options.descending):
                await groups.take(page)
                if groups.full:
                    return groups.rows
            # Every key that was asked for is a group of its own, also when it comes twice.
            await groups.close()
        return groups.rows

    async def _with_docs(self, rows: list[ViewRow], options: ViewOptions) -> list[ViewRow]:
        """The rows with their documents, or those that their values link to by ``_id`` (and ``_rev``)."""
        wanted: dict[str, Document | None] = {}
        links = [_link(row) for row in rows]
        plain = list(dict.fromkeys(doc_id for doc_id, rev in links if rev is None))
        for at in range(0, len(plain), PAGE):
            listing = self._documents.all_docs(
                keys=plain[at : at + PAGE],
                include_docs=True,
                conflicts=options.conflicts,
                attachments=options.attachments,
            )
            async for found in listing:
                wanted[found["key"]] = found.get("doc")
        result: list[ViewRow] = []
        for row, (doc_id, rev) in zip(rows, links, strict=True):
            doc = wanted.get(doc_id) if rev is None else await self._revision(doc_id, rev, options)
            result.append({**row, "doc": doc})
        return result

    async def _revision(self, doc_id: str, rev: str, options: ViewOptions) -> Document | None:
        try:
            return await self._documents.get(
                doc_id, rev=rev, conflicts=options.conflicts, attachments=options.attachments
            )
        except (NotFound, BadRequest):
            return None


def _encoded(rows: list[tuple[Any, Any]] | PeerPouchError) -> Rows:
    """A document that the function fails on, or that it emits what is no key for, has no rows, as in CouchDB."""
    try:
        return [] if isinstance(rows, PeerPouchError) else encode_rows(rows)
    except InvalidDocument:
        return []


def _link(row: ViewRow) -> tuple[str, str | None]:
    value = row["value"]
    if type(value) is dict and type(value.get("_id")) is str:
        rev = value.get("_rev")
        return value["_id"], rev if type(rev) is str else None
    return row["id"], None


class _Groups:
    """Reduces rows that come in order, group by group."""

    def __init__(self, options: ViewOptions, make: MakeReducer) -> None:
        self._options = options
        self._make = make
        self._skip = options.skip
        self._reducer: Reducer | None = None
        self._group: bytes | None = None
        self._key: Any = None
        self.rows: list[ViewRow] = []

    @property
    def full(self) -> bool:
        limit = self._options.limit
        return limit is not None and len(self.rows) >= limit

    async def take(self, page: list[IndexRow]) -> None:
        pending: list[Emitted] = []
        for row in page:
            emitted = decode_row(row)
            group, key = group_of(self._options, row.key, emitted.key)
            if self._reducer is None or group != self._group:
                await self._flush(pending)
                pending = []
                await self.close()
                if self.full:
                    return
                self._reducer, self._group, self._key = self._make(), group, key
            pending.append(emitted)
        await self._flush(pending)

    async def take_grouped(self, page: list[IndexGroup]) -> None:
        """Take rows for a built-in reduction, which needs their keys and values only."""
        for encoded, values in page:
            group, key = group_of(self._options, encoded, values[0][0])
            if self._reducer is None or group != self._group:
                await self.close()
                if self.full:
                    return
                self._reducer, self._group, self._key = self._make(), group, key
            assert isinstance(self._reducer, BuiltIn)
            self._reducer.take(values)

    async def _flush(self, pending: list[Emitted]) -> None:
        if pending and self._reducer is not None:
            await self._reducer.add(pending)

    async def close(self) -> None:
        """End the group at hand."""
        reducer, self._reducer = self._reducer, None
        if reducer is None or self.full:
            return
        if self._skip:
            self._skip -= 1
            return
        self.rows.append({"key": self._key, "value": await reducer.result()})
