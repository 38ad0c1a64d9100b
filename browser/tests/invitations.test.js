import assert from 'node:assert/strict';
import { test } from 'node:test';

import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';

import { randomBytes } from '../src/trust/bytes.js';
import { DOC_ID, Invitations } from '../src/trust/invitations.js';
import { FakeClock } from './fake-clock.js';

PouchDB.plugin(memory);

let count = 0;

async function world(t) {
  const database = new PouchDB(`invitations-${count++}`, { adapter: 'memory' });
  t.after(() => database.destroy());
  const clock = new FakeClock();
  return { database, clock, invitations: new Invitations(database, clock) };
}

const [alice, bob] = [randomBytes(32), randomBytes(32)];
const forbidden = { error: 'forbidden' };

test('an invite lets in whoever has it, with what it gives', async (t) => {
  const { invitations } = await world(t);
  assert.equal(await invitations.any(), false);
  const plain = await invitations.add();
  const limited = await invitations.add({ access: { read: true, write: false } });
  assert.equal(await invitations.any(), true);
  assert.equal(await invitations.redeem(plain, alice), null);
  assert.equal(await invitations.redeem(plain, bob), null);
  assert.deepEqual(await invitations.redeem(limited, bob), { read: true, write: false });
  await assert.rejects(invitations.redeem(randomBytes(16), alice), forbidden);
});

test('an invite for one is bound to the first key, also for another tab and after a restart', async (t) => {
  const { database, clock, invitations } = await world(t);
  const token = await invitations.add({ once: true });
  await invitations.redeem(token, alice);
  await invitations.redeem(token, alice);
  await assert.rejects(invitations.redeem(token, bob), /somebody else/);
  await assert.rejects(new Invitations(database, clock).redeem(token, bob), forbidden);
});

test('of many who come at once with an invite for one, one gets in', async (t) => {
  const { invitations } = await world(t);
  const token = await invitations.add({ once: true });
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => invitations.redeem(token, randomBytes(32))));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('twin: one that is not for one alone lets in all of them', async (t) => {
  const { invitations } = await world(t);
  const token = await invitations.add();
  await Promise.all(Array.from({ length: 10 }, () => invitations.redeem(token, randomBytes(32))));
});

test('an invite runs out, and can be taken back; the share stays for the invited', async (t) => {
  const { invitations, clock } = await world(t);
  const short = await invitations.add({ expires: 60_000 });
  const other = await invitations.add();
  await invitations.redeem(short, alice);
  await clock.advance(60_000);
  await assert.rejects(invitations.redeem(short, alice), forbidden);
  await invitations.takeBack(other);
  await assert.rejects(invitations.redeem(other, alice), forbidden);
  assert.equal(await invitations.any(), true);
  await assert.rejects(invitations.takeBack(randomBytes(16)), { error: 'not_found' });
  for (const expires of [0, -1, NaN]) await assert.rejects(invitations.add({ expires }), { error: 'bad_request' });
});

test('no token is kept, and nothing of it is replicated', async (t) => {
  const { database, invitations } = await world(t);
  const token = Buffer.from(await invitations.add());
  const kept = JSON.stringify(await database.get(DOC_ID));
  for (const form of ['hex', 'base64', 'base64url']) assert.ok(!kept.includes(token.toString(form)));
  assert.deepEqual((await database.changes()).results, []);
});

test('keys are shut out and let in again', async (t) => {
  const { database, clock, invitations } = await world(t);
  assert.equal(await invitations.isRevoked(alice), false);
  await invitations.revoke(alice);
  await invitations.revoke(alice);
  assert.equal(await new Invitations(database, clock).isRevoked(alice), true);
  assert.equal(await invitations.isRevoked(bob), false);
  await invitations.revoke(alice, false);
  assert.equal(await invitations.isRevoked(alice), false);
});

test('invites are bounded, and one that ran out makes room', async (t) => {
  const { database, clock, invitations } = await world(t);
  const entry = { hash: 'x', once: false, expires: null, access: null, key: null, made: 0 };
  await database.put({ _id: DOC_ID, invites: Array.from({ length: 1000 }, () => entry) });
  await assert.rejects(invitations.add(), { error: 'bad_request' });
  const doc = await database.get(DOC_ID);
  await database.put({ ...doc, invites: [...doc.invites.slice(1), { ...entry, expires: 1 }] });
  await invitations.redeem(await new Invitations(database, clock).add(), alice);
});
