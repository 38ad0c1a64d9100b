"""Mango indexes as design documents, in the shape that CouchDB and pouchdb-find write and read.

``{"language": "query", "views": {name: {"map": {"fields": {"a": "asc"}, "partial_filter_selector": {…}},
"reduce": "_count", "options": {"def": {"fields": ["a"]}}}}}``. (``mango_idx_view.erl``, ``make_view``; pouchdb-find,
``create-index``.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.core.collation import encode_columns, encode_key, encode_raw
from peerpouch.core.fields import Absent, Path, Sort, get_field, parse_sort
from peerpouch.core.mango import EVERYTHING, Node, parse_selector
from peerpouch.core.selector import compile_selector
from peerpouch.errors import BadRequest, InvalidSelector, PeerPouchError
from peerpouch.ports import Document

DESIGN: Final = "_design/"
LANGUAGE: Final = "query"
ID_PATH: Final[Path] = ("_id",)

# Rows of an encoding or meaning other than this one's must not be mixed with its own: raise it when either changes.
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class MangoIndex:
    """One json index.

    Attributes:
        ddoc: The design document's id; ``None`` for the index that every database has: by ``_id``.
        name: The view's name.
        sort: Its columns.
        partial: The selector of the documents that are in it, as JSON, or ``None``.
        condition: ``partial``, parsed.
    """

    ddoc: str | None
    name: str
    sort: Sort
    partial: dict[str, Any] | None = None
    condition: Node = EVERYTHING

    @property
    def columns(self) -> tuple[Path, ...]:
        return tuple(part.path for part in self.sort.fields)

    @property
    def primary(self) -> bool:
        return self.ddoc is None

    @property
    def store_name(self) -> str:
        """Where its rows are kept; equal definitions share their rows, a changed one begins anew."""
        fields = [part.field for part in self.sort.fields]
        return f"mango/{_digest([_VERSION, fields, self.partial])}"

    def as_json(self) -> dict[str, Any]:
        """As ``get_indexes`` and ``explain`` show it."""
        definition: dict[str, Any] = {"fields": self.sort.as_json()}
        if self.partial is not None:
            definition["partial_filter_selector"] = self.partial
        kind = "special" if self.primary else "json"
        return {"ddoc": self.ddoc, "name": self.name, "type": kind, "partitioned": False, "def": definition}

    def as_view(self) -> dict[str, Any]:
        """As it stands in its design document."""
        directions = {name: direction for part in self.sort.as_json() for name, direction in part.items()}
        definition: dict[str, Any] = {"fields": [part.field for part in self.sort.fields]}
        mapping: dict[str, Any] = {"fields": directions}
        if self.partial is not None:
            definition["partial_filter_selector"] = mapping["partial_filter_selector"] = self.partial
        return {"map": mapping, "reduce": "_count", "options": {"def": definition}}

    def rows_of(self) -> Callable[[Document], list[tuple[bytes, bytes | None]]]:
        """A function from a document to its rows: one, or none if it lacks a column or the partial filter."""
        columns = self.columns
        accepts = compile_selector(self.condition) if self.partial is not None else None

        def rows(doc: Document) -> list[tuple[bytes, bytes | None]]:
            encoded: list[bytes] = []
            for path in columns:
                value = get_field(doc, path)
                if isinstance(value, Absent):
                    return []
                encoded.append(encode_column(path, value))
            if accepts is not None and not accepts(doc):
                return []
            return [(encode_columns(encoded), None)]

        return rows


PRIMARY: Final = MangoIndex(None, "_all_docs", parse_sort(["_id"]))


def encode_column(path: Path, value: Any) -> bytes:
    """A column's key. Document ids sort by their bytes, everything else by collation."""
    return encode_raw(value) if path == ID_PATH and type(value) is str else encode_key(value)


def new_index(
    fields: Sequence[str | Mapping[str, str]],
    name: str | None,
    ddoc: str | None,
    partial: Mapping[str, Any] | None,
) -> MangoIndex:
    """The index that ``create_index`` was asked for.

    Raises:
        BadRequest, InvalidSelector
    """
    sort = parse_sort(fields)
    if not sort.fields:
        raise BadRequest("An index needs at least one field.")
    if len({part.path for part in sort.fields}) < len(sort.fields):
        raise BadRequest("A field stands twice in the index.")
    for label, text in (("name", name), ("ddoc", ddoc)):
        if text is not None and (type(text) is not str or not text.removeprefix(DESIGN)):
            raise BadRequest(f"Invalid index {label}: {text!r}.")
    if partial is not None and not isinstance(partial, Mapping):
        raise InvalidSelector("partial_filter_selector must be a JSON object.")
    selector = dict(partial) if partial else None
    condition = parse_selector(selector) if selector else EVERYTHING
    title = f"idx-{_digest([sort.as_json(), selector])[:40]}"
    return MangoIndex(design_id(ddoc or title), name or title, sort, selector, condition)


def design_id(ddoc: str) -> str:
    """A design document's id, from its id or its name."""
    return ddoc if ddoc.startswith(DESIGN) else DESIGN + ddoc


def indexes_of(design_docs: Iterable[Document]) -> list[MangoIndex]:
    """The indexes in these design documents, by name; what can't be read may be another program's, and is not."""
    found: list[MangoIndex] = []
    for doc in design_docs:
        views = doc.get("views")
        if doc.get("language") != LANGUAGE or type(views) is not dict:
            continue
        for name, view in views.items():
            index = _read_view(doc["_id"], name, view)
            if index is not None:
                found.append(index)
    found.sort(key=lambda index: (index.name, index.ddoc or ""))
    return found


def _read_view(ddoc: str, name: str, view: Any) -> MangoIndex | None:
    mapping = view.get("map") if type(view) is dict else None
    if type(mapping) is not dict:
        return None
    fields = mapping.get("fields")
    if type(fields) not in (dict, list) or not fields:
        return None
    partial = mapping.get("partial_filter_selector") or None
    spec = [{field: direction} for field, direction in fields.items()] if type(fields) is dict else fields
    try:
        return MangoIndex(ddoc, name, parse_sort(spec), partial, parse_selector(partial) if partial else EVERYTHING)
    except PeerPouchError:
        return None


def _digest(definition: Any) -> str:
    return hashlib.sha256(jsonio.dumps(definition)).hexdigest()
