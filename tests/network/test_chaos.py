from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.network.chaos import Ledger, Run
from tests.network.together import together

WHOLE = range(100)
FEW = 4


@pytest.mark.slow
@pytest.mark.usefixtures("bed")
@pytest.mark.timeout(4 * 3600)
async def test_peers_converge_whatever_is_cut_and_killed(tmp_path: Path, seed: int, everything: bool) -> None:
    seeds = WHOLE if everything else random.Random(seed).sample(range(1_000_000), FEW)
    print(f"PEERPOUCH_NETWORK_SEED={seed}")
    await together({f"seed {number}": Run(number, tmp_path / str(number)).run for number in seeds})


# What the runs are judged by


def ledger(**revs: list[str]) -> Ledger:
    made = Ledger()
    for doc_id, written in revs.items():
        for rev in written:
            made.note(doc_id, rev)
    return made


def tree(*leaves: str, known: tuple[str, ...] = ()) -> dict[str, list[str]]:
    return {"leaves": list(leaves), "known": [*leaves, *known]}


def test_what_was_written_and_is_there_is_right() -> None:
    assert ledger(a=["1-x", "2-y"]).check({"a": tree("2-y", known=("1-x",))}) == []


@pytest.mark.parametrize("trees", [{}, {"a": tree("1-x")}])
def test_a_lost_write_is_found(trees: dict[str, dict[str, list[str]]]) -> None:
    (wrong, *_) = ledger(a=["2-y"]).check(trees)
    assert wrong == "a 2-y was acknowledged, and is lost"


def test_a_doubled_document_is_found_where_only_one_wrote() -> None:
    written = ledger(a=["1-x", "1-y"], shared=["1-x", "1-y"])
    assert written.check({"a": tree("1-x"), "shared": tree("1-x", "1-y")}) == ["a 1-y was acknowledged, and is lost"]
    assert written.check({"a": tree("1-x", "1-y"), "shared": tree("1-x", "1-y")}) == [
        "a is doubled: ['1-x', '1-y']",
    ]


def test_a_revision_that_nobody_wrote_is_found_and_one_in_doubt_is_not() -> None:
    written = ledger(a=["1-x"])
    trees = {"a": tree("2-y", known=("1-x",))}
    assert written.check(trees) == ["a has revisions that nobody wrote: ['2-y']"]
    written.uncertain["a"] += 1
    assert written.check(trees) == []
