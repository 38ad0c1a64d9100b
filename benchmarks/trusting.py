"""What trust costs: identities and sealing for a connection, the gate for a replication."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peerpouch
from benchmarks.local import FULL_NOTE, per_second, stopwatch
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, benchmark
from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.hub import shares, signals
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Database, Peer

VISITOR = Peer(b"v" * 32, "session")
EVERYTHING = Access(select={"type": "measurement"})
"""All of the records match, so that the gate's cost is compared over the same documents."""

SDP = "a=candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host generation 0\r\n" * 12

sealing = benchmark(
    "sealing", "Identity and sealing: all cryptography of one connection, both sides", "ms", higher_is_better=False
)
pull = benchmark("gated-pull", "Replication from a database, through the gate", "docs/s", costly=True)
push = benchmark("gated-push", "Replication into a database, through the gate", "docs/s", costly=True)


@sealing.subject("peerpouch", "identities loaded from files included; median")
async def _sealing(run: Run) -> Measured:
    files = [run.folder / name for name in ("owner", "opener")]
    for file in files:
        Identity.load(file)
    times = []
    for number in range(run.scale.connects * 10):
        began = time.perf_counter()
        _connect(files, number)
        times.append((time.perf_counter() - began) * 1000)
    return Measured(statistics.median(times), f"slowest {max(times):.1f} ms")


def _connect(files: list[Path], number: int) -> None:
    """Everything from two key files to an answer that the opener believes; no hub and no WebRTC in it."""
    owner, opener = map(Identity.load, files)
    owners, openers = SessionKey(), SessionKey()
    digest = shares.database_digest(owner.key, "uuid")
    listed = shares.to_document(owner, owners, database=digest, name="n", info=None, lease=90, renewal=1, now=1)
    share = shares.from_document(listed)
    nonce = signals.new_nonce(number.to_bytes(signals.NONCE_BYTES, "big"))
    sent = signals.make_offer(opener, share, {"sdp": SDP}, session=openers.id, reply_to=nonce, nonce=nonce, time=1)
    offer = signals.open_offer(sent.document, key=owner.key, session=owners)
    answer = signals.make_answer(owner, owners, offer, {"sdp": SDP})
    signals.open_answer(signals.with_answer(sent.document, answer), sent)


def gated(access: Access) -> Callable[[Database], Database]:
    """A database as a visitor gets it."""
    return lambda database: GatedDatabase(database, VISITOR, access, name="bench")


def _same(database: Database) -> Database:
    return database


async def _replicated(source: Database, target: Database) -> Measured:
    with stopwatch() as seconds:
        result = await peerpouch.replicate(source, target)
    return per_second(result.docs_written, seconds)


async def _pull(run: Run, seen: Callable[[Database], Database], before: Any = None) -> Measured:
    path = await copy_of_records(run.folder, run.scale.documents)
    async with peerpouch.open(path) as source, peerpouch.open(run.folder / "b.db") as target:
        if before is not None:
            await before(source)
        return await _replicated(seen(source), target)


async def _push(run: Run, seen: Callable[[Database], Database]) -> Measured:
    path = await copy_of_records(run.folder, run.scale.documents)
    async with peerpouch.open(path) as source, peerpouch.open(run.folder / "b.db") as target:
        return await _replicated(source, seen(target))


@pull.subject("read-write", FULL_NOTE)
async def _pull_gated(run: Run) -> Measured:
    return await _pull(run, gated(Access()))


@pull.subject("without a gate", FULL_NOTE)
async def _pull_plain(run: Run) -> Measured:
    return await _pull(run, _same)


@pull.subject("selector, first visitor", "judges every document and indexes it")
async def _pull_first(run: Run) -> Measured:
    return await _pull(run, gated(EVERYTHING))


@pull.subject("selector, later visitors", "finds the documents indexed")
async def _pull_later(run: Run) -> Measured:
    async def visited(database: Database) -> None:
        await gated(EVERYTHING)(database).info()

    return await _pull(run, gated(EVERYTHING), visited)


@push.subject("read-write", FULL_NOTE)
async def _push_gated(run: Run) -> Measured:
    return await _push(run, gated(Access()))


@push.subject("without a gate", FULL_NOTE)
async def _push_plain(run: Run) -> Measured:
    return await _push(run, _same)


@push.subject("selector", "each document is judged in the write transaction, and indexed")
async def _push_limited(run: Run) -> Measured:
    return await _push(run, gated(EVERYTHING))
