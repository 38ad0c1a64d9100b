"""Attacks on a hub's client whose twins are not beside them elsewhere: each works once its defence is taken away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peerpouch.errors import BadRequest, InvalidSignal, PeerPouchError
from peerpouch.hub import answering, leases, shares, signals
from peerpouch.hub.leases import Leases, Verdict
from peerpouch.identity import sealing
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Document
from tests.hub.conftest import Join, publish
from tests.hub.fakes import MemoryHub, settle, until
from tests.hub.test_attacks import Door, offers
from tests.hub.test_signals import ALICE, ALICES, MALLORY, MALLORYS, NONCE, TIME, disable, offer

OWNER, SESSION = Identity.ephemeral(), SessionKey()


def share(renewal: int, name: str) -> shares.Share:
    digest = shares.database_digest(OWNER.key, "uuid")
    made = shares.to_document(
        OWNER, SESSION, database=digest, name=name, info=None, lease=90, renewal=renewal, now=TIME
    )
    return shares.from_document(made)


# Redirected offers.


def _moved() -> Document:
    """The hub moves an offer, as it is, to another session's place."""
    return {**offer().document, "_id": signals.document_id(MALLORYS.id, NONCE)}


def test_an_offer_moved_to_another_session_needs_more_than_one_mistake_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def opens() -> bool:
        try:
            return bool(signals.open_offer(_moved(), key=MALLORY.key, session=MALLORYS).body)
        except InvalidSignal:
            return False

    assert not opens()
    disable(monkeypatch, "_check_recipient")
    assert not opens()  # it is sealed to another key
    disable(monkeypatch, "cipher")
    assert opens()


async def _copied(join: Join, hub: MemoryHub) -> int:
    """The hub copies an offer to another owner's session. How often that owner's door is knocked at?"""
    me, door = Identity.ephemeral(), Door()
    alice, carol, bob = join(me), join(me), join()
    share_id = await publish(alice)
    await bob.signal(share_id, {}, timeout=30)
    await until(lambda: hub.ids("signal:") == [])
    await publish(carol, handler=door)  # the same owner's other session, which serves the same share now
    nonce = offers(hub)[0]["_id"].rpartition(":")[2]
    hub.force({**offers(hub)[0], "_id": signals.document_id(carol.address.session, nonce)})
    await settle()
    return len(door.openings)


async def test_an_offer_copied_to_another_session_of_its_owner_does_not_open_there(join: Join, hub: MemoryHub) -> None:
    assert await _copied(join, hub) == 0


async def test_twin_without_cipher_and_recipient_it_does(
    join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable(monkeypatch, "_check_recipient", "cipher")
    assert await _copied(join, hub) == 1


# Lengths.


def _lengths() -> set[int]:
    return {len(offer(body={"sdp": "x" * size}).document["offer"]) for size in range(0, 600, 40)}


def test_lengths_tell_little_and_without_padding_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(_lengths()) <= 2
    monkeypatch.setattr(signals, "_PADDING", 1)
    assert len(_lengths()) == 15


def test_content_is_bounded_on_both_sides_and_without_the_bounds_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = {"sdp": "x" * (1 << 20)}
    with pytest.raises(BadRequest):
        offer(body=huge)
    monkeypatch.setattr(signals, "MAX_CONTENT", 1 << 30)
    sent = offer(body=huge)
    monkeypatch.undo()
    with pytest.raises(InvalidSignal):  # nor does a recipient take what a sender without the bound made
        signals.open_offer(sent.document, key=ALICE.key, session=ALICES)
    monkeypatch.setattr(signals, "MAX_CONTENT", 1 << 30)
    monkeypatch.setattr(signals, "_MAX_TEXT", 1 << 31)
    assert signals.open_offer(sent.document, key=ALICE.key, session=ALICES).body == huge


# Leases.


class _Forgetful(Leases):
    """Takes every document that is signed for a new renewal."""

    def observe(self, share: shares.Share, monotonic: float, *, wanted: bool = False) -> bool:
        self._records[share.id] = leases._Record(share, monotonic, witnessed=True)
        return True


@pytest.mark.parametrize(("kind", "name", "verdict"), [(Leases, "new", "expired"), (_Forgetful, "old", "alive")])
def test_an_older_renewal_played_back_prolongs_nothing_and_without_the_comparison_it_does(
    kind: type[Leases], name: str, verdict: str
) -> None:
    table = kind()
    table.observe(share(5, "new"), 100)
    table.observe(share(4, "old"), 180)
    known = table.get(share(5, "new").id)
    assert known is not None and known.name == name
    assert table.judge(known.id, monotonic=200, now=TIME / 1000) is Verdict(verdict)


def test_the_table_of_shares_is_bounded_and_without_the_bound_a_flood_fills_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flood() -> int:
        table = Leases()
        template = share(1, "n")
        for number in range(300):
            digest = shares.database_digest(OWNER.key, str(number))
            table.observe(
                shares.Share(
                    **{name: getattr(template, name) for name in template.__dataclass_fields__}
                    | {"id": shares.share_id(OWNER.key, digest), "database": digest}
                ),
                1,
            )
        return len(table)

    monkeypatch.setattr(leases, "MAX_SHARES", 100)
    assert flood() == 100
    monkeypatch.setattr(leases, "MAX_SHARES", 1 << 30)
    assert flood() == 300


# Names and keys.


@pytest.mark.parametrize("name", ["a\nb", "\u202egnp.exe", "\x1b[2J", "x" * 201])
def test_a_name_that_garbles_a_listing_is_refused_and_without_the_check_it_is_listed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PeerPouchError):
        shares.check_description(name, None)
    digest = shares.database_digest(OWNER.key, "uuid")

    def listed() -> str:
        document = shares.to_document(
            OWNER, SESSION, database=digest, name=name, info=None, lease=90, renewal=1, now=TIME
        )
        return shares.from_document(document).name

    with pytest.raises((BadRequest, InvalidSignal)):
        listed()
    monkeypatch.setattr(shares, "_is_name", lambda value: True)
    assert listed() == name


def test_a_point_of_small_order_gives_no_secret_and_unchecked_one_that_everybody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box_for_all = sealing._derive(bytes(32), bytes(32), ALICES.public, "offer")
    key, nonce = box_for_all
    box = bytes(32) + AESGCM(key).encrypt(nonce, b"forged by anybody", b"id")
    with pytest.raises(InvalidSignal):
        ALICES.open(box, purpose="offer", associated=b"id")

    class Unchecked:
        """A private key whose library does not notice."""

        def exchange(self, other: Any) -> bytes:
            return bytes(32)

    monkeypatch.setattr(ALICES, "_private", Unchecked(), raising=False)
    assert ALICES.open(box, purpose="offer", associated=b"id") == b"forged by anybody"


def test_a_file_that_others_can_read_is_refused_and_without_the_check_it_is_used(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "identity.json"
    own = Identity.load(path)
    path.chmod(0o644)
    with pytest.raises(PeerPouchError):
        Identity.load(path)
    monkeypatch.setattr("peerpouch.identity.keys.sys.platform", "win32")
    assert Identity.load(path).key == own.key


# Openings.


async def test_a_handler_that_never_decides_is_given_up_and_without_the_limit_it_is_waited_for(
    join: Join, hub: MemoryHub, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def forever(opening: Any) -> Document:
        await never.wait()
        return {"sdp": "at last"}

    async def pending() -> int:
        alice, bob = join(), join()
        share_id = await publish(alice, handler=forever)
        call = asyncio.create_task(bob.signal(share_id, {}, timeout=100))
        await until(lambda: len(alice._answerer._openings) == 1)
        await clock.advance(40)
        left = len(alice._answerer._openings)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return left

    assert await pending() == 0

    async def within(clock: Any, seconds: float, work: Any) -> Any:
        return await work

    monkeypatch.setattr(answering, "within", within)
    assert await pending() == 1
    never.set()
    await settle()
