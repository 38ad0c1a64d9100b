"""Queries from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peerpouch.cli import find, query
from peerpouch.cli.running import EXIT_FAILURE, EXIT_USAGE
from tests.cli.test_databases import Shell, shell, typed

__all__ = ["shell"]

MAP = "function (doc) { (doc.tags || []).forEach(function (t) { emit([t, doc.n], doc.n); }); }"
DOCS: list[dict[str, Any]] = [
    {"_id": f"d{n}", "n": n, "tags": ["x", "y", "y"] if n % 2 else ["x"], "_rev": "1-a"} for n in range(7)
]
DESIGN = {"_id": "_design/d", "_rev": "1-a", "views": {"tags": {"map": MAP, "reduce": "_sum"}}}


@pytest.fixture
def birds(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell where there is a database n.db, and pages are short."""
    (tmp_path / "docs.jsonl").write_text("".join(f"{json.dumps(doc)}\n" for doc in [*DOCS, DESIGN]), "utf-8")
    shell("import", "n.db", "docs.jsonl")
    monkeypatch.setattr(find, "PAGE", 2)
    monkeypatch.setattr(query, "PAGE", 2)
    return shell


def asked(**parts: Any) -> str:
    return json.dumps(parts)


def ids(lines: list[Any]) -> list[str]:
    return [each["_id"] for each in lines]


def test_documents_are_found_page_by_page_with_a_warning(birds: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    selector = {"n": {"$gt": 1}}
    assert ids(birds.lines("find", "n.db", asked(selector=selector))) == ["d2", "d3", "d4", "d5", "d6"]
    assert birds.err.startswith("peerpouch: No matching index found")
    assert birds.err.count("\n") == 1
    assert birds.lines("find", "n.db", asked(selector=selector, fields=["n"], skip=1, limit=3)) == [
        {"n": 3},
        {"n": 4},
        {"n": 5},
    ]
    typed(asked(selector={"_id": "d4"}), monkeypatch)
    assert ids(birds.lines("find", "n.db")) == ["d4"]
    assert birds("find", "n.db", asked(selector={"n": 99})) == ""


def test_documents_in_conflict_are_found(birds: Shell, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"_id": "d4", "_rev": "1-0"}\n', "utf-8")
    birds("import", "n.db", "more.jsonl")
    (found,) = birds.lines("find", "n.db", asked(selector={"_conflicts": {"$exists": True}}, conflicts=True))
    assert (found["_id"], found["_conflicts"]) == ("d4", ["1-0"])


def test_indexes_are_made_used_listed_and_deleted(birds: Shell) -> None:
    assert birds.json("index", "create", "n.db", "n", "--name", "by-n", "--ddoc", "i") == {
        "result": "created",
        "id": "_design/i",
        "name": "by-n",
    }
    sort = [{"n": "desc"}]
    assert ids(birds.lines("find", "n.db", asked(selector={"n": {"$lt": 5}}, sort=sort))) == [
        "d4",
        "d3",
        "d2",
        "d1",
        "d0",
    ]
    assert birds.err == ""
    plan = json.loads(birds("find", "n.db", asked(selector={"n": 1}), "--explain"))
    assert plan["index"]["name"] == "by-n"
    assert [each["name"] for each in birds.json("index", "list", "n.db")["indexes"]] == ["_all_docs", "by-n"]
    assert "by-n" in birds("index", "list", "n.db")
    birds("index", "create", "n.db", "n", "_id", "--name", "by-n", "--ddoc", "j", "--partial", '{"n": {"$gt": 3}}')
    assert "of some documents" in birds("index", "list", "n.db")
    birds("index", "delete", "n.db", "by-n", code=EXIT_FAILURE)
    assert "--ddoc: _design/i, _design/j" in birds.err
    birds("index", "delete", "n.db", "by-n", "--ddoc", "j")
    assert birds.json("index", "delete", "n.db", "by-n") == {"ok": True, "name": "by-n", "ddoc": "_design/i"}
    birds("index", "delete", "n.db", "by-n", code=EXIT_FAILURE)
    birds("find", "n.db", asked(selector={"n": {"$gt": 0}}, sort=["n"]), "--json", code=EXIT_FAILURE)
    assert json.loads(birds.err)["error"] == "no_usable_index"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"selector": {}, "filter": 1}', '{"selector": {}, "limit": "x"}'])
def test_a_malformed_query_is_wrong_usage(birds: Shell, text: str) -> None:
    birds("find", "n.db", text, code=EXIT_USAGE)


def rows(birds: Shell, *arguments: str) -> list[Any]:
    found = birds.lines("query", "n.db", "d/tags", "--no-reduce", "--json", *arguments)
    return [(row["key"], row["id"]) for row in found]


def test_rows_of_a_view_are_shown_page_by_page(birds: Shell) -> None:
    pytest.importorskip("quickjs")
    every = [
        ([t, n], f"d{n}") for t in "xy" for n in range(7) for _ in range(2 if t == "y" else 1) if t == "x" or n % 2
    ]
    assert rows(birds) == every
    assert rows(birds, "--descending") == every[::-1]
    assert rows(birds, "--skip", "5", "--limit", "5") == every[5:10]
    assert rows(birds, "--key", '["y", 3]') == [(["y", 3], "d3")] * 2
    assert rows(birds, "--start", '["x", 5]', "--end", '["y", 3]', "--exclusive-end") == every[5:9]
    assert rows(birds, "--keys", '[["x", 4], ["x", 1]]') == [(["x", 4], "d4"), (["x", 1], "d1")]
    assert birds("query", "n.db", "d/tags", "--no-reduce", "--limit", "1") == '["x", 0]\td0\t0\n'
    assert birds.lines("query", "n.db", "d/tags", "--no-reduce", "--limit", "1", "--docs", "--json")[0]["doc"]["n"] == 0


def test_rows_of_a_view_are_reduced(birds: Shell) -> None:
    pytest.importorskip("quickjs")
    assert birds("query", "n.db", "d/tags") == "null\t39\n"
    assert birds("query", "n.db", "d/tags", "--group-level", "1") == '["x"]\t21\n["y"]\t18\n'
    assert len(birds.lines("query", "n.db", "d/tags", "--group", "--json")) == 10
    birds("query", "n.db", "d/nothing", code=EXIT_FAILURE)
    birds("query", "n.db", "d/tags", "--no-reduce", "--group", "--json", code=EXIT_FAILURE)
    assert json.loads(birds.err)["error"] == "query_parse_error"


def test_many_rows_of_one_key_and_document_are_shown_once_each(birds: Shell) -> None:
    pytest.importorskip("quickjs")
    birds("put", "n.db", json.dumps({"_id": "m", "n": 9, "tags": ["z"] * 7}))
    assert rows(birds, "--start", '["z"]') == [(["z", 9], "m")] * 7
    assert rows(birds, "--key", '["z", 9]', "--skip", "2") == [(["z", 9], "m")] * 5
