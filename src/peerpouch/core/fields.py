"""Paths into documents, the ``fields`` of a result, and sort specifications, as Mango writes them.

A path is field names joined by dots. A backslash makes a dot, a backslash or a dollar sign part of a name. In an array
a name of digits is an index, from 0. (CouchDB documentation, "/db/_find", "Subfields" and "Sort Syntax";
``mango_util.erl``, ``parse_field``; ``mango_doc.erl``, ``get_field``.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from peerpouch.errors import BadRequest, InvalidSelector

Path = tuple[str, ...]

MAX_PATH: Final = 500
"""Names in one path: documents nest no deeper."""


class Absent(Enum):
    """Why a path leads nowhere."""

    MISSING = "an object on the way has no field of that name"
    BAD_PATH = "what is on the way is no object, or an array without that index"


MISSING: Final = Absent.MISSING
BAD_PATH: Final = Absent.BAD_PATH


def parse_path(field: str) -> Path:
    """The names in a path.

    Raises:
        InvalidSelector: for an empty name, or a path that is too long.
    """
    if "\\" not in field:
        path = tuple(field.split("."))
    else:
        path = _parse_escaped(field)
    if "" in path:
        raise InvalidSelector(f"The field name {field!r} has an empty part.")
    if len(path) > MAX_PATH:
        raise InvalidSelector(f"The field name {field[:80]!r}… has more than {MAX_PATH} parts.")
    return path


def _parse_escaped(field: str) -> Path:
    names: list[str] = []
    name = ""
    at = 0
    while at < len(field):
        char = field[at]
        if char == "\\" and field[at + 1 : at + 2] in (".", "\\", "$"):
            at += 1
            name += field[at]
        elif char == ".":
            names.append(name)
            name = ""
        else:
            name += char
        at += 1
    return (*names, name)


def format_path(path: Path) -> str:
    """The inverse of :func:`parse_path`."""
    names = (name.replace("\\", "\\\\").replace(".", "\\.") for name in path)
    text = ".".join(names)
    return "\\" + text if text.startswith("$") else text


def get_field(value: Any, path: Path) -> Any:
    """What is at a path, or :data:`MISSING` or :data:`BAD_PATH`."""
    for name in path:
        kind = type(value)
        if kind is dict:
            if name not in value:
                return MISSING
            value = value[name]
        elif kind is list or kind is tuple:
            # No array has more than ten million million elements; int() of a very long text is slow.
            index = int(name) if name.isascii() and name.isdigit() and len(name) < 14 else -1
            if not 0 <= index < len(value):
                return BAD_PATH
            value = value[index]
        else:
            return BAD_PATH
    return value


def is_array(value: Any) -> bool:
    """Whether this is a sequence that JSON would write as an array."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


Projection = Callable[[dict[str, Any]], dict[str, Any]]


def compile_fields(fields: Sequence[str] | None) -> Projection | None:
    """A function that keeps only these fields of a document, nested as they were; ``None`` when all are kept.

    Raises:
        BadRequest: when it is not a list of strings.
    """
    if fields is None:
        return None
    if not is_array(fields) or not all(type(field) is str for field in fields):
        raise BadRequest("Fields must be an array of strings.")
    if not fields:
        return None
    paths = [parse_path(field) for field in dict.fromkeys(fields)]
    if all(len(path) == 1 for path in paths):
        names = [path[0] for path in paths]
        return lambda doc: {name: doc[name] for name in names if name in doc}
    return lambda doc: _project(doc, paths)


def _project(doc: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    # Objects made here; what a shorter path copied whole is the document's own, and has all that a longer one adds.
    own = {id(result)}
    for path in paths:
        value = get_field(doc, path)
        if isinstance(value, Absent):
            continue
        target = result
        for name in path[:-1]:
            child = target.get(name)
            if child is None or name not in target:
                child = target[name] = {}
                own.add(id(child))
            elif id(child) not in own:
                break
            target = child
        else:
            target[path[-1]] = value
    return result


class SortField(NamedTuple):
    """One part of a sort: a path, and how it is written."""

    path: Path
    field: str


class Sort(NamedTuple):
    """A parsed sort: its fields in order, all in one direction."""

    fields: tuple[SortField, ...]
    descending: bool

    def as_json(self) -> list[dict[str, str]]:
        """As CouchDB writes it: ``[{"field": "asc"}, …]``."""
        direction = "desc" if self.descending else "asc"
        return [{part.field: direction} for part in self.fields]


def parse_sort(spec: Sequence[str | Mapping[str, str]] | None) -> Sort:
    """The fields of a sort, or of an index.

    Raises:
        BadRequest: for anything but a list of names and ``{name: "asc" | "desc"}``, or for mixed directions.
    """
    if spec is None:
        return Sort((), False)
    if not is_array(spec):
        raise BadRequest("Sort must be an array of sort specs.")
    fields: list[SortField] = []
    directions: set[str] = set()
    for part in spec:
        if isinstance(part, Mapping):
            if len(part) != 1:
                raise BadRequest(f"Invalid sort field: {part!r}; each has one name and one direction.")
            ((name, direction),) = part.items()
        else:
            name, direction = part, "asc"
        if type(name) is not str:
            raise BadRequest(f"Invalid sort field: {part!r}; names are strings.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {direction!r}; it is asc or desc.")
        fields.append(SortField(parse_path(name), name))
        directions.add(direction)
    if len(directions) > 1:
        raise BadRequest("Sorts currently only support a single direction for all fields.")
    return Sort(tuple(fields), "desc" in directions)
