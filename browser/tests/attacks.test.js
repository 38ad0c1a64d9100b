/**
 * A whole hub that is evil: what it does to shares and signals never lets it in, and at worst prevents a connection.
 *
 * Every attack on a defence has a twin that takes the defence away and shows that the attack then succeeds.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HubClient } from '../src/hub/client.js';
import * as signals from '../src/hub/signals.js';
import { concat, fromText, toText, utf8 } from '../src/trust/bytes.js';
import { Identity } from '../src/trust/identity.js';
import { HubSession } from '../src/trust/proofs.js';
import { SessionKey, seal } from '../src/trust/sealing.js';
import { settle, until } from './fake-clock.js';
import { sessionOf } from './keys.js';
import { mutant } from './mutant.js';
import { publish, turned, world } from './world.js';

const offers = (hub) => hub.written.filter((doc) => doc.offer);
const call = (client, id, body = {}, timeout = 20_000) => client.signal(id, body, { timeout });
const never = () => new Promise(() => {});

/** Lets everybody in, and remembers who came. */
function door() {
  const openings = [];
  return { openings, decide: async (opening) => { openings.push(opening); return { sdp: 'the owner\'s' }; } };
}

// Replays.

async function replay(t, Client) {
  const { join, hub } = world(t, { Client });
  const { openings, decide } = door();
  const [alice, bob] = [await join(), await join()];
  await call(bob, await publish(alice, { decide }));
  await until(() => hub.ids('signal:').length === 0);
  for (let n = 0; n < 3; n++) {
    hub.force(offers(hub)[0]);
    await settle();
  }
  return openings.length;
}

test('a replayed offer is not looked at again', async (t) => {
  assert.equal(await replay(t), 1);
});

test('twin: without memory it is', async (t) => {
  const load = mutant(t, { 'hub/admission.js': [['if (this.#seen.has(nonce) || time <= this.#floor) return false;', '']] });
  assert.equal(await replay(t, (await load('hub/client.js')).HubClient), 4);
});

async function replayAfterRestart(t, makeSession) {
  const Client = {
    join: async (hub, options) => HubClient.join(hub, options, await HubSession.make(await makeSession())),
  };
  const { join, hub } = world(t, { Client });
  const [me, bob] = [await Identity.ephemeral(), await join()];
  const before = await join(me);
  await call(bob, await publish(before));
  await until(() => hub.ids('signal:').length === 0);
  await before.close();
  const { openings, decide } = door();
  const after = await join(me);
  await publish(after, { decide });
  const [recorded] = offers(hub);
  for (const _id of [recorded._id, signals.firstId(after.address.session) + recorded._id.split(':')[2]]) {
    hub.force({ ...recorded, _id });
    await settle();
  }
  return openings.length;
}

test('after a restart a replayed offer can not be opened', async (t) => {
  assert.equal(await replayAfterRestart(t, () => SessionKey.generate()), 0);
});

test('twin: with a session key that outlives the page it can', async (t) => {
  const fixed = await sessionOf(new Uint8Array(32).fill(7));
  assert.ok(await replayAfterRestart(t, async () => fixed) >= 1);
});

test('a share of an ended session played back leads nowhere', async (t) => {
  const { join, hub, clock } = world(t);
  const [before, bob] = [await join(), await join()];
  const id = await publish(before);
  const old = hub.raw(`share:${id}`);
  await before.close();
  hub.force(old);
  await assert.rejects(turned(clock, call(bob, id)), { error: 'peer_unreachable' });
});

test('an older document of a running session is not believed, and overwritten', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const names = async () => (await bob.shares()).map(({ name }) => name);
  const id = await publish(alice, { name: 'old name' });
  const old = hub.raw(`share:${id}`);
  assert.deepEqual(await names(), ['old name']);
  await publish(alice, { name: 'new name' });
  assert.deepEqual(await names(), ['new name']);
  hub.force(old);
  assert.deepEqual(await names(), ['new name']);
  await clock.advance(31_000);
  assert.equal(hub.raw(`share:${id}`).name, 'new name');
});

// In the owner's place.

const middle = await SessionKey.generate();

/** The hub puts its own session key into alice's share, to open the offers to her. */
async function listedAfterMiddle(t) {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  hub.force({ ...hub.raw(`share:${id}`), session_key: toText(middle.key), session: middle.id });
  const found = await bob.shares();
  assert.equal(bob.invalidDocuments, found.length ? 0 : 1);
  return found.map(({ session }) => session);
}

test('a share with the hub\'s own session key is never listed', async (t) => {
  assert.deepEqual(await listedAfterMiddle(t), []);
});

test('twin: without the signature it is', async (t) => {
  t.mock.method(crypto.subtle, 'verify', async () => true);
  assert.deepEqual(await listedAfterMiddle(t), [middle.id]);
});

test('refused documents are counted once', async (t) => {
  const { join, hub } = world(t);
  const bob = await join();
  for (let n = 0; n < 3; n++) hub.force({ _id: `share:${n}`, type: 'nonsense' });
  assert.equal((await bob.shares()).length, 0);
  assert.equal((await bob.shares()).length, 0);
  assert.equal(bob.invalidDocuments, 3);
});

/**
 * Bob calls alice; the hub sees her answer, and even knows what it is sealed to. It writes its own answer before hers,
 * which then comes on top; or, with `swallow`, in the place of hers.
 */
async function callThrough(t, interfere, { swallow = false } = {}) {
  const reply = await sessionOf(new Uint8Array(32).fill(9));
  const real = SessionKey.generate;
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { decide: door().decide });
  let made = 0;
  // The first key that is made for a call is the reply's.
  t.mock.method(SessionKey, 'generate', () => (made++ === 0 ? Promise.resolve(reply) : real.call(SessionKey)));
  const forged = [];
  hub.beforeWrite = (document) => {
    if (!document.answer || !hub.beforeWrite) return;
    hub.beforeWrite = null;
    forged.push({ ...document });
    document.answer = toText(new Uint8Array(100)); // it is kept back, until it was altered
  };
  const calling = call(bob, id, {}, 30_000);
  calling.catch(() => {});
  await until(() => forged.length === 1);
  await settle();
  const [held] = forged;
  hub.force(await interfere(held, reply));
  await settle();
  if (!swallow) hub.force(held);
  return turned(clock, calling);
}

async function mallorysAnswer(document, reply) {
  const id = utf8(document._id);
  const signed = await reply.open(fromText(document.answer), 'answer', id);
  const payload = utf8(Buffer.from(signed.subarray(64)).toString().replace('the owner\'s', 'mallory\'s..'));
  const mallory = await Identity.ephemeral();
  const forged = concat(await mallory.sign('answer', payload), payload);
  return { ...document, answer: toText(await seal(reply.key, forged, 'answer', id)) };
}

test('an answer in the owner\'s place is passed over for the owner\'s own', async (t) => {
  assert.deepEqual(await callThrough(t, mallorysAnswer), { sdp: 'the owner\'s' });
});

test('an answer in the owner\'s place is never believed, and the error says that somebody interferes', async (t) => {
  await assert.rejects(callThrough(t, mallorysAnswer, { swallow: true }), (error) =>
    error.error === 'invalid_signal' && /interferes/.test(error.reason));
});

test('twin: without the answer\'s signature it is', async (t) => {
  t.mock.method(crypto.subtle, 'verify', async () => true);
  assert.deepEqual(await callThrough(t, mallorysAnswer, { swallow: true }), { sdp: 'mallory\'s..' });
});

test('answers swapped by the hub reach nobody', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  let open;
  const waiting = new Promise((resolve) => { open = resolve; });
  const id = await publish(alice, { decide: async ({ body }) => { await waiting; return { for: body.me }; } });
  const calls = Promise.allSettled(['one', 'two'].map((me) => call(bob, id, { me })));
  await until(() => offers(hub).length === 2);
  await settle();
  const answers = new Map();
  hub.beforeWrite = (document) => {
    if (!document.answer) return;
    answers.set(document._id, document.answer);
    const [other] = [...answers].filter(([_id]) => _id !== document._id);
    document.answer = other ? other[1] : toText(new Uint8Array(100));
  };
  open();
  for (const { reason } of await turned(clock, calls)) assert.match(reason.reason, /interferes/);
});

// Redirections and mix-ups.

test('an offer to one share does not open another', async (t) => {
  const { join } = world(t);
  const [alice, bob, open, shut] = [await join(), await join(), door(), door()];
  const id = await publish(alice, { uuid: 'public', decide: open.decide });
  await publish(alice, { uuid: 'private', decide: shut.decide });
  await call(bob, id);
  assert.deepEqual([open.openings.length, shut.openings.length], [1, 0]);
});

test('an offer copied to another owner does not open there', async (t) => {
  const { join, hub } = world(t);
  const [alice, carol, bob, { openings, decide }] = [await join(), await join(), await join(), door()];
  const id = await publish(alice);
  await publish(carol, { decide });
  await call(bob, id);
  const [offer] = offers(hub);
  hub.force({ ...offer, _id: signals.firstId(carol.address.session) + offer._id.split(':')[2] });
  await settle();
  assert.deepEqual(openings, []);
  assert.equal(carol.invalidDocuments, 1);
});

async function heldBack(t, minutes, Client) {
  const { join, hub, clock } = world(t, { Client });
  const { openings, decide } = door();
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { decide });
  let held;
  hub.beforeWrite = (document) => {
    if (!document.offer) return;
    held = { ...document };
    document.offer = 'x'; // kept back
  };
  await assert.rejects(turned(clock, call(bob, id)), { error: 'peer_unreachable' });
  hub.beforeWrite = null;
  await clock.advance(60_000 * minutes);
  hub.force(held);
  await settle();
  return openings.length;
}

test('an offer held back for long is refused, and one held back shortly is not', async (t) => {
  assert.equal(await heldBack(t, 16), 0);
  assert.equal(await heldBack(t, 5), 1);
});

test('twin: without the time it is taken', async (t) => {
  const load = mutant(t, { 'hub/receiving.js': [['if (Math.abs(difference) <= TOLERANCE) return;', 'return;']] });
  assert.equal(await heldBack(t, 16, (await load('hub/client.js')).HubClient), 1);
});

// What the hub learns.

const SECRETS = ['192.0.2.1 host candidate', 'who opens', 'who shares', 'uuid-of-the-database'];

async function everything(t) {
  const { join, hub } = world(t);
  const identity = await Identity.ephemeral();
  const [alice, bob] = [await join(), await join(identity)];
  const decide = async () => ({ sdp: '192.0.2.1 host candidate', info: 'who shares' });
  const id = await publish(alice, { uuid: 'uuid-of-the-database', decide });
  await call(bob, id, { sdp: '192.0.2.1 host candidate', info: 'who opens' });
  const secrets = [...SECRETS, identity.text, bob.address.session];
  const texts = hub.written.flatMap((doc) => [JSON.stringify(doc), ...['offer', 'answer'].filter((field) => doc[field])
    .map((field) => Buffer.from(fromText(doc[field])).toString('latin1'))]);
  return secrets.filter((secret) => texts.join('\n').includes(secret)).length;
}

test('nothing of the opener and of what is said is in the hub', async (t) => {
  assert.equal(await everything(t), 0);
});

test('twin: without the cipher it all is', async (t) => {
  t.mock.method(crypto.subtle, 'encrypt', async (how, key, data) => concat(data, new Uint8Array(16)).buffer);
  t.mock.method(crypto.subtle, 'decrypt', async (how, key, data) => data.slice(0, -16).buffer);
  assert.equal(await everything(t), 5); // all but the uuid, of which only a hash leaves the page
});

test('a thousand forged signals hold nothing', async (t) => {
  const { join, hub, clock } = world(t);
  const { openings, decide } = door();
  const alice = await join();
  await publish(alice, { decide });
  await settle();
  const timers = clock.pending;
  for (let n = 0; n < 1000; n++) {
    const _id = signals.firstId(alice.address.session) + String(n).padStart(26, '0');
    hub.force({ _id, type: 'peerpouch signal', version: 1, offer: toText(new Uint8Array(200).fill(n % 256)) });
  }
  await until(() => alice.invalidDocuments === 1000);
  assert.deepEqual(openings, []);
  assert.ok(clock.pending <= timers);
});

test('offers in hand are bounded: what comes beyond is dropped, not kept', async (t) => {
  const { join, hub, clock } = world(t);
  const alice = await join();
  const { openings, decide } = door();
  const id = await publish(alice, { decide: (opening) => { void decide(opening); return never(); } });
  const share = await (await join()).find(id);
  for (let n = 0; n < 200; n++) {
    const mallory = await Identity.ephemeral();
    const session = await SessionKey.generate();
    const { document } = await signals.makeOffer(mallory, share, {}, { session: session.id, replyTo: 'x', time: clock.now() });
    hub.force(document);
  }
  await settle();
  // 64 are being decided, the rest was refused at once, and none was dropped, since refusals are quick.
  assert.equal(openings.length, 64);
  await until(() => hub.written.filter((doc) => doc.answer).length === 136);
});

test('a document of another kind in the feed, or one that throws, does not end it', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  await bob.shares({ onChange() {} });
  for (const _id of ['share:', 'signal:', 'other', `signal:${alice.address.session}:`, '_design/x']) {
    for (const extra of [{}, { offer: 5, answer: {} }, { offer: { length: 5 }, _rev: 5 }]) hub.force({ _id, ...extra });
  }
  assert.ok(await call(bob, id));
});
