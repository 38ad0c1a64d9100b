"""The plugin's keys in a real browser: its own WebCrypto and IndexedDB, over reloads and among tabs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Open
from tests.browser.pages import needs_chromium

VECTORS = Path(__file__).parents[1] / "vectors"

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

IDENTITY = "return (await PeerPouch.Identity.load()).text"

STORED = """
const request = indexedDB.open('peerpouch', 1);
const database = await new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
const got = database.transaction('kept').objectStore('kept').get('identity:default');
const kept = await new Promise((resolve) => { got.onsuccess = () => resolve(got.result); });
database.close();
const tries = await Promise.all(['pkcs8', 'jwk', 'raw'].map((format) =>
  crypto.subtle.exportKey(format, kept.privateKey).then(() => 'given', (error) => error.name)));
return { kind: kept.privateKey.constructor.name, extractable: kept.privateKey.extractable, tries,
  text: JSON.stringify(kept.privateKey) };
"""


async def test_an_identity_stays_over_reloads_is_the_same_in_all_tabs_and_gives_its_private_key_to_nobody(
    open_tab: Open, origin: str
) -> None:
    first = await open_tab()
    text = await first.run(IDENTITY)
    beside, stranger = await open_tab(first), await open_tab()
    assert await beside.run(IDENTITY) == text
    assert await stranger.run(IDENTITY) != text
    await first.load(origin)
    assert await first.run(IDENTITY) == text
    stored = await first.run(STORED)
    assert (stored["kind"], stored["extractable"]) == ("CryptoKey", False)
    assert set(stored["tries"]) == {"InvalidAccessError"}
    assert stored["text"] == "{}"
    # Two tabs that start at once on a fresh profile agree on one identity.
    fresh = await open_tab()
    made = await fresh.run("return Promise.all([1, 2, 3, 4].map(async () => (await PeerPouch.Identity.load()).text))")
    assert len(set(made)) == 1
    assert first.said == beside.said == []


async def test_contacts_stay_and_are_the_same_in_all_tabs(open_tab: Open, origin: str) -> None:
    first = await open_tab()
    await first.run(
        "const { key } = await PeerPouch.Identity.load(); await PeerPouch.Contacts.load().add('Me', key, { now: 1 })"
    )
    names = "return (await PeerPouch.Contacts.load().list()).map(({ name }) => name)"
    assert await (await open_tab(first)).run(names) == ["Me"]
    await first.load(origin)
    assert await first.run(names) == ["Me"]
    assert await (await open_tab()).run(names) == []


async def test_the_vectors_hold_in_the_browser(open_tab: Open) -> None:
    """What needs no private key: the browser's own Ed25519, SHA-256 and JSON give what the file says."""
    page = await open_tab()
    trust: Any = json.loads((VECTORS / "trust.json").read_bytes())
    held = await page.run(
        """
        const [shares, canonical, identity, bytes] = await Promise.all(
          ['hub/shares', 'trust/canonical', 'trust/identity', 'trust/bytes'].map((name) => import(`/src/${name}.js`)));
        const fromHex = (text) => Uint8Array.from(text.match(/../g), (byte) => parseInt(byte, 16));
        const [{ public: key, fingerprint }] = arg.identities;
        const { purpose, payload, signature } = arg.signature;
        const invite = await PeerPouch.Invite.parse(arg.invite.text);
        const altered = { ...arg.share.document, name: 'altered' };
        return {
          canonical: arg.canonical.map(({ value }) => bytes.fromUtf8(canonical.encode(value, { exact: false }))),
          fingerprint: await identity.fingerprint(fromHex(key)) === fingerprint,
          signature: await identity.verify(fromHex(key), purpose, fromHex(payload), fromHex(signature)),
          other: await identity.verify(fromHex(key), 'share', fromHex(payload), fromHex(signature)),
          share: (await shares.fromDocument(arg.share.document)).name,
          altered: await shares.fromDocument(altered).then(() => 'taken', (error) => error.error),
          invite: [invite.hub, invite.shareId, invite.fingerprint, invite.name],
        };
        """,
        trust,
    )
    assert held["canonical"] == [vector["text"] for vector in trust["canonical"]]
    assert (held["fingerprint"], held["signature"], held["other"]) == (True, True, False)
    assert (held["share"], held["altered"]) == ("Field notes", "invalid_signal")
    assert held["invite"] == [trust["invite"][name] for name in ("hub", "share", "fingerprint", "name")]
    assert page.said == []


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("Object.defineProperty(crypto, 'subtle', { value: undefined })", "https"),
        (
            "crypto.subtle.generateKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))",
            "Firefox",
        ),
    ],
)
async def test_a_page_or_browser_that_can_not_do_it_is_told_what_to_do(
    open_tab: Open, missing: str, reason: str
) -> None:
    page = await open_tab()
    await page.run(missing)
    error = await page.fails("await PeerPouch.Identity.load()")
    assert error is not None
    assert error["error"] == "not_implemented"
    assert reason in error["reason"]
