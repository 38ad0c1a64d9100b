from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peerpouch.core import jsonio, revisions
from peerpouch.errors import BadRequest

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "revisions.json").read_bytes())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_hold(vector: dict[str, Any]) -> None:
    body = jsonio.canonical(vector["body"])
    assert body.decode() == vector["canonical"]
    made = revisions.new_revision(vector["parent"], vector["deleted"], body, vector.get("attachments"))
    assert made == vector["revision"]


def test_everything_that_counts_changes_the_id() -> None:
    attachment = {"a": {"content_type": "text/plain", "digest": "md5-AA=="}}
    body = jsonio.canonical({"n": 1})
    made = [
        revisions.new_revision(None, False, body),
        revisions.new_revision(None, True, body),
        revisions.new_revision("1-a", False, body),
        revisions.new_revision("1-b", False, body),
        revisions.new_revision(None, False, jsonio.canonical({"n": 2})),
        revisions.new_revision(None, False, jsonio.canonical({"n": "1"})),
        revisions.new_revision(None, False, body, attachment),
        revisions.new_revision(None, False, body, {"b": attachment["a"]}),
        revisions.new_revision(None, False, body, {"a": attachment["a"] | {"digest": "md5-BB=="}}),
        revisions.new_revision(None, False, body, {"a": attachment["a"] | {"content_type": "text/html"}}),
    ]
    assert len(set(made)) == len(made)


def test_what_does_not_count_leaves_the_id() -> None:
    one = {"a": {"content_type": "t", "digest": "d"}, "b": {"content_type": "t", "digest": "e"}}
    other: dict[str, dict[str, Any]] = {
        "b": {"content_type": "t", "digest": "e", "revpos": 7, "stub": True},
        "a": {"content_type": "t", "digest": "d"},
    }
    assert revisions.new_revision(None, False, b"{}", one) == revisions.new_revision(None, False, b"{}", other)
    assert jsonio.canonical({"x": 1, "y": [1e0]}) == jsonio.canonical({"y": [1], "x": 1.0})


@pytest.mark.parametrize("text", ["1-a", "12-967a00dff5e02add41819138abb3284d", "9007199254740991-x.y~z"])
def test_a_revision_id_is_read_and_written(text: str) -> None:
    assert revisions.format(revisions.parse(text)) == text
    assert revisions.generation(text) == revisions.parse(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "-a",
        "0-a",
        "01-a",
        "1-",
        "1-a,b",
        '1-"',
        "1-a b",
        "1-é",
        "9007199254740992-a",
        "1-" + "a" * 256,
        None,
        1,
    ],
)
def test_what_is_no_revision_id_is_refused(text: Any) -> None:
    with pytest.raises(BadRequest):
        revisions.parse(text)


def test_a_history_is_read_and_written() -> None:
    history = {"start": 7, "ids": ["c", "b", "a"]}
    assert revisions.parse_history(history) == [(7, "c"), (6, "b"), (5, "a")]
    assert revisions.format_history(revisions.parse_history(history)) == history


@pytest.mark.parametrize(
    "history",
    [None, [], {"start": 1}, {"start": 1, "ids": []}, {"start": 1, "ids": ["a", "b"]}, {"start": True, "ids": ["a"]}],
)
def test_a_malformed_history_is_refused(history: Any) -> None:
    with pytest.raises(BadRequest):
        revisions.parse_history(history)


def test_what_is_said_to_be_plain_is_parsed() -> None:
    good = ["1-a", "12-" + "f" * 32, "999999999999999-!~"]
    assert revisions.are_plain(good)
    assert revisions.are_plain([])
    bad: list[Any] = ["", "1", "0-a", "1-", "01-a", "1-a b", '1-a"', "1-a\\", "1-a,b", "1-a\n1-b", "1-a\n", 1, None]
    bad += ["9" * 17 + "-a", "1-" + "a" * 256]
    for each in bad:
        assert not revisions.are_plain([*good, each]), each
        assert not revisions.are_plain([each, *good]), each
