"""Where the project wants to be, held against what was measured. All numbers but the directions themselves are data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Result


@dataclass(frozen=True)
class Figure:
    """A figure of a run: of a benchmark's subject, in its unit, or another one (``more``) that its rounds gave."""

    benchmark: str
    subject: str = "peerpouch"
    more: str = ""


@dataclass(frozen=True)
class Direction:
    """What is wanted of a figure, by itself or as how many times as good as another one.

    Attributes:
        wanted: Which of the two signs holds: ``(">=", 5)``.
        unit: Of a figure that is taken by itself.
        bound: The figure that bounds ours: the same in its unit, or the time that nothing can be without.
    """

    what: str
    figure: Figure
    wanted: tuple[str, float]
    over: Figure | None = None
    unit: str = ""
    bound: Figure | None = None


POUCHDB, SQLITE = "PouchDB", "bare SQLite"
SAME_ROWS, REVISIONS = "bare SQLite, the same rows", "bare SQLite with revisions"
ONE_PROCESS = f"{POUCHDB}, one process"
SERVE, POUCHDB_SERVER = "peerpouch serve", "pouchdb-server"
A_HUNDREDTH, MANY = "among a hundredth", "among many"
FILE_HUB, HTTP_HUB = "a hub that is a file", "a hub under peerpouch serve"
ENGINE = "the engine alone"
CHANNEL = "bare data channel"


def _beside(name: str, what: str, times: float, over: str = POUCHDB, bound: str = "") -> Direction:
    """How many times as good as another subject of its benchmark; a bound is one of them, too."""
    limit = Figure(name, bound) if bound else None
    return Direction(what, Figure(name), (">=", times), Figure(name, over), bound=limit)


DIRECTIONS = (
    _beside("bulk-write", "bulk write, 1,000 a batch", 5),
    _beside("bulk-write", "the same, beside bare SQLite with the same durability", 0.4, SQLITE, REVISIONS),
    _beside("single-write", "single writes in sequence, beside one sync each", 1, SQLITE, SAME_ROWS),
    _beside("concurrent-write", "single writes, 64 at once", 5, bound=SQLITE),
    _beside("point-read", "point read", 4, bound=SQLITE),
    _beside("concurrent-read", "point reads, 16 readers at once", 4),
    _beside("listing", "listing with documents", 8, bound=SQLITE),
    _beside("changes", "changes from 0", 8, bound=SQLITE),
    _beside("local-replication", "replication, two local databases", 10, bound=SQLITE),
    _beside("peer-replication", "replication by WebRTC, beside PouchDB in one process", 5, ONE_PROCESS, CHANNEL),
    Direction(
        "the same at 50 ms round trip, beside 0 ms",
        Figure("far-replication", "50 ms"),
        (">=", 1 / 1.5),
        Figure("far-replication", "0 ms"),
        bound=Figure("far-replication", "bare data channel, 50 ms"),
    ),
    Direction("5,000 documents at 50 ms round trip", Figure("far-few", "50 ms"), ("<=", 2000), unit="ms"),
    Direction("no-op replication of 1,000,000 documents", Figure("peer-no-op"), ("<=", 50), unit="ms"),
    Direction(
        "the same, requests: as many as for 10,000",
        Figure("peer-no-op", more="requests"),
        ("<=", 1),
        Figure("peer-no-op", "peerpouch, a hundredth", "requests"),
    ),
    _beside("peer-attachment", "attachment by WebRTC, beside the bare channel", 0.9, CHANNEL),
    Direction(
        "live change, p50", Figure("live-latency"), ("<=", 4), unit="ms", bound=Figure("live-latency", "two syncs")
    ),
    Direction(
        "live change, p99",
        Figure("live-latency", more="p99"),
        ("<=", 15),
        unit="ms",
        bound=Figure("live-latency", "two syncs", "p99"),
    ),
    Direction(
        "connect by a file hub, p50",
        Figure("connect", FILE_HUB),
        ("<=", 60),
        unit="ms",
        bound=Figure("connect", ENGINE),
    ),
    Direction(
        "connect by an HTTP hub, p50",
        Figure("connect", HTTP_HUB),
        ("<=", 100),
        unit="ms",
        bound=Figure("connect", ENGINE),
    ),
    Direction(
        "GET of a document, 16 connections, beside pouchdb-server",
        Figure("server-get-16", SERVE),
        (">=", 2),
        Figure("server-get-16", POUCHDB_SERVER),
        bound=Figure("server-get-16", "the HTTP server alone"),
    ),
    Direction("the same, p50 (CouchDB: 2 to 5 ms)", Figure("server-get-16", SERVE, "p50"), ("<=", 2), unit="ms"),
    Direction("import of peerpouch", Figure("import"), ("<=", 150), unit="ms", bound=Figure("import", "Python alone")),
    Direction("peerpouch --help", Figure("help"), ("<=", 150), unit="ms", bound=Figure("help", "Python alone")),
    *(
        Direction(
            f"memory, 1,000,000 documents replicated: the {end}",
            Figure("peer-million", more=end),
            ("<=", 120),
            unit="MB",
            bound=Figure("peer-million", more=f"{end} before"),
        )
        for end in ("sharer", "opener")
    ),
    *(
        Direction(
            f"memory, attachment of 1 GB: the {end}",
            Figure("peer-large-attachment", more=end),
            ("<=", 120),
            unit="MB",
            bound=Figure("peer-large-attachment", more=f"{end} before"),
        )
        for end in ("sharer", "opener")
    ),
    *(
        Direction(what, Figure(name), (">=", 5), Figure(name, POUCHDB))
        for name, what in (
            ("index-build", "building an index"),
            ("index-update", "updating an index"),
            ("find-indexed", "finding by an index"),
            ("find-unindexed", "finding without one"),
            ("view-grouped", "a grouped _sum"),
        )
    ),
    Direction("identity and sealing of a connection", Figure("sealing"), ("<=", 10), unit="ms"),
    *(
        Direction(
            f"a read-write gate's {way}",
            Figure(f"gated-{way}", "read-write"),
            (">=", 0.9),
            Figure(f"gated-{way}", "without a gate"),
        )
        for way in ("pull", "push")
    ),
    *(
        Direction(
            f"at 1,000,000 documents, beside 10,000: {what}",
            Figure(f"growth-{name}", MANY),
            (">=", 1 / 1.5),
            Figure(f"growth-{name}", A_HUNDREDTH),
        )
        for name, what in (
            ("bulk-write", "bulk write"),
            ("single-write", "single writes"),
            ("read", "point reads"),
            ("listing", "listing"),
            ("changes", "changes"),
        )
    ),
    Direction("opening 1,000,000 documents", Figure("growth-opening", MANY), ("<=", 50), unit="ms"),
    Direction("memory at rest, 1,000,000 documents", Figure("growth-memory", MANY), ("<=", 40), unit="MB"),
)

MET = "met"
COLUMNS = ("what", "direction", "measured", "", "what bounds it")


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each direction of which there are figures."""
    found = {(each.benchmark, each.subject): each for each in results}
    return [row for direction in DIRECTIONS if (row := _row(direction, found)) is not None]


Found = dict[tuple[str, str], Result]


def _value(figure: Figure, found: Found) -> float | None:
    result = found.get((figure.benchmark, figure.subject))
    values = result.of_rounds(figure.more) if result is not None else []
    return statistics.median(values) if values else None


def measured(direction: Direction, found: Found) -> float | None:
    """The figure that the direction speaks of, or how many times as good it is as the other. Nothing without data."""
    value = _value(direction.figure, found)
    if direction.over is None or value is None:
        return value
    other = _value(direction.over, found)
    if not value or not other:
        return None
    # Other figures than a benchmark's own are all better when they are less, and their ratio is as it is.
    higher = bool(direction.figure.more) or found[direction.figure.benchmark, direction.figure.subject].higher_is_better
    return value / other if higher else other / value


def is_met(direction: Direction, value: float) -> bool:
    """Whether a measured value is where it is wanted."""
    sign, wanted = direction.wanted
    return value >= wanted if sign == ">=" else value <= wanted


def _row(direction: Direction, found: Found) -> tuple[str, ...] | None:
    value = measured(direction, found)
    if value is None:
        return None
    sign, wanted = direction.wanted
    unit = direction.unit or f"times {direction.over.subject if direction.over else ''}".strip()
    return (
        direction.what,
        f"{'at least' if sign == '>=' else 'at most'} {short(wanted)} {unit}",
        f"{short(value)} {direction.unit or 'times'}",
        MET if is_met(direction, value) else "**not met**",
        _bound(direction, found),
    )


def _bound(direction: Direction, found: Found) -> str:
    """The figure that ours can't pass and how far ours is from it, and whether the processor takes the time."""
    busy = _value(Figure(direction.figure.benchmark, direction.figure.subject, "busy"), found)
    told = "" if busy is None else f"a processor has {busy:.0%} of the time"
    return "; ".join(part for part in (_limit(direction, found), told) if part)


def _limit(direction: Direction, found: Found) -> str:
    bound, ours = direction.bound, _value(direction.figure, found)
    if bound is None or not ours:
        return ""
    limit, result = _value(bound, found), found.get((bound.benchmark, bound.subject))
    if not limit or result is None:
        return ""
    if direction.unit:
        name = bound.more if bound.subject == "peerpouch" else bound.subject
        return f"{name}: {short(limit)} {direction.unit}"
    return f"{bound.subject}: {short(limit)} {result.unit}, of which {ours / limit:.0%} are reached"


def short(value: float) -> str:
    """Three digits or so, without zeros behind the point."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
