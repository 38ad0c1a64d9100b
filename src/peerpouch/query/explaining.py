"""What ``explain`` tells of a query, in CouchDB's form: the index, the range of it that is read, and what became of the
other indexes. (CouchDB documentation, "/db/_explain"; ``mango_cursor.erl``, ``explain``.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peerpouch.core.mango import compared_fields, format_selector
from peerpouch.ports import Document
from peerpouch.query.definitions import MangoIndex
from peerpouch.query.planner import Plan, Ranking
from peerpouch.query.questions import Query


def explanation(dbname: str, query: Query, ranking: Ranking) -> Document:
    """The answer of ``explain``. Where no index serves, ``index`` is ``None``."""
    fields: Any = "all_fields" if query.project is None else list(query.fields or ())
    use_index = [query.use_index] if isinstance(query.use_index, str) else list(query.use_index or ())
    plan = ranking.plans[0] if ranking.plans else None
    indexable, others = compared_fields(query.node)
    result: Document = {
        "dbname": dbname,
        "index": None if plan is None else plan.index.as_json(),
        "partitioned": False,
        "selector": format_selector(query.node),
        "opts": {
            "use_index": use_index,
            "bookmark": "nil",
            "limit": query.limit,
            "skip": query.skip,
            "sort": {name: way for part in query.sort.as_json() for name, way in part.items()},
            "fields": [] if query.project is None else fields,
            "partition": "",
            "r": 1,
            "conflicts": query.conflicts,
            "stale": False,
            "update": True,
            "stable": False,
            "execution_stats": False,
        },
        "limit": query.limit,
        "skip": query.skip,
        "fields": fields,
        # Documents are always read: an index does not keep numbers as they were written.
        "covering": False,
        "index_candidates": _candidates(ranking),
        "selector_hints": [
            {"type": "json", "indexable_fields": sorted(indexable), "unindexable_fields": sorted(others)}
        ],
    }
    if plan is not None:
        result["mrargs"] = _arguments(query, plan)
        if ranking.warning is not None:
            result["warning"] = ranking.warning
    return result


def _arguments(query: Query, plan: Plan) -> Document:
    low, high = _range(plan)
    return {
        "include_docs": True,
        "view_type": "map",
        "reduce": False,
        "partition": None,
        "start_key": high if plan.descending else low,
        "end_key": low if plan.descending else high,
        "direction": "rev" if plan.descending else "fwd",
        "stable": False,
        "update": True,
        "conflicts": query.conflicts or None,
    }


def _range(plan: Plan) -> tuple[Any, Any]:
    if plan.empty:
        return None, None
    if plan.index.primary:
        return (plan.low[0] if plan.low else None), (plan.high[0] if plan.high else "<MAX>")
    return plan.low, [*plan.high, "<MAX>"]


def _candidates(ranking: Ranking) -> list[Document]:
    """All indexes but the one that is used, each with why it is not."""
    found: list[tuple[MangoIndex, bool, str, int]] = []
    for place, plan in enumerate(ranking.plans[1:], 1):
        found.append((plan.index, True, _reason(ranking.plans[0], plan), place))
    place = len(ranking.plans)
    groups: Sequence[tuple[Sequence[MangoIndex], bool, str]] = (
        (ranking.excluded, True, "excluded_by_user"),
        (ranking.unordered, False, "sort_order_mismatch"),
        (ranking.mismatched, False, "field_mismatch"),
        (ranking.partial, False, "is_partial"),
    )
    for indexes, usable, reason in groups:
        found += [(index, usable, reason, place) for index in indexes]
        place += bool(indexes)
    found.sort(key=lambda item: (item[0].ddoc or "", item[0].name), reverse=True)
    return [
        {
            "index": index.as_json(),
            "analysis": {
                "usable": usable,
                "reasons": [{"name": reason}],
                "ranking": place,
                "covering": None if index.primary else False,
            },
        }
        for index, usable, reason, place in found
    ]


def _reason(winner: Plan, other: Plan) -> str:
    if other.index.primary:
        return "unfavored_type"
    if winner.index.primary or other.selectivity != winner.selectivity:
        return "less_overlap"
    if len(other.index.columns) > len(winner.index.columns):
        return "too_many_fields"
    return "alphabetically_comes_after"
