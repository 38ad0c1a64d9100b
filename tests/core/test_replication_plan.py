from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerpouch.core import replication_plan as plan
from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    DatabaseBusy,
    DiskFull,
    Forbidden,
    HubUnreachable,
    IdentityChanged,
    NotSupported,
    PeerPouchError,
    ProtocolError,
    SchemaTooNew,
    ShareNotFound,
    Unauthorized,
)


def select(**choice: Any) -> Any:
    given = {"doc_ids": None, "selector": None, "filter": None, "filter_code": None, "query": None, "design_docs": True}
    return plan.selection(**{**given, **choice})


# Identity.


def test_the_replication_id_depends_on_direction_and_on_every_part_of_the_selection() -> None:
    selections = [
        select(),
        select(design_docs=False),
        select(doc_ids=["a"]),
        select(doc_ids=["a", "b"]),
        select(selector={"a": 1}),
        select(selector={"a": 2}),
        select(filter="d/f"),
        select(filter="d/f", query={"x": "1"}),
        select(filter="d/f", filter_code="function () {}"),
        select(filter=lambda doc: True),
        select(filter=lambda doc: False),
    ]
    ids = {plan.replication_id(a, b, chosen) for chosen in selections for a, b in (("s", "t"), ("t", "s"))}
    assert len(ids) == 2 * len(selections)
    assert all(len(one) == 40 for one in ids)


def test_the_replication_id_is_stable() -> None:
    chosen = select(selector={"b": 1, "a": [1, {"z": None, "y": 2}]})
    assert plan.replication_id("source", "target", chosen) == "a9d2a19ecd56655c80e5920b6331d32e598013aa"


def test_the_order_of_ids_and_of_keys_does_not_count() -> None:
    assert select(doc_ids=["b", "a", "b"]) == select(doc_ids=("a", "b"))
    one, other = select(selector={"a": 1, "b": 2}), select(selector={"b": 2, "a": 1})
    assert plan.replication_id("s", "t", one) == plan.replication_id("s", "t", other)


def make_filter(limit: Any) -> Any:
    return lambda doc: doc["n"] > limit


def test_a_function_counts_by_its_code_and_by_what_it_closes_over() -> None:
    assert select(filter=make_filter(1)) == select(filter=make_filter(1))
    assert select(filter=make_filter(1)) != select(filter=make_filter(2))
    assert select(filter=lambda doc, n=1: doc["n"] > n) != select(filter=lambda doc, n=2: doc["n"] > n)
    assert select(filter=lambda doc: doc["type"] in {"a", "b"}) == select(filter=lambda doc: doc["type"] in {"b", "a"})


class Judge:
    def __call__(self, doc: Any) -> bool:
        return True

    def judge(self, doc: Any) -> bool:
        return True


@pytest.mark.parametrize("unknowable", [Judge(), Judge().judge, make_filter(object()), bool], ids=str)
def test_a_function_whose_meaning_can_not_be_told_has_no_identity(unknowable: Any) -> None:
    assert select(filter=unknowable) is None


# Checkpoints.


def extended(previous: plan.Checkpoint, *seqs: int, run: str = "run") -> plan.Checkpoint:
    for seq in seqs:
        previous = plan.extend(previous, plan.Run(run, "then", "0", {"docs_read": seq}), f"s{seq}", f"{seq}", "now")
    return previous


def stored(checkpoint: plan.Checkpoint, refused_by: str | None = None) -> dict[str, Any]:
    return plan.checkpoint_document("_local/x", checkpoint, refused_by)


def test_equal_documents_go_on_from_their_newest_entry() -> None:
    document = stored(extended(plan.Checkpoint(), 5, 9))
    found = plan.compare(document, document)
    assert found.seq == "9"
    assert [entry["recorded_seq"] for entry in found.history] == ["9", "5"]


def test_a_document_has_the_fields_of_couchdb_and_of_pouchdb() -> None:
    document = stored(extended(plan.Checkpoint(), 5))
    assert document["source_last_seq"] == document["last_seq"] == "5"
    assert document["session_id"] == document["history"][0]["session_id"] == "s5"
    entry = document["history"][0]
    assert {"start_time", "end_time", "start_last_seq", "end_last_seq", "recorded_seq", "docs_read"} <= set(entry)


@pytest.mark.parametrize("behind", ["source", "target"])
def test_a_checkpoint_that_reached_only_one_side_is_not_believed(behind: str) -> None:
    older, newer = stored(extended(plan.Checkpoint(), 5)), stored(extended(plan.Checkpoint(), 5, 9))
    assert plan.compare(*((older, newer) if behind == "source" else (newer, older))).seq == "5"


def test_histories_with_nothing_in_common_start_over() -> None:
    one, other = stored(extended(plan.Checkpoint(), 5)), stored(extended(plan.Checkpoint(), 6))
    assert plan.compare(one, other) == plan.Checkpoint()
    assert plan.compare(one, None) == plan.compare(None, one) == plan.compare(None, None) == plan.Checkpoint()


def test_the_same_session_with_another_sequence_is_not_common() -> None:
    one, other = stored(extended(plan.Checkpoint(), 5)), stored(extended(plan.Checkpoint(), 5))
    other["history"][0]["recorded_seq"] = "7"
    assert plan.compare(one, other).seq == "0"


def test_one_side_is_believed_alone_only_when_it_says_that_the_other_refused() -> None:
    checkpoint = extended(plan.Checkpoint(), 5)
    assert plan.compare(None, stored(checkpoint, "source")).seq == "5"
    assert plan.compare(stored(checkpoint, "target"), None).seq == "5"
    assert plan.compare(None, stored(checkpoint, "target")).seq == "0"
    assert plan.compare(stored(checkpoint, "source"), None).seq == "0"


def test_a_history_keeps_a_few_of_this_run_and_the_last_of_each_earlier_one() -> None:
    checkpoint = plan.Checkpoint()
    for run in range(100):
        checkpoint = extended(checkpoint, *range(run * 10, run * 10 + 10), run=f"r{run}")
    kept = [(entry["run"], int(entry["recorded_seq"])) for entry in checkpoint.history]
    assert len(kept) == plan.HISTORY
    assert [seq for run, seq in kept if run == "r99"] == [999, 998, 997, 996]
    earlier = [seq for run, seq in kept if run != "r99"]
    assert earlier == [run * 10 + 9 for run in range(98, 98 - len(earlier), -1)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_whichever_writes_are_lost_the_common_checkpoint_is_one_that_both_sides_stored(
    writes: list[tuple[bool, bool]],
) -> None:
    source: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    both = {"0"}
    for seq, (at_source, at_target) in enumerate(writes, 1):
        # As a replicator that is started anew each time, and whose writes may be lost.
        base = plan.compare(source, target)
        assert base.seq in both
        document = stored(extended(base, seq, run=f"r{seq}"))
        source = document if at_source else source
        target = document if at_target else target
        if at_source and at_target:
            both.add(str(seq))
    assert plan.compare(source, target).seq in both


@settings(deadline=None)
@given(st.recursive(st.none() | st.text(max_size=3) | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_a_malformed_history_has_no_entries_and_does_no_harm(garbage: Any) -> None:
    assert plan.entries({"history": garbage}) == []
    assert plan.compare({"history": garbage}, {"history": garbage}) == plan.Checkpoint()


def test_places_are_the_same_when_they_are_equal_or_their_numbers_are() -> None:
    assert plan.same_place("5-abc", "5-xyz") and plan.same_place("0", "0-abc") and plan.same_place("[1]", "[1]")
    assert not plan.same_place("5-abc", "6-abc") and not plan.same_place("[1]", "[2]")


@settings(deadline=None)
@given(st.permutations(list(range(12))))
def test_the_frontier_moves_over_a_prefix_only(order: list[int]) -> None:
    frontier = plan.Frontier("start")
    places = [frontier.begin(str(n)) for n in range(len(order))]
    done: set[int] = set()
    for n in order:
        before = frontier.seq
        moved = frontier.finish(places[n])
        done.add(n)
        prefix = next((i for i in range(len(order)) if i not in done), len(order))
        assert frontier.seq == ("start" if prefix == 0 else str(prefix - 1))
        assert moved == (frontier.seq != before)
    assert len(frontier) == 0


# What a source sends.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["id", "seq", "changes", "rev", "_id", "_rev", "_revisions", "start", "ids", "_attachments"])
SHAPED = st.recursive(
    JSON | st.sampled_from(["1-a", "d", {"rev": "1-a"}, [{"rev": "1-a"}]]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=10,
)


@settings(deadline=None)
@given(SHAPED)
def test_any_garbage_in_the_feed_is_a_change_or_a_protocol_error(garbage: Any) -> None:
    try:
        doc_id, revs, seq = plan.read_change(garbage)
    except ProtocolError:
        return
    assert type(doc_id) is str and doc_id and type(seq) is str
    assert revs and all(type(rev) is str for rev in revs)


@settings(deadline=None)
@given(SHAPED)
def test_any_garbage_for_a_document_is_a_protocol_error(garbage: Any) -> None:
    with pytest.raises(ProtocolError):
        plan.check_document(garbage, "expected", "1-expected")


def test_a_document_with_its_history_is_accepted() -> None:
    doc = {"_id": "d", "_rev": "3-c", "_revisions": {"start": 3, "ids": ["c", "b"]}}
    plan.check_document(doc, "d", "3-c")
    plan.check_document({**doc, "_attachments": {"a": {"length": 3, "digest": "md5-x", "stub": True}}}, "d", "3-c")


@pytest.mark.parametrize(
    "history",
    [
        {"start": 3, "ids": ["c", 7]},
        {"start": 3, "ids": ["c", None]},
        {"start": 3, "ids": ["c", "b", "a", "0"]},
        {"start": 3, "ids": ["x"]},
        {"start": 2, "ids": ["c"]},
        {"start": 3, "ids": "c"},
        {"start": 3, "ids": {"0": "c"}},
    ],
    ids=repr,
)
def test_a_document_with_an_impossible_history_is_refused(history: Any) -> None:
    with pytest.raises(ProtocolError):
        plan.check_document({"_id": "d", "_rev": "3-c", "_revisions": history}, "d", "3-c")


@pytest.mark.parametrize("entry", [None, 7, {"length": "3"}, {"length": -1}, {"length": True}, {"digest": 7}], ids=repr)
def test_a_document_with_impossible_attachments_is_refused(entry: Any) -> None:
    doc = {"_id": "d", "_rev": "1-c", "_revisions": {"start": 1, "ids": ["c"]}, "_attachments": {"a": entry}}
    with pytest.raises(ProtocolError):
        plan.check_document(doc, "d", "1-c")


def test_sizes_count_json_and_inline_attachments() -> None:
    assert plan.document_size({"_id": "a"}) == len('{"_id":"a"}')
    assert 1000 <= plan.document_size({"_attachments": {"a": {"data": b"x" * 1000}}}) < 1100
    assert 100 <= plan.document_size({"n": 10**100}) < 130


# Attachments.

ENTRY = {"digest": "md5-x", "length": 3, "content_type": "text/plain"}


def test_an_ancestor_counts_only_when_name_digest_length_and_type_agree() -> None:
    doc = {"_attachments": {"a": {**ENTRY, "stub": True}}}
    assert plan.missing_attachments(doc, [{"_attachments": {"a": ENTRY}}]) == []
    assert plan.missing_attachments(doc, [{}, {"_attachments": {"a": ENTRY}}]) == []
    for other in (
        {"b": ENTRY},
        {"a": {**ENTRY, "digest": "md5-y"}},
        {"a": {**ENTRY, "length": 4}},
        {"a": {**ENTRY, "content_type": "text/html"}},
        {"a": None},
        {},
    ):
        assert plan.missing_attachments(doc, [{"_attachments": other}]) == ["a"]
    assert plan.missing_attachments(doc, []) == ["a"]


def test_without_a_digest_or_a_length_content_can_not_be_told_to_be_the_same() -> None:
    for entry in ({"length": 3}, {"digest": "md5-x"}):
        assert plan.missing_attachments({"_attachments": {"a": entry}}, [{"_attachments": {"a": entry}}]) == ["a"]


def test_ancestors_are_those_of_the_own_history_newest_first() -> None:
    doc = {"_revisions": {"start": 3, "ids": ["c", "b", "a"]}}
    assert plan.ancestors_of(doc, ["1-a", "2-x", "2-b"]) == ["2-b", "1-a"]


# Failures.


@pytest.mark.parametrize(
    "error", [ConnectionFailed, HubUnreachable, DiskFull, DatabaseBusy, ShareNotFound, PeerPouchError]
)
def test_what_may_pass_is_transient(error: type[PeerPouchError]) -> None:
    assert plan.is_transient(error())
    assert not plan.is_refusal(error())


@pytest.mark.parametrize("error", [Forbidden, Unauthorized, BadRequest, NotSupported])
def test_what_is_refused_for_good_is_a_refusal(error: type[PeerPouchError]) -> None:
    assert plan.is_refusal(error())
    assert not plan.is_transient(error())


@pytest.mark.parametrize("error", [ProtocolError, SchemaTooNew, IdentityChanged])
def test_what_stays_wrong_is_not_tried_again(error: type[PeerPouchError]) -> None:
    assert not plan.is_transient(error())


def test_a_changed_identity_is_no_mere_refusal_of_checkpoints() -> None:
    assert plan.keeps_no_checkpoint(Forbidden())
    assert not plan.keeps_no_checkpoint(IdentityChanged())
    assert not plan.keeps_no_checkpoint(ConnectionFailed())


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(0, 1))
def test_back_off_is_bounded_and_spread_over_its_upper_half(failures: int, chance: float) -> None:
    delay = plan.backoff(failures, chance)
    longest = plan.backoff(failures, 1.0)
    assert 0.25 <= longest / 2 <= delay <= longest <= plan.LONGEST_DELAY
    assert plan.backoff(failures + 1, chance) >= delay
