import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { label } from '../src/trust/bytes.js';
import { HubSession } from '../src/trust/proofs.js';
import { fromHex, sessionOf, toHex } from './keys.js';

const vectors = JSON.parse(readFileSync(new URL('../../tests/vectors/public-hub.json', import.meta.url), 'utf8'));
const announced = (value) => new Headers(value === undefined ? {} : { 'Peerpouch-Hub': value });

const make = async () => HubSession.make(await sessionOf(fromHex(vectors.session.private)), fromHex(vectors.reply.secret));

test('labels, reply tag and proofs are those of the vectors', async () => {
  assert.equal(toHex(label('prove', 'session')), vectors.labels['prove session']);
  assert.equal(toHex(label('hash', 'reply-to')), vectors.labels['hash reply-to']);
  const session = await make();
  assert.equal(session.replyTo, vectors.reply.reply_to);
  assert.equal(session.key.id, vectors.session.id);
  const told = 5000; // when the hub told its time, by our own clock
  assert.ok(session.learn(announced(vectors.hub.header), told));
  const began = Number(vectors.hub.header.split('.')[1]);
  for (const { time, header } of vectors.session.proofs) {
    const headers = new Headers();
    await session.prove(headers, told + time - began);
    assert.equal(headers.get('peerpouch-session'), header);
    assert.equal(headers.get('peerpouch-reply'), vectors.reply.header);
    const again = new Headers();
    session.proveAgain(again);
    assert.deepEqual([...again], [...headers]);
  }
});

test('a hub that does not ask is shown nothing', async () => {
  const session = await make();
  const key = vectors.hub.header.split('.')[0];
  for (const value of [undefined, '', 'x', key, `${key}.`, `${key}.01`, `${key}.-1`, `${key}.1.2`, `${key.slice(1)}.1`,
    `${key}A.1`, `${'_'.repeat(43)}.1`]) {
    assert.ok(!session.learn(announced(value), 0), value);
    const headers = new Headers();
    await session.prove(headers, 0);
    session.proveAgain(headers);
    assert.deepEqual([...headers], []);
    assert.equal(session.isAskedFor, false);
  }
});

test('a hub whose key is of small order is shown nothing', async () => {
  const session = await make();
  assert.ok(session.learn(announced(`${'A'.repeat(43)}.1`), 0));
  const headers = new Headers();
  await session.prove(headers, 0);
  assert.deepEqual([...headers], []);
});
