"""What ``find`` and ``explain`` are asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peerpouch.core.fields import Projection, Sort, compile_fields, parse_sort
from peerpouch.core.mango import Node, parse_selector
from peerpouch.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Query:
    """A question. The attributes are the arguments, and what became of them: ``node`` is the selector in normal form,
    ``project`` makes a document of ``fields`` only."""

    selector: Mapping[str, Any]
    node: Node
    fields: Sequence[str] | None
    project: Projection | None
    sort: Sort
    limit: int | None
    skip: int
    use_index: str | Sequence[str] | None
    conflicts: bool


def parse_query(
    selector: Mapping[str, Any],
    fields: Sequence[str] | None,
    sort: Sequence[str | Mapping[str, str]] | None,
    limit: int | None,
    skip: int,
    use_index: str | Sequence[str] | None,
    conflicts: bool,
) -> Query:
    """Check the arguments of a query.

    Raises:
        BadRequest, InvalidSelector
    """
    for name, number in (("limit", limit), ("skip", skip)):
        if number is not None and (type(number) is not int or number < 0):
            raise BadRequest(f"{name} is {number!r}; it must be an integer, zero or more.")
    return Query(
        selector,
        parse_selector(selector),
        fields,
        compile_fields(fields),
        parse_sort(sort),
        limit,
        skip,
        use_index or None,
        bool(conflicts),
    )
