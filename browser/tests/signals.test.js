/**
 * Shares, offers and answers as documents, attacked by whoever can be attacking: the hub, a peer, a recipient that passes
 * things on. Every attack on a check has a twin that takes the check away and shows that the attack then succeeds.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PeerPouchError } from '../src/errors.js';
import * as announcing from '../src/hub/announcing.js';
import * as receiving from '../src/hub/receiving.js';
import * as shares from '../src/hub/shares.js';
import * as signals from '../src/hub/signals.js';
import { fromText, toText, utf8 } from '../src/trust/bytes.js';
import { concat } from '../src/trust/bytes.js';
import { Identity } from '../src/trust/identity.js';
import { SessionKey, seal } from '../src/trust/sealing.js';
import { fromHex, identityOf, sessionOf, toHex, vectors } from './keys.js';
import { mutant } from './mutant.js';

const invalid = { error: 'invalid_signal' };
const TIME = 1_700_000_000_000;
const NONCE = '0'.repeat(26);
const OTHER_NONCE = '1'.repeat(26);

const [alice, bob, mallory] = await Promise.all(Array.from({ length: 3 }, () => Identity.ephemeral()));
const [alices, bobs, mallorys] = await Promise.all(Array.from({ length: 3 }, () => SessionKey.generate()));

const describe = async (owner = alice, extra = {}) => ({
  database: await shares.databaseDigest(owner.key, 'uuid'), name: 'n', info: null, lease: 90, renewal: 1, now: TIME, ...extra,
});
const DOCUMENT = await announcing.toDocument(alice, alices, await describe());
const SHARE = await shares.fromDocument(DOCUMENT);

/** A document with other fields, signed by its owner again: a hostile owner signs what it likes. */
async function resigned(change) {
  const document = { ...DOCUMENT, ...change };
  return { ...document, signature: toText(await alice.sign('share', shares.signedBytes(document))) };
}

const offer = (opener = bob, nonce = NONCE, body = { sdp: 'bob\'s' }) =>
  signals.makeOffer(opener, SHARE, body, { session: bobs.id, replyTo: NONCE, nonce, time: TIME });
const receive = (document) => receiving.openOffer(document, alice.text, alices);
const answer = async (sent, outcome = { sdp: 'alice\'s' }) =>
  receiving.withAnswer(sent.document, await receiving.makeAnswer(alice, alices, await receive(sent.document), outcome));
const contentOf = async (sent) => {
  const signed = await alices.open(fromText(sent.document.offer), 'offer', utf8(sent.document._id));
  return JSON.parse(Buffer.from(signed.subarray(64)).toString());
};
async function boxed(signed, recipient = alices, nonce = NONCE) {
  const _id = signals.firstId(recipient.id) + nonce;
  const box = await seal(recipient.key, signed, 'offer', utf8(_id));
  return { _id, type: 'peerpouch signal', version: 1, reply_to: NONCE, created: TIME, offer: toText(box) };
}
async function signedBy(signer, content, purpose = 'offer') {
  const payload = utf8(typeof content === 'string' ? content : JSON.stringify(content));
  return concat(await signer.sign(purpose, payload), payload);
}

// The vectors.

test('the share of the vectors is read, and made again byte by byte', async () => {
  const { document, owner, session, database_uuid: uuid, signed } = vectors.share;
  const share = await shares.fromDocument(document);
  const identity = await identityOf(fromHex(owner));
  assert.deepEqual(share.key, identity.key);
  assert.equal(share.fingerprint, identity.fingerprint);
  assert.equal(Buffer.from(shares.signedBytes(document)).toString(), signed);
  const database = await shares.databaseDigest(identity.key, uuid);
  const { name, info, lease, renewal, renewed: now } = document;
  const content = { database, name, info, lease, renewal, now };
  assert.deepEqual(await announcing.toDocument(identity, await sessionOf(fromHex(session)), content), document);
});

test('the offer and the answers of the vectors are read, and made again byte by byte', async () => {
  const [owner, session] = [await identityOf(fromHex(vectors.share.owner)), await sessionOf(fromHex(vectors.share.session))];
  const { document, opener, opener_session: openers, reply, ephemeral, nonce_random, time, digest, content } = vectors.offer;
  const received = await receiving.openOffer(document, owner.text, session);
  const sender = await sessionOf(fromHex(openers));
  assert.deepEqual(received.sender, { key: (await identityOf(fromHex(opener))).key, session: sender.id });
  assert.deepEqual([toHex(received.digest), received.time, received.body], [digest, time, JSON.parse(content).body]);
  assert.equal(nonce_random.length, 34);
  const sent = await signals.makeOffer(await identityOf(fromHex(opener)), await shares.fromDocument(vectors.share.document),
    received.body, { session: sender.id, replyTo: document.reply_to, nonce: received.nonce, time,
      reply: await sessionOf(fromHex(reply)), ephemeral: await sessionOf(fromHex(ephemeral)) });
  assert.deepEqual(sent.document, document);
  const outcomes = [{ sdp: 'v=0\r\n', info: 3 }, new PeerPouchError('forbidden', 'Not today.')];
  for (const [place, { document: answered, ephemeral: key }] of vectors.answers.entries()) {
    const opened = await signals.openAnswer(answered, sent);
    const outcome = outcomes[place];
    if (outcome instanceof Error) assert.deepEqual([opened.error.error, opened.error.reason], ['forbidden', 'Not today.']);
    else assert.deepEqual(opened.body, outcome);
    const made = await receiving.makeAnswer(owner, session, received, outcome, await sessionOf(fromHex(key)));
    assert.equal(made, answered.answer);
  }
});

// Share documents.

test('what databases do to JSON leaves a share\'s signature valid', async () => {
  const reordered = Object.fromEntries(Object.entries(DOCUMENT).reverse());
  for (const document of [reordered, { ...DOCUMENT, _rev: '1-x', _revisions: {} }, JSON.parse(JSON.stringify(DOCUMENT))]) {
    assert.deepEqual(await shares.fromDocument(document), SHARE);
  }
});

test('a share document that anybody altered is refused', async () => {
  const key = mallory.text;
  const changes = [{ name: 'other' }, { info: 1 }, { lease: 91 }, { renewal: 2 }, { renewed: TIME + 1 }, { key }, { more: 1 },
    { session: mallorys.id }, { session_key: toText(mallorys.key), session: mallorys.id }, { version: 2 }, { type: 'x' },
    { _id: `share:${NONCE}` }, { share: NONCE }, { database: toText(new Uint8Array(32)) }, { signature: toText(new Uint8Array(64)) },
    { signature: 'x' }, { signature: null }];
  for (const change of changes) {
    await assert.rejects(shares.fromDocument({ ...DOCUMENT, ...change }), invalid, JSON.stringify(change));
  }
  for (const field of Object.keys(DOCUMENT)) {
    const { [field]: _, ...rest } = DOCUMENT;
    await assert.rejects(shares.fromDocument(rest), invalid, field);
  }
});

test('twin: without the signature it passes', async (t) => {
  t.mock.method(crypto.subtle, 'verify', async () => true);
  assert.equal((await shares.fromDocument({ ...DOCUMENT, name: 'other' })).name, 'other');
});

test('what is signed but out of bounds is refused', async () => {
  const changes = [{ lease: 9 }, { lease: 86_401 }, { lease: 10.5 }, { lease: '90' }, { renewal: -1 }, { renewal: null },
    { renewed: 2 ** 53 }, { renewed: 1.5 }, { name: '' }, { name: 'x'.repeat(201) }, { name: 'a\nb' }, { name: 'a\u202eb' },
    { name: 5 }, { info: 'x'.repeat(8191) }, { info: undefined }, { more: 'x'.repeat(16_000) }, { version: true }];
  for (const change of changes) {
    const document = 'info' in change && change.info === undefined
      ? await (async () => { const { info, ...rest } = DOCUMENT; return { ...rest, signature: toText(await alice.sign('share', shares.signedBytes(rest))) }; })()
      : { ...DOCUMENT, ...change };
    const signed = change.more ? document
      : { ...document, signature: toText(await alice.sign('share', shares.signedBytes(document))) };
    await assert.rejects(shares.fromDocument(signed), invalid, JSON.stringify(change).slice(0, 50));
  }
  assert.equal((await shares.fromDocument(await resigned({ name: '😀'.repeat(200) }))).name, '😀'.repeat(200));
  assert.equal((await shares.fromDocument(await resigned({ later: [1] }))).id, SHARE.id);
});

test('an integer exchanged for another of the same double is not what is read', async () => {
  const document = await resigned({ info: 2 ** 53 });
  assert.equal((await shares.fromDocument({ ...document, info: 2 ** 53 })).info, 2 ** 53);
});

const stolen = async () => {
  const document = { ...DOCUMENT, key: mallory.text };
  return { ...document, signature: toText(await mallory.sign('share', shares.signedBytes(document))) };
};

test('another key can not take a share\'s place', async () => {
  await assert.rejects(shares.fromDocument(await stolen()), /does not belong/);
});

test('twin: when ids are not tied to keys it can', async (t) => {
  const load = mutant(t, { 'hub/shares.js': [['if (fields.share !== id || document._id !== PREFIX + id)', 'if (false)']] });
  const { fromDocument } = await load('hub/shares.js');
  assert.deepEqual((await fromDocument(await stolen())).key, mallory.key);
});

test('garbage in the place of a share document is refused', async () => {
  for (const document of [null, undefined, 1, 'x', [], {}, { _id: DOCUMENT._id }, { ...DOCUMENT, info: { a: () => 1 } }]) {
    await assert.rejects(shares.fromDocument(document), invalid);
  }
});

test('names and infos are checked before they are signed', () => {
  const cyclic = {};
  cyclic.self = cyclic;
  for (const [name, info] of [['', null], ['x'.repeat(201), null], ['a\nb', null], ['x', 'y'.repeat(9000)], ['x', () => 1],
    ['x', 2 ** 60], ['x', cyclic], ['x', new Date(0)], [7, null]]) {
    assert.throws(() => announcing.checkDescription(name, info), { error: 'bad_request' });
  }
  announcing.checkDescription('Notes, où?', { any: ['JSON', 1.5] });
});

// What should work.

test('an offer arrives with its sender and body, and an answer with its body', async () => {
  const sent = await offer();
  const received = await receive(sent.document);
  assert.deepEqual([received.body, received.sender, received.shareId, received.nonce, received.time],
    [{ sdp: 'bob\'s' }, { key: bob.key, session: bobs.id }, SHARE.id, NONCE, TIME]);
  assert.deepEqual(await signals.openAnswer(await answer(sent), sent), { body: { sdp: 'alice\'s' } });
});

test('a refusal arrives as the same error, and one that is not for peers as a plain one', async () => {
  const sent = await offer();
  const arrives = async (error) => (await signals.openAnswer(await answer(sent, error), sent)).error;
  for (const name of ['forbidden', 'share_not_found', 'too_many_requests', 'clock_skew']) {
    const got = await arrives(new PeerPouchError(name, 'because'));
    assert.deepEqual([got.error, got.reason], [name, 'because']);
  }
  for (const error of [new PeerPouchError('storage_error', '/home/alice/secret.db'), new Error('secret')]) {
    const got = await arrives(error);
    assert.equal(got.error, 'forbidden');
    assert.ok(!got.reason.includes('secret'));
  }
  assert.equal((await arrives(new PeerPouchError('forbidden', 'x'.repeat(5000)))).reason.length, 1000);
});

const hostile = async (refused) => {
  const sent = await offer();
  const content = { version: 1, offer: toText(sent.digest), from: { key: alice.text, session: alices.id },
    to: { key: bob.text, session: bobs.id }, refused };
  const box = await seal(sent.reply.key, await signedBy(alice, content, 'answer'), 'answer', utf8(sent.document._id));
  return signals.openAnswer(receiving.withAnswer(sent.document, toText(box)), sent);
};

test('a hostile owner can\'t make us raise any error it likes', async () => {
  const { error } = await hostile({ error: 'storage_error', reason: 'your disk is broken' });
  assert.equal(error.error, 'forbidden');
  assert.equal((await hostile({ error: {}, reason: [] })).error.error, 'forbidden');
  for (const refused of [5, 'x', [], true]) await assert.rejects(hostile(refused), invalid);
});

test('lengths tell no more than a multiple of a kibibyte, and bodies are bounded', async () => {
  const lengths = new Set();
  for (let size = 0; size < 300; size += 20) {
    lengths.add((await offer(bob, NONCE, { sdp: 'x'.repeat(size) })).document.offer.length);
  }
  assert.equal(lengths.size, 1);
  await assert.rejects(offer(bob, NONCE, { sdp: 'x'.repeat(65_536) }), /too large/);
  for (const sdp of [1n, NaN, '\ud800', { '\udc00': 1 }]) {
    await assert.rejects(offer(bob, NONCE, { sdp }), { error: 'bad_request' });
  }
});

// The hub reads and alters.

test('a hub reads nothing of an offer and its answer', async () => {
  const sent = await offer(bob, NONCE, { sdp: 'candidate 192.0.2.7', info: 'my secret' });
  const answered = await answer(sent, { sdp: 'candidate 192.0.2.8', info: 'his secret' });
  const clear = JSON.stringify([sent.document, answered]) +
    Buffer.concat([fromText(sent.document.offer), fromText(answered.answer)]).toString('latin1');
  for (const secret of ['192.0.2', 'secret', bob.text, bobs.id, Buffer.from(bob.key).toString('latin1')]) {
    assert.ok(!clear.includes(secret));
  }
  assert.ok(JSON.stringify(await receive(sent.document)).includes('my secret')); // the search finds what is there
});

test('an altered offer or answer is refused, whichever bit it is', async () => {
  const sent = await offer();
  const answered = await answer(sent);
  const size = fromText(sent.document.offer).length;
  for (let place = 0; place < size; place += 7) {
    const flip = (text) => { const box = fromText(text); box[place] ^= 1 << (place % 8); return toText(box); };
    await assert.rejects(receive({ ...sent.document, offer: flip(sent.document.offer) }), invalid);
    await assert.rejects(signals.openAnswer({ ...answered, answer: flip(answered.answer) }, sent), invalid);
  }
});

// Somebody forges.

test('an offer in another\'s name is refused', async () => {
  const forged = await boxed(await signedBy(mallory, await contentOf(await offer())));
  await assert.rejects(receive(forged), /signature/);
});

test('twin: without the signature it passes as bob\'s', async (t) => {
  const forged = await boxed(await signedBy(mallory, await contentOf(await offer())));
  t.mock.method(crypto.subtle, 'verify', async () => true);
  assert.deepEqual((await receive(forged)).sender.key, bob.key);
});

/** Mallory, in alice's place, with her own description; she even learned what the answer must be sealed to. */
async function forgedAnswer(sent) {
  const text = await receiving.makeAnswer(alice, alices, await receive(sent.document), { sdp: 'mallory\'s' });
  const id = utf8(sent.document._id);
  const payload = (await sent.reply.open(fromText(text), 'answer', id)).subarray(64);
  const signed = concat(await mallory.sign('answer', payload), payload);
  return receiving.withAnswer(sent.document, toText(await seal(sent.reply.key, signed, 'answer', id)));
}

test('an answer in the owner\'s place is refused', async () => {
  const sent = await offer();
  await assert.rejects(signals.openAnswer(await forgedAnswer(sent), sent), /signature/);
});

test('twin: without the signature the opener would connect to mallory', async (t) => {
  const sent = await offer();
  const forged = await forgedAnswer(sent);
  t.mock.method(crypto.subtle, 'verify', async () => true);
  assert.deepEqual((await signals.openAnswer(forged, sent)).body, { sdp: 'mallory\'s' });
});

test('a signature made for an answer is none for an offer', async () => {
  const content = await contentOf(await offer());
  await assert.rejects(receive(await boxed(await signedBy(bob, content, 'answer'))), invalid);
  await receive(await boxed(await signedBy(bob, content, 'offer')));
});

// Somebody redirects.

test('an offer moved to another session or document is refused', async () => {
  const { document } = await offer();
  const moved = { ...document, _id: signals.firstId(mallorys.id) + NONCE };
  await assert.rejects(receiving.openOffer(moved, mallory.text, mallorys), invalid);
  await assert.rejects(receive({ ...document, _id: signals.firstId(alices.id) + OTHER_NONCE }), invalid);
});

/** Alice opens bob's offer, and seals his very words to another place. */
async function passedOn(recipient, nonce) {
  const { document } = await offer();
  return boxed(await alices.open(fromText(document.offer), 'offer', utf8(document._id)), recipient, nonce);
}

test('an offer that its recipient passes on is refused', async () => {
  await assert.rejects(receiving.openOffer(await passedOn(mallorys, NONCE), mallory.text, mallorys), /somebody else/);
});

test('twin: without the recipient in the signature it passes', async (t) => {
  const load = mutant(t, { 'hub/receiving.js': [['if (!isSame(content.to, { key, session: session.id,', 'if (false && ({ key, session: session.id,']] });
  const { openOffer } = await load('hub/receiving.js');
  const received = await openOffer(await passedOn(mallorys, NONCE), mallory.text, mallorys);
  assert.deepEqual(received.sender.key, bob.key);
});

test('an offer that is sealed anew under another id is refused', async () => {
  await assert.rejects(receive(await passedOn(alices, OTHER_NONCE)), /nonce/);
});

test('twin: without the nonce in the signature it passes as a new one', async (t) => {
  const load = mutant(t, { 'hub/receiving.js': [['if (content.nonce !== nonce)', 'if (false)']] });
  const { openOffer } = await load('hub/receiving.js');
  assert.equal((await openOffer(await passedOn(alices, OTHER_NONCE), alice.text, alices)).nonce, OTHER_NONCE);
});

// Somebody swaps or replays answers.

/** The answer to one offer, alice's signature intact, put in the place of the answer to another. */
async function resealed(one, two) {
  const box = fromText((await answer(one, { sdp: 'an earlier one' })).answer);
  const signed = await one.reply.open(box, 'answer', utf8(one.document._id));
  return receiving.withAnswer(two.document, toText(await seal(two.reply.key, signed, 'answer', utf8(two.document._id))));
}

test('answers swapped between two offers are refused, sealed anew or not', async () => {
  const [one, two] = [await offer(), await offer(bob, OTHER_NONCE)];
  await assert.rejects(signals.openAnswer({ ...one.document, answer: (await answer(two)).answer }, one), invalid);
  await assert.rejects(signals.openAnswer(await resealed(one, two), two), /another offer/);
});

test('twin: without the offer\'s hash it passes', async (t) => {
  const [one, two] = [await offer(), await offer(bob, OTHER_NONCE)];
  const load = mutant(t, { 'hub/signals.js': [['if (content.offer !== toText(asked))', 'if (false)']] });
  const { openAnswer } = await load('hub/signals.js');
  assert.deepEqual((await openAnswer(await resealed(one, two), two)).body, { sdp: 'an earlier one' });
});

test('a stale offer is refused, and clocks are named', () => {
  for (const minutes of [-16, 16]) {
    assert.throws(() => receiving.checkTime(TIME, TIME + 60_000 * minutes), (error) =>
      error.error === 'clock_skew' && error.reason.includes('16 minutes'));
    receiving.checkTime(TIME, TIME + 0.9 * 60_000 * minutes);
  }
});

// Garbage.

const GARBAGE = [null, true, 0, 1, -1, 1.5, '', 'x', NONCE, 'AAAA', [], [1], {}, { key: 1 }, { key: null, session: {} }];

test('a garbled signal document is refused', async () => {
  const { document } = await offer();
  for (const field of ['_id', 'type', 'version', 'offer']) {
    for (const value of GARBAGE) {
      if (field === 'version' && value === 1) continue;
      await assert.rejects(receive({ ...document, [field]: value }), invalid, `${field}: ${JSON.stringify(value)}`);
    }
  }
});

test('content of the wrong shape is refused though it is signed and sealed', async () => {
  const content = await contentOf(await offer());
  for (const field of ['version', 'share', 'to', 'from', 'reply_key', 'time', 'nonce', 'body']) {
    for (const value of GARBAGE) {
      const document = await boxed(await signedBy(bob, { ...content, [field]: value }));
      const fine = (field === 'version' && value === 1) || (field === 'time' && Number.isInteger(value)) ||
        (field === 'body' && typeof value === 'object' && value !== null && !Array.isArray(value)) ||
        ((field === 'nonce' || field === 'share') && value === NONCE);
      if (fine) await receive(document);
      else await assert.rejects(receive(document), invalid, `${field}: ${JSON.stringify(value)}`);
    }
  }
  for (const text of ['', '{', 'null', '[]', '5', '[[['.repeat(20_000), '\ufffd']) {
    await assert.rejects(receive(await boxed(await signedBy(bob, text))), invalid, text.slice(0, 9));
  }
  for (const size of [0, 1, 63, 64, 65, 100_000]) {
    await assert.rejects(receive(await boxed(new Uint8Array(size))), invalid, String(size));
  }
});
