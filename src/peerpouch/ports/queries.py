"""The ports Queries, IndexStore and FunctionRunner; and Database, which is documents and queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from peerpouch.errors import PeerPouchError
from peerpouch.ports.documents import Documents
from peerpouch.ports.values import AttachmentMode, Document, Seq


class FindResult(TypedDict):
    docs: list[Document]
    bookmark: str
    warning: NotRequired[str]
    execution_stats: NotRequired[dict[str, Any]]


class ViewRow(TypedDict):
    key: Any
    value: Any
    id: NotRequired[str]
    doc: NotRequired[Document | None]


class ViewResult(TypedDict):
    rows: list[ViewRow]
    total_rows: NotRequired[int]
    offset: NotRequired[int]
    update_seq: NotRequired[Seq]


MapFunction = Callable[[Document, Callable[[Any, Any], None]], None]
"""``map(doc, emit)``: calls ``emit(key, value)`` for each row. Never taken from a document or a peer."""

ReduceFunction = Callable[[list[Any], list[Any], bool], Any]
"""``reduce(keys, values, rereduce)``, as CouchDB's."""


class Updated(NamedTuple):
    """What an update function gave.

    Attributes:
        doc: The document to be written, if any.
        response: The answer to whoever asked: a text, or an object with ``body``, ``base64`` or ``json``, ``code`` and
            ``headers``.
    """

    doc: Document | None
    response: str | dict[str, Any]


class Queries(ABC):
    """Mango queries and map/reduce views."""

    @abstractmethod
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
        """Documents that match a Mango selector; without a ``limit``, all of them.

        Args:
            conflicts: Documents in conflict have ``_conflicts``, which the selector may ask for.
        """

    @abstractmethod
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
        """Which index ``find`` would use, and why not the others. ``index`` is ``None`` where none has the order."""

    @abstractmethod
    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        """Make a json index. Gives ``{"result": "created" | "exists", "id": …, "name": …}``."""

    @abstractmethod
    async def get_indexes(self) -> Document: ...

    @abstractmethod
    async def delete_index(self, ddoc: str, name: str) -> None: ...

    @abstractmethod
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
        """Rows of a stored view (``"ddoc/view"``) or of a Python map function. ``...`` means not given."""

    @abstractmethod
    async def run_update(self, function: str, doc: Document | None, request: Mapping[str, Any]) -> Updated:
        """Call an update function of a design document, ``"ddoc/function"``. Nothing is written: that is the caller's.

        Args:
            doc: The document that it is asked about, if there is one.
            request: What it is told of the request.

        Raises:
            NotFound: there is no such function.
            NotSupported: no functions can be run here.
            Forbidden, Unauthorized: it says so.
        """

    @abstractmethod
    async def view_cleanup(self) -> None: ...


class Database(Documents, Queries):
    """What a user holds: documents and queries, wherever they are."""


class IndexPosition(NamedTuple):
    """A place in the order of an index's rows: by key, then by document id, both as bytes, then by ordinal.

    ``IndexPosition(key)`` is before all rows of that key.
    """

    key: bytes
    doc_id: str = ""
    ordinal: int = 0


class IndexRow(NamedTuple):
    """One row of a stored index. ``value`` is what the index's owner made of it; ``ordinal`` tells the rows of one
    document under one key apart."""

    key: bytes
    doc_id: str
    ordinal: int
    value: bytes | None

    @property
    def position(self) -> IndexPosition:
        return IndexPosition(self.key, self.doc_id, self.ordinal)


class IndexGroup(NamedTuple):
    """Rows of one key that follow each other. ``values`` are what the JSON in them stands for, in their order."""

    key: bytes
    values: list[Any]


class IndexState(NamedTuple):
    """Up to which sequence an index holds the documents, and how many rows it has."""

    seq: Seq
    rows: int


class ScanPage(NamedTuple):
    """Documents of a scan, in the order of their ids.

    Attributes:
        docs: Those that may match.
        after: The last id that was looked at; ``None`` when there was nothing left.
        examined: How many documents were looked at.
    """

    docs: list[Document]
    after: str | None
    examined: int


class IndexStore(ABC):
    """Sorted rows beside the documents, in the same file, for ``query`` to build indexes in.

    When documents are purged, so are their rows.
    """

    @abstractmethod
    async def newest_seq(self) -> Seq:
        """The sequence of the newest change. Asked before every query, so it costs next to nothing."""

    @abstractmethod
    async def index_state(self, index: str) -> IndexState | None:
        """How far an index is; ``None`` when there is none of this name. Costs next to nothing, too."""

    @abstractmethod
    async def update_index(
        self,
        index: str,
        rows: Mapping[str, Sequence[tuple[bytes, bytes | None]]],
        *,
        since: Seq | None,
        upto: Seq,
    ) -> bool:
        """Replace all rows of the documents named by these keys and values, and record ``upto``, in one transaction.

        Args:
            since: The sequence from which the caller read the changes. When the index is not there any more, because
                another process was faster or the index was dropped, nothing is written. ``None`` makes the index.

        Returns:
            Whether it was written.
        """

    @abstractmethod
    async def read_index(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[IndexRow]:
        """Rows from ``start`` up to (not including) ``end``, whichever the direction; no transaction outlives the call.

        Raises:
            NotFound: when there is no such index (any more).
        """

    @abstractmethod
    async def read_index_groups(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        limit: int = 1000,
    ) -> tuple[list[IndexGroup], IndexPosition | None] | None:
        """The rows that :meth:`read_index` would give, by keys, and the last one's position when there may be more.

        ``None`` where they are too large to be held together, or a value is not JSON: read them row by row.

        Raises:
            NotFound: when there is no such index (any more).
        """

    @abstractmethod
    async def read_index_docs(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        limit: int = 1000,
        conflicts: bool = False,
    ) -> list[tuple[IndexRow, Document | None]] | None:
        """Rows without their values, each with its document, ``None`` for one that is gone or deleted.

        ``None`` instead of a list where the documents are too large to be held together: read them one by one.

        Raises:
            NotFound: when there is no such index (any more).
        """

    @abstractmethod
    async def scan_docs(
        self,
        selector: Mapping[str, Any],
        *,
        after: str | None,
        startkey: str | None = None,
        endkey: str | None = None,
        descending: bool = False,
        limit: int = 1000,
        conflicts: bool = False,
    ) -> ScanPage | None:
        """Look at the next ``limit`` documents behind the id ``after``, or from ``startkey`` on, up to ``endkey`` (both
        inclusive), and give those that may match a selector: some of them may not. Design documents are left out.

        ``None`` where the documents are too large to be held together: read them by ``all_docs``.
        """

    @abstractmethod
    async def count_index(
        self, index: str, *, start: IndexPosition | None = None, end: IndexPosition | None = None
    ) -> int:
        """How many rows there are from ``start`` up to (not including) ``end``."""

    @abstractmethod
    async def index_rows_of(self, index: str, doc_ids: Sequence[str]) -> dict[str, list[tuple[bytes, bytes | None]]]:
        """The keys and values of these documents' rows, in the order of keys. Who has none is absent.

        Raises:
            NotFound: when there is no such index (any more).
        """

    @abstractmethod
    async def drop_index(self, index: str) -> None:
        """Remove an index with its rows, in short transactions. No error if there is none."""

    @abstractmethod
    async def index_names(self) -> list[str]: ...


class FunctionRunner(ABC):
    """Runs functions of design documents, away from this process's memory, with limits of time and space.

    ``modules`` is the JSON text of the object in which a function's ``require`` looks for CommonJS modules, and which
    is its ``this``; without one there is no ``require``.
    """

    @abstractmethod
    async def map(
        self, source: str, docs: Sequence[Document], *, modules: str = ""
    ) -> list[list[tuple[Any, Any]] | PeerPouchError]:
        """For each document the rows that the map function emitted, or the error that it raised."""

    @abstractmethod
    async def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        """Call one function with JSON arguments."""

    @abstractmethod
    async def call_each(
        self, source: str, calls: Sequence[Sequence[Any]], *, modules: str = ""
    ) -> list[Any | PeerPouchError]:
        """Call one function several times: for each list of arguments the result, or the error that it raised."""

    @abstractmethod
    async def close(self) -> None: ...


class BlockingRunner(ABC):
    """The same for a thread that has to wait: the writer's, where guards run."""

    @abstractmethod
    def prepare(self) -> None:
        """Get ready, so that the first call does not wait for it; for a thread that may wait.

        Raises:
            NotSupported: no functions can be run here.
        """

    @abstractmethod
    def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        """Call one function with JSON arguments; raises what it threw, or that it ran into a limit."""

    @abstractmethod
    def close(self) -> None: ...
