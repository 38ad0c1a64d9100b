import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PeerPouchError } from '../src/errors.js';
import { Contacts } from '../src/trust/contacts.js';
import { Identity } from '../src/trust/identity.js';
import { FakeClock, settle, until } from './fake-clock.js';
import { MemoryHub } from './memory-hub.js';
import { mutant } from './mutant.js';
import { echo, publish, turned, world } from './world.js';

const gone = new PeerPouchError('connection_failed', 'nobody listens there');
const call = (client, shareId, body = { sdp: 'x' }, timeout = 20_000) => client.signal(shareId, body, { timeout });
const never = () => new Promise(() => {});

test('a share is listed for others and not for oneself', async (t) => {
  const { join } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { info: { site: 3 } });
  const listed = await bob.shares();
  assert.equal(listed.length, 1);
  const [share] = listed;
  assert.deepEqual([share.id, share.name, share.info, share.key, share.session, share.trust, share.contact, share.deleted],
    [id, 'Field notes', { site: 3 }, alice.address.key, alice.address.session, 'new', null, false]);
  assert.deepEqual([...(await alice.shares())], []);
  assert.equal(await alice.shareId('uuid-1'), id);
  assert.equal(bob.label, 'https://hub.example/pouch');
});

test('two clients of one identity see and open each other\'s shares', async (t) => {
  const { join } = world(t);
  const me = await Identity.ephemeral();
  const [one, two] = [await join(me), await join(me)];
  const id = await publish(one);
  assert.deepEqual((await two.shares()).map((share) => [share.id, share.trust]), [[id, 'seen']]);
  assert.equal((await call(two, id)).sdp, 'answer to x');
});

test('an offer is answered and leaves nothing behind', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  assert.deepEqual(await call(bob, id, { sdp: 'offer', info: { who: 'bob' } }),
    { sdp: 'answer to offer', info: { from: 'the owner' } });
  await until(() => hub.ids('signal:').length === 0);
  // One signal document: the offer, the answer in its place, and its deletion.
  const states = hub.written.filter(({ _id }) => _id.startsWith('signal:'));
  assert.equal(new Set(states.map(({ _id }) => _id)).size, 1);
  assert.deepEqual(states.map((doc) => ['offer' in doc, 'answer' in doc, '_deleted' in doc]),
    [[true, false, false], [false, true, false], [false, false, true]]);
});

test('who decides gets the verified peer, with the contact\'s name', async (t) => {
  const { join } = world(t);
  const contacts = new Contacts();
  const bobs = await Identity.ephemeral();
  await contacts.add('Bob', bobs.key, { now: 0 });
  const [alice, bob, stranger] = [await join(undefined, { contacts }), await join(bobs), await join()];
  const seen = [];
  const id = await publish(alice, { decide: async (opening) => { seen.push(opening); return {}; } });
  await call(bob, id, { info: 'bob' });
  await call(stranger, id, {});
  assert.deepEqual([seen[0].peer.key, seen[0].peer.session, seen[0].peer.fingerprint, seen[0].share],
    [bobs.key, bob.address.session, bobs.fingerprint, id]);
  assert.deepEqual(seen.map(({ peer }) => peer.name), ['Bob', null]);
  assert.deepEqual(seen.map(({ body }) => body), [{ info: 'bob' }, {}]);
});

test('listings tell contacts, names seen before, and names under another key', async (t) => {
  const { join } = world(t);
  const contacts = new Contacts();
  const [alice, eve, carol, bob] = [await join(), await join(), await join(), await join(undefined, { contacts })];
  await publish(alice, { name: 'Notes' });
  await publish(carol, { name: 'Carol\'s' });
  await contacts.add('Carol', carol.address.key, { now: 0 });
  await contacts.remember('Notes', alice.address.key, { scope: bob.label, now: 0 });
  await publish(eve, { name: 'Notes' });
  const found = Object.fromEntries((await bob.shares()).map((share) => [share.session, [share.trust, share.contact]]));
  assert.deepEqual(found, { [alice.address.session]: ['seen', null], [eve.address.session]: ['changed', null],
    [carol.address.session]: ['contact', 'Carol'] });
  assert.equal((await bob.find(await eve.shareId('uuid-1'))).trust, 'changed');
});

test('a refusal reaches the opener with its reason, and what failed stays with the owner', async (t) => {
  const { join } = world(t);
  const [alice, bob] = [await join(), await join()];
  const refuse = (error) => publish(alice, { decide: async () => { throw error; } });
  await assert.rejects(call(bob, await refuse(new PeerPouchError('forbidden', 'not you'))), { error: 'forbidden', reason: 'not you' });
  for (const secret of [new Error('the password is hunter2'), new PeerPouchError('storage_error', 'hunter2'), 'hunter2']) {
    await assert.rejects(call(bob, await refuse(secret)), (error) => error.error === 'forbidden' && !error.reason.includes('hunter2'));
  }
  await assert.rejects(call(bob, await publish(alice, { decide: async () => ({ sdp: 1n }) })), { error: 'forbidden' });
});

test('who decides has a time limit, and is told when it is over', async (t) => {
  const { join, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  let told;
  const id = await publish(alice, { decide: ({ signal }) => { told = signal; return never(); } });
  await assert.rejects(turned(clock, call(bob, id, {}, 60_000)), /in time/);
  assert.equal(told.aborted, true);
});

async function crowd(t, { openers, each, Client }) {
  const { join, clock } = world(t, { Client });
  const alice = await join();
  let open;
  const waiting = new Promise((resolve) => { open = resolve; });
  const id = await publish(alice, { decide: async () => { await waiting; return {}; } });
  const bobs = [];
  while (bobs.length < openers) bobs.push(await join());
  const calls = bobs.flatMap((bob) => Array.from({ length: each }, () => call(bob, id, {})));
  for (const each of calls) each.catch(() => {});
  await settle(60);
  open();
  const results = await turned(clock, Promise.allSettled(calls));
  return results.map(({ reason, value }) => reason?.error ?? value);
}

test('pending openings are bounded for each key and in all', async (t) => {
  const small = [['MAX_PENDING = 64', 'MAX_PENDING = 6'], ['MAX_PENDING_PER_KEY = 16', 'MAX_PENDING_PER_KEY = 2']];
  const { HubClient } = await mutant(t, { 'hub/admission.js': small })('hub/client.js');
  const count = (results) => results.filter((each) => each === 'too_many_requests').length;
  assert.equal(count(await crowd(t, { openers: 1, each: 5, Client: HubClient })), 3);
  assert.equal(count(await crowd(t, { openers: 4, each: 2, Client: HubClient })), 2);
});

test('twin: without bounds everybody is pending at once', async (t) => {
  const results = await crowd(t, { openers: 4, each: 2 });
  assert.deepEqual(results, Array.from({ length: 8 }, () => ({})));
});

test('one session has eight offers on their way to an owner, and the others wait their turn', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  let open;
  const waiting = new Promise((resolve) => { open = resolve; });
  const id = await publish(alice, { decide: async () => { await waiting; return {}; } });
  const calls = Promise.all(Array.from({ length: 20 }, () => call(bob, id, {}, 60_000)));
  await until(() => hub.ids('signal:').length === 8);
  await settle(30);
  assert.equal(hub.ids('signal:').length, 8);
  open();
  assert.equal((await turned(clock, calls)).length, 20);
});

test('a share that is unknown, withdrawn or run out is not found', async (t) => {
  const { join } = world(t);
  const [alice, bob] = [await join(), await join()];
  for (const wrong of ['0'.repeat(26), 'no id', '', null]) {
    await assert.rejects(call(bob, wrong), { error: 'share_not_found' });
  }
  const id = await publish(alice);
  await alice.withdraw(id);
  await assert.rejects(call(bob, id), { error: 'share_not_found' });
});

test('a crashed owner\'s share runs out', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  const document = hub.raw(`share:${id}`);
  const told = [];
  assert.equal((await bob.shares({ onChange: (share) => { told.push(share); } })).length, 1);
  await alice.close();
  hub.force(document); // as if it had not been withdrawn
  await clock.advance(80_000);
  assert.equal((await bob.shares()).length, 1);
  told.length = 0;
  await clock.advance(25_000);
  assert.deepEqual(told.map((share) => [share.id, share.deleted]), [[id, true]]);
  assert.equal((await bob.shares()).length, 0);
  await assert.rejects(call(bob, id), { error: 'share_not_found' });
});

test('a lease is renewed while its owner lives, and a renewal is no news', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  const told = [];
  await bob.shares({ onChange: (share) => { told.push(share); } });
  await clock.advance(600_000);
  assert.deepEqual((await bob.shares()).map((share) => share.id), [id]);
  assert.deepEqual(told, []);
  assert.ok(hub.written.length >= 19 && hub.written.length <= 23, String(hub.written.length));
});

test('no answer ends in peer_unreachable, and the signal is taken back', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { decide: never });
  await assert.rejects(turned(clock, call(bob, id)), { error: 'peer_unreachable' });
  await until(() => hub.ids('signal:').length === 0);
});

test('a call that is given up rejects at once and takes its signal back', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { decide: never });
  const controller = new AbortController();
  const calling = bob.signal(id, {}, { timeout: 20_000, signal: controller.signal });
  await until(() => hub.ids('signal:').length === 1);
  controller.abort(new Error('no more'));
  await assert.rejects(calling, /no more/);
  await until(() => hub.ids('signal:').length === 0);
  await assert.rejects(bob.signal(id, {}, { timeout: 20_000, signal: controller.signal }), /no more/);
  await settle();
  assert.deepEqual(hub.ids('signal:'), []);
});

test('an owner that restarts while it is called is called again', async (t) => {
  const { join, hub } = world(t);
  const me = await Identity.ephemeral();
  const bob = await join();
  const [before, after] = [await join(me), await join(me)];
  const id = await publish(before, { decide: never });
  const calling = call(bob, id);
  await until(() => hub.ids('signal:').length === 1);
  await publish(after);
  assert.equal((await calling).sdp, 'answer to x');
  await until(() => hub.ids('signal:').length === 0);
});

test('one feed serves everything', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const ids = [];
  for (let n = 0; n < 5; n++) ids.push(await publish(alice, { uuid: String(n) }));
  await turned(clock, Promise.all(ids.flatMap((id) => [call(bob, id), call(bob, id), call(bob, id)])));
  for (let n = 0; n < 4; n++) await bob.shares({ onChange: () => {} });
  await settle();
  assert.equal(hub.feeds, 2);
});

test('a hub that refuses selectors serves as well', async (t) => {
  const { join, hub } = world(t);
  hub.selectors = false;
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  assert.equal((await call(bob, id)).sdp, 'answer to x');
  assert.equal(hub.feeds, 2);
});

test('a hub that is gone, or that forbids, is named as the hub', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  for (const error of [gone, Object.assign(new Error('You may not.'), { status: 403, name: 'forbidden' }), new TypeError('fetch failed')]) {
    hub.fail = error;
    const named = { error: 'hub_unreachable' };
    await assert.rejects(publish(alice, { uuid: 'other' }), named);
    await assert.rejects(bob.shares(), named);
    await assert.rejects(bob.shares({ onChange() {} }), named);
    await assert.rejects(call(bob, id), named);
    await assert.rejects(alice.withdraw(id), named);
    hub.fail = null;
    await publish(alice);
  }
});

test('after a loss of the hub leases are renewed and signals answered', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  const told = [];
  await bob.shares({ onChange: (share) => { told.push(share.deleted); } });
  hub.lose(gone);
  await clock.advance(300_000);
  assert.deepEqual(told, [true]); // nobody renewed it, as far as bob can tell
  hub.lose(null);
  await clock.advance(65_000);
  assert.deepEqual(told, [true, false]);
  assert.deepEqual((await bob.shares()).map((share) => share.id), [id]);
  assert.equal((await call(bob, id)).sdp, 'answer to x');
});

test('a browser that comes online looks for its hub at once', async (t) => {
  const target = new EventTarget();
  globalThis.addEventListener = target.addEventListener.bind(target);
  globalThis.removeEventListener = target.removeEventListener.bind(target);
  t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
  const { join, hub, clock } = world(t);
  const bob = await join();
  await bob.shares({ onChange() {} });
  await until(() => hub.calls.changes === 1);
  hub.lose(gone);
  await clock.advance(300_000);
  hub.lose(null);
  const before = hub.calls.changes;
  target.dispatchEvent(new Event('online'));
  await until(() => hub.calls.changes > before);
});

test('a feed that is doubted is opened anew, and of many doubts at once only one does that', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  await bob.shares({ onChange() {} });
  await clock.advance(6000);
  const before = hub.calls.changes;
  for (let n = 0; n < 100; n++) bob.doubt();
  await until(() => hub.calls.changes > before);
  for (let n = 0; n < 100; n++) bob.doubt();
  await settle();
  assert.equal(hub.calls.changes, before + 1);
  assert.equal(hub.feeds, 2);
  assert.equal((await call(bob, id)).sdp, 'answer to x');
});

test('a page that is left takes its shares back at once, and publishes them again when it comes back', async (t) => {
  const target = new EventTarget();
  globalThis.addEventListener = target.addEventListener.bind(target);
  globalThis.removeEventListener = target.removeEventListener.bind(target);
  t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
  const { join, hub, clock } = world(t);
  const alice = await join();
  const id = await publish(alice);
  target.dispatchEvent(new Event('pagehide'));
  await until(() => hub.ids('share:').length === 0);
  await clock.advance(5000); // the page lives on, after all
  assert.deepEqual(hub.ids('share:'), [`share:${id}`]);
});

test('a signal survives a loss of the hub on its way', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  await settle();
  hub.beforeWrite = (doc) => { if ('offer' in doc) setImmediate(() => hub.lose(gone)); };
  const calling = call(bob, id, { sdp: 'x' }, 60_000);
  await until(() => hub.fail !== null);
  hub.beforeWrite = null;
  hub.lose(null);
  assert.equal((await turned(clock, calling)).sdp, 'answer to x');
});

test('onChange tells of new, changed and withdrawn shares, until it is cancelled', async (t) => {
  const { join } = world(t);
  const [alice, bob] = [await join(), await join()];
  const first = await publish(alice, { uuid: '1', name: 'first' });
  const told = [];
  const listed = await bob.shares({ onChange: (share) => { told.push([share.id, share.name, share.deleted]); } });
  assert.deepEqual(listed.map((share) => share.id), [first]);
  assert.deepEqual(told, []);
  const second = await publish(alice, { uuid: '2', name: 'second' });
  await until(() => told.length === 1);
  await publish(alice, { uuid: '2', name: 'second, better' });
  await until(() => told.length === 2);
  await alice.withdraw(second);
  await until(() => told.length === 3);
  assert.deepEqual(told, [[second, 'second', false], [second, 'second, better', false], [second, 'second, better', true]]);
  listed.cancel();
  await alice.withdraw(first);
  await settle();
  assert.equal(told.length, 3);
});

test('onChange may be slow and may fail, and a watch can be cancelled from its own callback', async (t) => {
  const { join } = world(t);
  const [alice, bob] = [await join(), await join()];
  const told = [];
  const once = [];
  await bob.shares({ onChange: async (share) => { await settle(1); told.push(share.name); throw new Error('oh'); } });
  const listed = await bob.shares({ onChange: (share) => { once.push(share.name); listed.cancel(); } });
  for (let n = 0; n < 3; n++) await publish(alice, { uuid: String(n), name: String(n) });
  await until(() => told.length === 3);
  assert.deepEqual(once, ['0']);
});

test('a listing that is older than the feed neither brings a share back nor takes one away', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const old = await publish(alice, { uuid: 'old' });
  await bob.shares({ onChange() {} });
  const original = hub.allDocs;
  hub.allDocs = async (options) => {
    const page = await original.call(hub, options);
    await alice.withdraw(old);
    await publish(alice, { uuid: 'new' });
    await settle(30);
    return page;
  };
  const listed = await bob.shares();
  delete hub.allDocs;
  assert.deepEqual(listed.map((share) => share.id), [await alice.shareId('new')]);
});

test('twin: when the feed\'s news do not count, the listing brings it back', async (t) => {
  const { HubClient } = await mutant(t, { 'hub/directory.js': [
    ['for (const touched of this.#touched) touched.add(shareId);', '']] })('hub/client.js');
  const { join, hub } = world(t, { Client: HubClient });
  const [alice, bob] = [await join(), await join()];
  const old = await publish(alice, { uuid: 'old' });
  await bob.shares({ onChange() {} });
  const original = hub.allDocs;
  hub.allDocs = async (options) => {
    const page = await original.call(hub, options);
    await alice.withdraw(old);
    await settle(30);
    return page;
  };
  assert.deepEqual((await bob.shares()).map((share) => share.id), [old]);
});

test('an owner that restarts takes its share over', async (t) => {
  const { join, hub } = world(t);
  const me = await Identity.ephemeral();
  const [before, bob] = [await join(me), await join()];
  const id = await publish(before);
  const crashed = hub.raw(`share:${id}`);
  await before.close();
  hub.force(crashed);
  const after = await join(me);
  assert.equal(await publish(after), id);
  assert.equal((await bob.shares())[0].session, after.address.session);
  assert.equal((await call(bob, id)).sdp, 'answer to x');
});

test('of two sessions of one share the later serves, and the earlier stands by', async (t) => {
  const { join, hub, clock } = world(t);
  const me = await Identity.ephemeral();
  const [one, two, bob] = [await join(me), await join(me), await join()];
  const id = await publish(one);
  assert.equal(await publish(two), id);
  const serves = () => [one, two].map((client) => client.published()[0].serving);
  await clock.advance(5000);
  assert.deepEqual(serves(), [false, true]);
  const writes = hub.written.length;
  await clock.advance(300_000);
  assert.deepEqual(serves(), [false, true]);
  assert.ok(hub.written.length - writes <= 11); // they do not fight
  assert.equal((await bob.shares())[0].session, two.address.session);
  await two.withdraw(id);
  await clock.advance(5000);
  assert.equal((await bob.shares())[0].session, one.address.session);
  assert.equal((await call(bob, id)).sdp, 'answer to x');
});

test('a session that stands by takes over from one that crashed, and withdraws nothing of the other\'s', async (t) => {
  const { join, hub, clock } = world(t);
  const me = await Identity.ephemeral();
  const [one, two, three, bob] = [await join(me), await join(me), await join(me), await join()];
  const id = await publish(one);
  await publish(two);
  await clock.advance(35_000);
  await one.withdraw(id);
  assert.equal((await bob.shares())[0].session, two.address.session);
  await publish(three);
  await publish(two);
  await clock.advance(35_000);
  const crashed = hub.raw(`share:${id}`);
  await two.close();
  hub.force(crashed);
  await clock.advance(200_000);
  assert.equal((await bob.shares())[0].session, three.address.session);
});

test('a share that somebody deletes or overwrites comes back', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  for (const vandalism of [{ _deleted: true }, { type: 'nonsense' }]) {
    hub.force({ _id: `share:${id}`, ...vandalism });
    assert.equal((await bob.shares()).length, 0);
    await clock.advance(5000);
    assert.deepEqual((await bob.shares()).map((share) => share.id), [id]);
  }
});

test('vandalism neither floods the hub nor keeps other shares from being renewed', async (t) => {
  const { join, hub, clock } = world(t);
  const alice = await join();
  const ids = [];
  for (let n = 0; n < 5; n++) ids.push(await publish(alice, { uuid: String(n) }));
  for (let n = 0; n < 100; n++) {
    hub.force({ _id: `share:${ids[0]}`, _deleted: true });
    await clock.advance(1000);
  }
  const mine = hub.written.filter((doc) => doc.signature).map(({ _id }) => _id);
  const count = (id) => mine.filter((each) => each === `share:${id}`).length;
  assert.ok(count(ids[0]) >= 40 && count(ids[0]) <= 110, String(count(ids[0])));
  assert.deepEqual(ids.slice(1).map(count), [4, 4, 4, 4]);
});

test('a hub full of rubbish does not hide a share from who knows its id', async (t) => {
  const { HubClient } = await mutant(t, {
    'hub/directory.js': [['MAX_ROWS = 4 * MAX_SHARES', 'MAX_ROWS = 20']],
    'hub/leases.js': [['MAX_SHARES = 5000', 'MAX_SHARES = 5']],
  })('hub/client.js');
  const { join, hub } = world(t, { Client: HubClient });
  for (let n = 0; n < 30; n++) hub.force({ _id: `share:!${n}`, type: 'rubbish' });
  const bob = await join();
  const ids = [];
  for (let n = 0; n < 10; n++) ids.push(await publish(await join()));
  assert.equal((await bob.shares({ onChange() {} })).length, 0);
  for (const id of ids) assert.equal((await call(bob, id)).sdp, 'answer to x');
});

test('clocks may differ by less than the tolerance, and what is more is named', async (t) => {
  const { join } = world(t);
  for (const minutes of [-14, 14]) {
    const other = new FakeClock();
    other.drift(60_000 * minutes);
    const [alice, bob] = [await join(), await join(undefined, { by: other })];
    const id = await publish(alice, { uuid: String(minutes) });
    assert.ok((await bob.shares()).some((share) => share.id === id));
    await call(bob, id);
  }
  const id = await publish(await join());
  const slow = await join(undefined, { by: new FakeClock(0) });
  assert.equal((await slow.shares()).length, 0);
  await assert.rejects(call(slow, id), (error) => error.error === 'clock_skew' && /future/.test(error.reason));
  const ahead = new FakeClock();
  ahead.drift(3_600_000);
  await assert.rejects(call(await join(undefined, { by: ahead }), id), /clocks is wrong/);
});

for (const who of ['opener', 'owner']) {
  test(`an ${who} without a clock works once a renewal was seen`, async (t) => {
    const { join, clock } = world(t);
    const broken = new FakeClock(60_000);
    const alice = await join(undefined, { by: who === 'owner' ? broken : clock });
    const bob = await join(undefined, { by: who === 'opener' ? broken : clock });
    const id = await publish(alice);
    const told = [];
    assert.equal((await bob.shares({ onChange: (share) => { told.push(share.id); } })).length, 0);
    for (let n = 0; n < 7; n++) { // both run on, side by side
      await clock.advance(5000);
      await broken.advance(5000);
    }
    assert.deepEqual(told, [id]);
    assert.equal((await call(bob, id)).sdp, 'answer to x');
  });
}

test('closing withdraws, and leaves no feed and no timer', async (t) => {
  const { join, hub, clock } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice);
  await bob.shares({ onChange() {} });
  await call(bob, id);
  await alice.close();
  await bob.close();
  await settle();
  assert.deepEqual(hub.ids(), []);
  assert.equal(hub.feeds, 0);
  assert.equal(clock.pending, 0);
  for (const used of [() => bob.shares(), () => bob.find(id), () => call(bob, id), () => publish(alice)]) {
    await assert.rejects(used, { error: 'hub_unreachable' });
  }
});

test('closing ends calls that wait, and takes their signals back', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  const id = await publish(alice, { decide: never });
  const calls = [1, 2, 3].map(() => call(bob, id));
  for (const each of calls) each.catch(() => {});
  await until(() => hub.ids('signal:').length === 3);
  await bob.close();
  for (const each of calls) await assert.rejects(each, /closed/);
  await until(() => hub.ids('signal:').length === 0);
});

test('closing with the hub gone ends as well', async (t) => {
  const { join, hub, clock } = world(t);
  const alice = await join();
  await publish(alice);
  hub.lose(gone);
  await turned(clock, alice.close());
  assert.equal(hub.feeds, 0);
});

test('what can not be published or sent is refused at once', async (t) => {
  const { join, hub } = world(t);
  const [alice, bob] = [await join(), await join()];
  for (const wrong of [{ name: '' }, { name: 'x'.repeat(201) }, { info: 'y'.repeat(9000) }, { info: 2 ** 60 }]) {
    await assert.rejects(publish(alice, wrong), { error: 'bad_request' });
  }
  assert.deepEqual(hub.written, []);
  const id = await publish(alice);
  await assert.rejects(call(bob, id, { info: 'x'.repeat(70_000) }), /too large/);
  assert.deepEqual(hub.ids('signal:'), []);
  for (const lease of [5, 1e6, 10.5]) {
    await assert.rejects(publish(await join(undefined, { lease })), { error: 'bad_request' });
  }
});

test('a client in Node needs no window, and one hub\'s loss is not another\'s', async (t) => {
  const { join } = world(t);
  const other = new MemoryHub();
  const [alice, bob] = [await join(), await join(undefined, { at: other })];
  const id = await publish(alice, { decide: echo });
  await assert.rejects(call(bob, id), { error: 'share_not_found' });
});
