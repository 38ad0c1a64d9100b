import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';

import * as bytes from '../src/trust/bytes.js';
import * as canonical from '../src/trust/canonical.js';
import { Identity, fingerprint, readFingerprint, verify } from '../src/trust/identity.js';
import { Invite } from '../src/trust/invites.js';
import { SessionKey, seal } from '../src/trust/sealing.js';
import { fromHex, identityOf, sessionOf, toHex, vectors } from './keys.js';

const bad = { error: 'bad_request' };

test('base32 and base64url agree with the vectors, and read only the one text', () => {
  for (const { bytes: data, length, text } of vectors.base32) assert.equal(bytes.toBase32(fromHex(data), length), text);
  for (let size = 0; size < 40; size++) {
    const data = bytes.randomBytes(size);
    assert.equal(bytes.toText(data), Buffer.from(data).toString('base64url'));
    assert.deepEqual(bytes.fromText(bytes.toText(data)), data);
  }
  const large = bytes.randomBytes(60_000);
  assert.deepEqual(bytes.fromText(bytes.toText(large)), large);
  for (const wrong of ['A', 'AB', 'AA==', 'A A', 'AA\n', 'A+', 'é', null, 7, 'AAA', 'AAA\n']) {
    if (wrong === 'AAA') assert.equal(bytes.fromText(wrong).length, 2);
    else assert.throws(() => bytes.fromText(wrong), bad, String(wrong));
  }
  assert.throws(() => bytes.fromText('AAAA', { size: 2 }), bad);
  assert.throws(() => bytes.fromText('AAAA', { limit: 3 }), bad);
});

test('what people type is read in any case, with o for 0 and i and l for 1', () => {
  assert.equal(bytes.readBase32(' 0O1-Il ', 5), '00111');
  assert.equal(readFingerprint('5J4C 0Y9S7WJM-6GGX-yopz'), '5j4c-0y9s-7wjm-6ggx-y0pz');
  for (const wrong of ['', '5j4c', '5j4c-0y9s-7wjm-6ggx-y0pu', '5j4c-0y9s-7wjm-6ggx-y0pzz', ' '.repeat(1e6), null]) {
    assert.throws(() => readFingerprint(wrong), bad);
  }
});

test('bytes are compared whole', () => {
  assert.ok(bytes.equal(fromHex('0102'), fromHex('0102')));
  for (const other of ['0103', '0202', '01', '010203', '']) assert.ok(!bytes.equal(fromHex('0102'), fromHex(other)));
});

test('labels and canonical forms are those of the vectors', () => {
  assert.equal(toHex(bytes.label('sign', 'offer')), vectors.labels['sign offer']);
  assert.equal(toHex(bytes.label('hash', 'share-id')), vectors.labels['hash share-id']);
  for (const { value, text } of vectors.canonical) {
    assert.equal(bytes.fromUtf8(canonical.encode(value, { exact: false })), text);
    assert.deepEqual(canonical.decode(canonical.encode(value, { exact: false })), JSON.parse(JSON.stringify(value)));
  }
});

test('canonical JSON refuses what is no JSON, lone surrogates, depth and inexact integers', () => {
  const nested = (levels) => { let value = 0; while (levels--) value = [value]; return value; };
  const wrong = [undefined, NaN, Infinity, 1n, () => 1, Symbol('x'), new Date(0), new Map(), new Uint8Array(1),
    '\ud800', { '\udc00': 1 }, [undefined], { a: undefined }, new Array(1), nested(65), 2 ** 53, -(2 ** 60), 1e20];
  for (const value of wrong) assert.throws(() => canonical.encode(value), { error: 'doc_validation' });
  assert.equal(bytes.fromUtf8(canonical.encode(2 ** 53, { exact: false })), '9007199254740992');
  assert.equal(bytes.fromUtf8(canonical.encode([1e21, 2 ** 53 - 1])), '[1e+21,9007199254740991]');
  canonical.encode(nested(64));
});

test('a member called __proto__ is a member like others', () => {
  const value = JSON.parse('{"__proto__":{"a":1},"b":2}');
  assert.equal(bytes.fromUtf8(canonical.encode(value)), '{"__proto__":{"a":1},"b":2}');
});

test('keys, fingerprints and signatures are those of the vectors', async () => {
  for (const { private: secret, public: key, text, fingerprint: print } of vectors.identities) {
    const identity = await identityOf(fromHex(secret));
    assert.deepEqual([toHex(identity.key), identity.text, identity.fingerprint], [key, text, print]);
    assert.equal(await fingerprint(identity.key), print);
  }
  const { private: secret, purpose, payload, signature } = vectors.signature;
  const identity = await identityOf(fromHex(secret));
  assert.equal(toHex(await identity.sign(purpose, fromHex(payload))), signature);
  assert.ok(await identity.verify(purpose, fromHex(payload), fromHex(signature)));
});

test('a signature is for one key, one purpose and one payload', async () => {
  const [alice, bob] = await Promise.all([Identity.ephemeral(), Identity.ephemeral()]);
  const payload = bytes.utf8('payload');
  const signature = await alice.sign('offer', payload);
  assert.ok(await verify(alice.key, 'offer', payload, signature));
  assert.ok(!(await verify(bob.key, 'offer', payload, signature)));
  assert.ok(!(await verify(alice.key, 'answer', payload, signature)));
  assert.ok(!(await verify(alice.key, 'offer', bytes.utf8('payloae'), signature)));
  assert.ok(!(await verify(alice.key, 'offer', payload, signature.subarray(1))));
  for (const wrong of [new Uint8Array(32).fill(255), new Uint8Array(31), new Uint8Array(0)]) {
    assert.ok(!(await verify(wrong, 'offer', payload, signature)));
  }
});

test('a private key can\'t be read, and an identity shows none', async () => {
  const identity = await Identity.ephemeral();
  assert.deepEqual(Object.keys(identity), ['key', 'text', 'fingerprint']);
  assert.ok(!inspect(identity, { depth: 9, showHidden: true }).includes('CryptoKey'));
  assert.equal(String(identity), identity.fingerprint);
});

test('sessions and boxes are those of the vectors', async () => {
  for (const { private: secret, public: key, id } of vectors.sessions) {
    const session = await sessionOf(fromHex(secret));
    assert.deepEqual([toHex(session.key), session.id], [key, id]);
  }
  const { recipient, ephemeral, purpose, associated, content, box } = vectors.sealed;
  const session = await sessionOf(fromHex(recipient));
  assert.equal(toHex(await session.open(fromHex(box), purpose, fromHex(associated))), content);
  const again = await seal(session.key, fromHex(content), purpose, fromHex(associated), await sessionOf(fromHex(ephemeral)));
  assert.equal(toHex(again), box);
});

test('a box opens for its recipient, purpose and document only, and every altered bit is noticed', async () => {
  const [session, other] = await Promise.all([SessionKey.generate(), SessionKey.generate()]);
  const content = bytes.utf8('content');
  const id = bytes.utf8('signal:1');
  const box = await seal(session.key, content, 'offer', id);
  assert.deepEqual(await session.open(box, 'offer', id), content);
  const fails = (promise) => assert.rejects(promise, { error: 'invalid_signal' });
  await fails(other.open(box, 'offer', id));
  await fails(session.open(box, 'answer', id));
  await fails(session.open(box, 'offer', bytes.utf8('signal:2')));
  for (let place = 0; place < box.length; place++) {
    const altered = box.slice();
    // The highest bit of the last byte of a key is ignored by X25519 itself; the salt covers it all the same.
    altered[place] ^= 1 << (place % 8);
    await fails(session.open(altered, 'offer', id));
  }
  for (const size of [0, 31, 47]) await fails(session.open(box.subarray(0, size), 'offer', id));
});

test('points of small order, whose secret everybody knows, are refused', async () => {
  const session = await SessionKey.generate();
  for (const point of [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31))]) {
    await assert.rejects(seal(point, bytes.utf8('x'), 'offer', bytes.utf8('y')), { error: 'invalid_signal' });
    await assert.rejects(session.open(bytes.concat(point, new Uint8Array(40)), 'offer', bytes.utf8('y')),
      { error: 'invalid_signal' });
  }
});

test('invites are those of the vectors', async () => {
  const { text, hub, share, fingerprint: print, token, name } = vectors.invite;
  const invite = await Invite.parse(`  ${text}\n`);
  assert.deepEqual([invite.hub, invite.shareId, invite.fingerprint, toHex(invite.token), invite.name],
    [hub, share, print, token, name]);
  const made = await Invite.make({ hub, shareId: share, fingerprint: print, token: fromHex(token), name });
  assert.equal(String(made), text);
  assert.ok(made.isFor(print));
  assert.ok(!made.isFor('0000-0000-0000-0000-0000'));
  assert.equal((await Invite.parse(`https://example.org/list?x=1#${text}`)).shareId, share);
});

test('a cut, mistyped or malformed invite is refused, and not shown', async () => {
  const { text } = vectors.invite;
  const wrong = ['', 'peerpouch:1:', 'peerpouch:2:' + text.slice(12), text.slice(0, -1), text.slice(0, 20),
    text.slice(0, 40) + (text[40] === 'A' ? 'B' : 'A') + text.slice(41), text + 'A', 'http://evil/?' + text, 'x'.repeat(5000)];
  for (const each of wrong) {
    await assert.rejects(Invite.parse(each), (error) => error.error === 'bad_request' && !error.reason.includes(text.slice(20, 60)));
  }
  const seal4 = async (value) => {
    const payload = bytes.utf8(JSON.stringify(value));
    const sum = (await bytes.digest('invite', payload)).subarray(0, 4);
    return 'peerpouch:1:' + bytes.toText(bytes.concat(sum, payload));
  };
  const good = { h: 'https://hub', s: vectors.invite.share, f: vectors.invite.fingerprint };
  await Invite.parse(await seal4({ ...good, later: 1 }));
  for (const value of [null, [], 'x', {}, { ...good, h: '' }, { ...good, s: 'x' }, { ...good, f: 'x' },
    { ...good, f: good.f.toUpperCase() }, { ...good, t: 'AAAA' }, { ...good, t: 5 }, { ...good, n: 5 }]) {
    await assert.rejects(Invite.parse(await seal4(value)), bad, JSON.stringify(value));
  }
  await assert.rejects(Invite.make({ hub: 'x'.repeat(3000), shareId: good.s, fingerprint: good.f }), /longer/);
});

test('an invite that is logged shows neither its token nor the hub\'s password', async () => {
  const token = bytes.randomBytes(16);
  const { share: shareId, fingerprint: print } = vectors.invite;
  const invite = await Invite.make({ hub: 'https://me:hunter2@hub', shareId, fingerprint: print, token });
  const shown = inspect(invite, { depth: 9 }) + JSON.stringify(invite);
  for (const secret of ['hunter2', bytes.toText(token), String(invite)]) assert.ok(!shown.includes(secret));
  assert.ok(String(invite).length > 60);
});

test('a page that is not secure is told what to do', (t) => {
  const real = Object.getOwnPropertyDescriptor(globalThis, 'crypto');
  t.after(() => Object.defineProperty(globalThis, 'crypto', real));
  Object.defineProperty(globalThis, 'crypto', { value: {}, configurable: true });
  assert.throws(() => bytes.subtle(), (error) => error.error === 'not_implemented' && /https/.test(error.reason));
});

test('a browser without these curves is told so', async (t) => {
  const refuse = async () => { throw new DOMException('Unrecognized name.', 'NotSupportedError'); };
  for (const method of ['generateKey', 'importKey']) t.mock.method(crypto.subtle, method, refuse);
  for (const work of [() => Identity.ephemeral(), () => SessionKey.generate(), () => verify(new Uint8Array(32), 'x',
    new Uint8Array(1), new Uint8Array(64))]) {
    await assert.rejects(work, (error) => error.error === 'not_implemented' && /Firefox/.test(error.reason));
  }
});
