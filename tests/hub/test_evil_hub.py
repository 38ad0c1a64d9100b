"""A hub that does at random whatever a hub can do: loses, repeats, moves, mixes, ages and reorders what it carries.

Whatever it does, an owner decides only about openings that somebody asked for, each at most once; an opener gets the
answer that the owner gave to this very opening, or a documented error. The twin shows that the hub tries hard enough.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import PeerPouchError
from peerpouch.hub import signals
from peerpouch.hub.admission import Replays
from peerpouch.hub.client import HubClient
from peerpouch.hub.events import Opening
from peerpouch.identity.keys import Identity
from peerpouch.ports import Change, Document, WriteResult, Written
from tests.hub.conftest import publish
from tests.hub.fakes import FakeClock, MemoryHub, settle
from tests.hub.test_signals import disable


class EvilHub(MemoryHub):
    """Writes what it likes, when it likes, and tells changes in the order that it likes."""

    def __init__(self, clock: FakeClock, chance: random.Random) -> None:
        super().__init__(clock)
        self.chance = chance
        self.tricks = 0
        self.sessions: list[str] = []

    def _write(self, doc: Document) -> WriteResult:
        roll = self.chance.random()
        if roll < 0.1 and doc["_id"].startswith("signal:"):
            self.tricks += 1
            return Written(doc["_id"], "1-lost")
        result = super()._write(doc)
        if roll > 0.4 and self.written:
            self._play()
        return result

    def _play(self) -> None:
        """Put something that it once saw somewhere, altered perhaps."""
        self.tricks += 1
        document = jsonio.loads(jsonio.dumps(self.chance.choice(self.written)))
        document.pop("_rev", None)
        document.pop("_deleted", None)
        if document["_id"].startswith("signal:"):
            where = self.chance.randrange(4)
            if where == 0 and self.sessions:  # another session, under the same nonce or another one
                nonce = self.chance.choice([document["_id"].rpartition(":")[2], f"{self.chance.randrange(10**9):026}"])
                document["_id"] = signals.document_id(self.chance.choice(self.sessions), nonce)
            elif where == 1:  # another's answer, or another's offer
                other = self.chance.choice(self.written)
                for field in ("offer", "answer"):
                    if field in other:
                        document[field] = other[field]
            elif where == 2:
                document["reply_to"] = self.chance.choice(self.written).get("reply_to")
        self.force(document)

    def _later(self, since: int, selector: Any) -> list[Change]:
        changes = super()._later(since, selector)
        self.chance.shuffle(changes)
        return changes


class Witness:
    """What was asked, decided and answered."""

    def __init__(self) -> None:
        self.asked: set[tuple[bytes, str]] = set()
        self.decided: list[tuple[bytes, str]] = []
        self.wrong: list[str] = []
        self.answered = 0

    async def decide(self, opening: Opening) -> Document:
        what = (opening.peer.key.raw, str(opening.body.get("sdp")))
        self.decided.append(what)
        if what not in self.asked:
            self.wrong.append("an opening that nobody asked for")
        if self.decided.count(what) > 1:
            self.wrong.append("an opening that was decided before")
        return {"sdp": "answer to " + what[1]}


async def run(seed: int) -> tuple[Witness, EvilHub]:
    """Some owners and openers, and a hub that is against them."""
    clock, chance, witness = FakeClock(), random.Random(seed), Witness()
    hub = EvilHub(clock, chance)
    clients = [HubClient(hub, Identity.ephemeral(), clock, random=lambda: 0.5) for _ in range(4)]
    hub.sessions = [client.address.session for client in clients]
    try:
        ids = [await publish(client, uuid=str(n), handler=witness.decide) for n, client in enumerate(clients[:2])]

        async def call(client: HubClient, share_id: str, text: str) -> None:
            witness.asked.add((client.address.key, text))
            try:
                answer = await client.signal(share_id, {"sdp": text}, timeout=20)
            except PeerPouchError:
                return
            witness.answered += 1
            if answer.get("sdp") != "answer to " + text:
                witness.wrong.append("an answer to something else")

        for turn in range(6):
            calls = [
                asyncio.ensure_future(call(client, chance.choice(ids), f"{turn} {n}"))
                for n, client in enumerate(clients[2:])
            ]
            await settle()
            for _ in range(3):
                await clock.advance(7.5)
            await asyncio.gather(*calls)
    finally:
        hub.chance.random = lambda: 0.2  # type: ignore[method-assign]
        closing = asyncio.gather(*(client.close() for client in clients))
        while not closing.done():
            await clock.advance(5)
        await closing
    return witness, hub


@pytest.mark.parametrize("seed", range(12))
async def test_at_worst_nothing_comes_about(seed: int) -> None:
    witness, hub = await run(seed)
    assert witness.wrong == []
    assert hub.tricks > 10


async def test_most_get_through_all_the_same() -> None:
    answered = [(await run(seed))[0].answered for seed in range(4)]
    assert sum(answered) > 12, answered


async def test_twin_without_memory_and_signatures_it_has_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    disable(monkeypatch, "cipher", "_check_nonce", "_check_recipient", "_check_answers", "_check_signature")
    monkeypatch.setattr(Replays, "admit", lambda *given: True)
    wrong: set[str] = set()
    for seed in range(12):
        wrong.update((await run(seed))[0].wrong)
    assert "an opening that was decided before" in wrong
