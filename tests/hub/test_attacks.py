"""A whole hub that is evil: what it does to shares and signals never lets it in, and at worst prevents a connection.

Every attack on a defence has a twin that takes the defence away and shows that the attack then succeeds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import Forbidden, InvalidSignal, PeerUnreachable
from peerpouch.hub import client, shares, signals
from peerpouch.hub.admission import Replays
from peerpouch.hub.directory import MAX_ROWS
from peerpouch.hub.events import Opening
from peerpouch.identity import keys
from peerpouch.identity.encoding import from_text, to_text
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.identity.sealing import SessionKey, seal
from peerpouch.ports import Document
from tests.hub.conftest import Join, publish
from tests.hub.fakes import FakeClock, MemoryHub, settle, until


class Door:
    """A handler that lets everybody in, and remembers who came."""

    def __init__(self) -> None:
        self.openings: list[Opening] = []

    async def __call__(self, opening: Opening) -> Document:
        self.openings.append(opening)
        return {"sdp": "the owner's"}


def offers(hub: MemoryHub) -> list[Document]:
    return [document for document in hub.written if "offer" in document]


# Replays.


async def _replay(join: Join, hub: MemoryHub) -> int:
    door, alice, bob = Door(), join(), join()
    share_id = await publish(alice, handler=door)
    await bob.signal(share_id, {}, timeout=30)
    await until(lambda: hub.ids("signal:") == [])
    for _ in range(3):
        hub.force(offers(hub)[0])
        await settle()
    return len(door.openings)


async def test_a_replayed_offer_is_not_looked_at_again(join: Join, hub: MemoryHub) -> None:
    assert await _replay(join, hub) == 1


async def test_twin_without_memory_it_is(join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replays, "admit", lambda *args: True)
    assert await _replay(join, hub) == 4


async def _replay_after_restart(join: Join, hub: MemoryHub) -> int:
    me, bob = Identity.ephemeral(), join()
    before = join(me)
    share_id = await publish(before)
    await bob.signal(share_id, {}, timeout=30)
    await until(lambda: hub.ids("signal:") == [])
    await before.close()
    door, after = Door(), join(me)
    await publish(after, handler=door)
    nonce = offers(hub)[0]["_id"].rpartition(":")[2]
    for document_id in {offers(hub)[0]["_id"], signals.document_id(after.address.session, nonce)}:
        hub.force({**offers(hub)[0], "_id": document_id})
        await settle()
    return len(door.openings)


async def test_after_a_restart_a_replayed_offer_can_not_be_opened(join: Join, hub: MemoryHub) -> None:
    assert await _replay_after_restart(join, hub) == 0


async def test_twin_with_a_session_key_that_outlives_the_process_it_can(
    join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "HubSession", lambda: HubSession(SessionKey(bytes(range(32)))))
    assert await _replay_after_restart(join, hub) == 1


async def test_a_share_of_an_ended_session_played_back_leads_nowhere(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    me, bob = Identity.ephemeral(), join()
    before = join(me)
    share_id = await publish(before)
    old = hub.raw(f"share:{share_id}")
    assert old is not None
    await before.close()
    hub.force(old)
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=20))
    await clock.advance(21)
    with pytest.raises(PeerUnreachable):
        await call


async def test_an_older_document_of_a_running_session_is_overwritten(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice, name="old name")
    old = hub.raw(f"share:{share_id}")
    assert old is not None
    assert [share.name for share in await bob.shares()] == ["old name"]
    await publish(alice, name="new name")
    assert [share.name for share in await bob.shares()] == ["new name"]
    hub.force(old)
    assert [share.name for share in await bob.shares()] == ["new name"]
    await clock.advance(31)
    now = hub.raw(f"share:{share_id}")
    assert now is not None
    assert now["name"] == "new name"


# In the owner's place.


async def _listed_after(join: Join, hub: MemoryHub, alter: Callable[[Document], Document]) -> list[str]:
    alice, bob = join(), join()
    share_id = await publish(alice)
    document = hub.raw(f"share:{share_id}")
    assert document is not None
    hub.force(alter(document))
    return [to_text(share.session_key) for share in await bob.shares()]


MIDDLE = SessionKey()


def _middle(document: Document) -> Document:
    """The hub puts its own session key into alice's share, to open the offers to her."""
    return {**document, "session_key": to_text(MIDDLE.public), "session": MIDDLE.id}


async def test_a_share_with_the_hubs_own_session_key_is_never_listed(
    join: Join, hub: MemoryHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert await _listed_after(join, hub, _middle) == []
    assert "no valid share" in caplog.text


async def test_twin_without_the_signature_it_is(join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.PublicKey, "verify", lambda *args, **options: True)
    assert await _listed_after(join, hub, _middle) == [to_text(MIDDLE.public)]


async def test_refused_documents_are_counted(join: Join, hub: MemoryHub) -> None:
    bob = join()
    for number in range(3):
        hub.force({"_id": f"share:{number}", "type": "nonsense"})
    assert await bob.shares() == []
    assert await bob.shares() == []
    assert bob.invalid_documents == 3


async def _call_through(
    join: Join,
    hub: MemoryHub,
    clock: FakeClock,
    interfere: Callable[[Document, SessionKey], Document],
    *,
    swallow: bool = False,
) -> Document:
    """Bob calls alice; the hub sees her answer, and even knows what it is sealed to.

    It writes its own answer before hers, which then comes on top; or, with ``swallow``, in the place of hers.
    """
    reply = SessionKey(bytes(range(32)))
    with pytest.MonkeyPatch.context() as patch:
        original = signals.make_offer
        patch.setattr(signals, "make_offer", lambda *args, **options: original(*args, **{**options, "reply": reply}))
        alice, bob = join(), join()
        share_id = await publish(alice, handler=Door())

        def before_write(document: Document) -> None:
            if "answer" not in document or hub.before_write is None:
                return
            hub.before_write = None
            forged = interfere(document, reply)
            if swallow:
                document.update(forged)
            else:
                hub.force(forged)

        hub.before_write = before_write
        call = asyncio.create_task(bob.signal(share_id, {}, timeout=30))
        await clock.advance(31)
        return await call


def _mallorys_answer(document: Document, reply: SessionKey) -> Document:
    associated = document["_id"].encode()
    signed = reply.open(from_text(document["answer"]), purpose="answer", associated=associated)
    payload = signed[64:].replace(b"the owner's", b"mallory's..")
    forged = Identity.ephemeral().sign(payload, purpose="answer") + payload
    box = seal(reply.public, forged, purpose="answer", associated=associated)
    return {**document, "answer": to_text(box)}


async def test_an_answer_in_the_owners_place_is_passed_over_for_the_owners_own(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    assert await _call_through(join, hub, clock, _mallorys_answer) == {"sdp": "the owner's"}


async def test_an_answer_in_the_owners_place_is_never_believed(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    with pytest.raises(InvalidSignal, match="interferes"):
        await _call_through(join, hub, clock, _mallorys_answer, swallow=True)


async def test_twin_without_the_answers_signature_it_is(
    join: Join, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_check_signature", lambda *args, **options: None)
    assert await _call_through(join, hub, clock, _mallorys_answer, swallow=True) == {"sdp": "mallory's.."}


async def test_garbage_in_the_answers_place_does_no_harm(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    answer = await _call_through(join, hub, clock, lambda document, reply: {**document, "answer": to_text(bytes(200))})
    assert answer == {"sdp": "the owner's"}


async def test_when_only_forged_answers_come_the_error_says_so(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    alice._answerer.changed = lambda change: None  # type: ignore[method-assign]
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=20))
    await until(lambda: hub.ids("signal:") != [])
    hub.force({**offers(hub)[0], "answer": to_text(bytes(200))})
    await clock.advance(21)
    with pytest.raises(InvalidSignal, match="interferes"):
        await call


async def test_answers_swapped_by_the_hub_reach_nobody(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    waiting = asyncio.Event()

    async def handler(opening: Opening) -> Document:
        await waiting.wait()
        return {"for": opening.body["me"]}

    share_id = await publish(alice, handler=handler)
    calls = [asyncio.create_task(bob.signal(share_id, {"me": me}, timeout=20)) for me in ("one", "two")]
    await until(lambda: len(offers(hub)) == 2)
    await settle()
    answers: dict[str, str] = {}

    def swap(document: Document) -> None:
        if "answer" in document:
            answers.setdefault(document["_id"], document["answer"])
            others = [answer for id, answer in answers.items() if id != document["_id"]]
            document["answer"] = others[0] if others else to_text(bytes(100))

    hub.before_write = swap
    waiting.set()
    await clock.advance(21)
    for call in calls:
        with pytest.raises(InvalidSignal, match="interferes"):
            await call


# Redirections and mix-ups.


async def test_an_offer_to_one_share_does_not_open_another(join: Join, hub: MemoryHub) -> None:
    """A recipient's other door stays shut: the offer names the share."""
    public, private, alice, bob = Door(), Door(), join(), join()
    share_id = await publish(alice, uuid="public", handler=public)
    await publish(alice, uuid="private", handler=private)
    await bob.signal(share_id, {}, timeout=30)
    assert (len(public.openings), len(private.openings)) == (1, 0)


async def test_an_offer_copied_to_another_owner_does_not_open_there(join: Join, hub: MemoryHub) -> None:
    door, alice, carol, bob = Door(), join(), join(), join()
    share_id = await publish(alice)
    await publish(carol, handler=door)
    await bob.signal(share_id, {}, timeout=30)
    nonce = offers(hub)[0]["_id"].rpartition(":")[2]
    hub.force({**offers(hub)[0], "_id": signals.document_id(carol.address.session, nonce)})
    await settle()
    assert door.openings == []
    assert carol.invalid_documents == 1


async def _delayed(join: Join, hub: MemoryHub, clock: FakeClock, minutes: int) -> int:
    door, alice, bob = Door(), join(), join()
    share_id = await publish(alice, handler=door)
    held: list[Document] = []
    real = alice._answerer.changed
    alice._answerer.changed = lambda change: None  # type: ignore[method-assign]
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=20))
    await until(lambda: offers(hub) != [])
    held.append(offers(hub)[0])
    await clock.advance(21)
    with pytest.raises(PeerUnreachable):
        await call
    await clock.advance(60 * minutes)
    alice._answerer.changed = real  # type: ignore[method-assign]
    hub.force(held[0])
    await settle()
    return len(door.openings)


async def test_an_offer_held_back_for_long_is_refused(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    assert await _delayed(join, hub, clock, minutes=16) == 0


async def test_twin_without_the_time_it_is_taken(
    join: Join, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "check_time", lambda *args: None)
    assert await _delayed(join, hub, clock, minutes=16) == 1


# What the hub learns.

SECRETS = ["192.0.2.1 host candidate", "who opens", "who shares", "refused because of this", "uuid-of-the-database"]


async def _everything(join: Join) -> list[str]:
    async def refuse(opening: Opening) -> Document:
        raise Forbidden("refused because of this")

    async def let_in(opening: Opening) -> Document:
        return {"sdp": "192.0.2.1 host candidate", "info": "who shares"}

    alice, bob = join(), join()
    one = await publish(alice, uuid="uuid-of-the-database", handler=let_in)
    two = await publish(alice, uuid="two", handler=refuse)
    body = {"sdp": "192.0.2.1 host candidate", "info": "who opens"}
    await bob.signal(one, body, timeout=30)
    with pytest.raises(Forbidden):
        await bob.signal(two, body, timeout=30)
    return [*SECRETS, bob._identity.key.text, bob._session.id, to_text(bob._identity.key.raw)]


def _found(hub: MemoryHub, secrets: list[str]) -> list[str]:
    """What can be read in anything that was ever written, also inside of base64url text."""
    texts = []
    for document in hub.written:
        texts.append(jsonio.dumps(document))
        texts.extend(from_text(document[field]) for field in ("offer", "answer") if field in document)
    everything = b"\n".join(texts)
    return [secret for secret in secrets if secret.encode() in everything]


async def test_nothing_of_the_opener_and_of_what_is_said_is_in_the_hub(join: Join, hub: MemoryHub) -> None:
    secrets = await _everything(join)
    assert _found(hub, secrets) == []
    hub.force({"_id": "planted", "text": "".join(secrets)})
    assert _found(hub, secrets) == secrets


async def test_twin_without_the_cipher_it_all_is(join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCipher:
        def __init__(self, key: bytes) -> None:
            pass

        def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
            return data + bytes(16)

        def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
            return data[:-16]

    monkeypatch.setattr("peerpouch.identity.sealing.AESGCM", NoCipher)
    secrets = await _everything(join)
    assert _found(hub, secrets) == [secret for secret in secrets if secret != "uuid-of-the-database"]


async def test_no_private_key_is_logged_or_shown(join: Join, hub: MemoryHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seed = bytes(range(100, 132))
    alice = join(Identity.ephemeral(seed))
    await publish(alice)
    hub.force({"_id": f"signal:{alice.address.session}:{'0' * 26}", "offer": "x"})
    await settle()
    shown = caplog.text + repr(alice._identity) + repr(alice._session) + repr(alice.published())
    assert "signal" in shown
    for secret in (to_text(seed), seed.hex(), repr(seed)):
        assert secret not in shown


async def test_a_thousand_forged_signals_hold_nothing(join: Join, hub: MemoryHub) -> None:
    door, alice = Door(), join()
    await publish(alice, handler=door)
    await settle()
    tasks = len(asyncio.all_tasks())
    for number in range(1000):
        id = signals.document_id(alice.address.session, f"{number:026}")
        hub.force({"_id": id, "type": signals.TYPE, "version": 1, "offer": to_text(bytes([number % 256]) * 200)})
    await settle()
    assert alice.invalid_documents == 1000
    assert len(asyncio.all_tasks()) == tasks
    assert len(alice._answerer._replays) == 0
    assert door.openings == []


async def test_listing_is_read_as_one_range_of_ids(join: Join, hub: MemoryHub) -> None:
    for number in range(50):
        hub.force({"_id": f"other {number}", "text": "x"})
    alice, bob = join(), join()
    share_id = await publish(alice)
    await settle()
    reads: list[dict[str, object]] = []
    original = hub.all_docs

    def all_docs(**options: object) -> object:
        reads.append(options)
        return original(**options)  # type: ignore[arg-type]

    hub.all_docs = all_docs  # type: ignore[method-assign,assignment]
    assert [share.id for share in await bob.shares()] == [share_id]
    assert reads == [{"startkey": shares.FIRST, "endkey": shares.LAST, "include_docs": True, "limit": MAX_ROWS}]
