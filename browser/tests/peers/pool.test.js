import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { PeerPouchError } from '../../src/errors.js';
import { until } from '../fake-clock.js';
import { FakePeerConnection } from '../fake-rtc.js';
import { World, gate, settle } from './world.js';

let world;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());

const fails = (error, reason = /./) => (thrown) => thrown instanceof PeerPouchError && thrown.error === error && reason.test(thrown.reason);
const refuse = async () => {
  throw new PeerPouchError('forbidden', 'Not today.');
};
const read = async (lease, path = '/x', init = undefined) => (await lease.fetch(path, init)).json();

function two() {
  const [owner, opener] = [world.node(1), world.node(2)];
  owner.share('share-a');
  owner.share('share-b');
  return { owner, opener };
}

test('a share opens, and both infos arrive', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a', { info: { who: 'me' } });
  assert.deepEqual(lease.info, { of: 'share-a' });
  assert.deepEqual(owner.asked, [{ session: 'session-002', share: 'share-a', info: { who: 'me' } }]);
  assert.equal((await read(lease, '/doc?rev=1')).url, '/doc?rev=1');
  assert.equal(lease.peer.session, 'session-001');
  assert.equal((await lease.stats()).path, 'reflexive');
});

test('a refused opener gets the reason, and nothing was made for it', async () => {
  const { owner, opener } = two();
  owner.judge = refuse;
  let most = 0;
  owner.pool.transport.answer = () => assert.fail('a connection was made');
  world.beforeAnswer = async () => { most += 1; };
  await assert.rejects(opener.pool.open('share-a'), fails('forbidden', /Not today/));
  assert.equal(most, 0);
  assert.equal(owner.pool.connections.size, 0);
  assert.equal(opener.pool.connections.size, 0);
  assert.equal(FakePeerConnection.open.size, 0);
});

test('a second share asks over the open connection, and may be refused there', async () => {
  const { owner, opener } = two();
  await opener.pool.open('share-a');
  const second = await opener.pool.open('share-b', { info: 7 });
  assert.equal((await read(second)).share, 'share-b');
  assert.equal(world.signals.length, 1);
  owner.judge = refuse;
  await assert.rejects(opener.pool.open('share-b'), fails('forbidden', /Not today/));
  assert.equal((await read(second)).share, 'share-b');
});

test('openers at once share one attempt, and one that gives up leaves the others theirs', async () => {
  const { opener } = two();
  const { passed, open } = gate();
  world.beforeOffer = () => passed;
  const controller = new AbortController();
  const first = opener.pool.open('share-a', { signal: controller.signal });
  const refused = assert.rejects(first, { name: 'AbortError' });
  const others = [opener.pool.open('share-a'), opener.pool.open('share-a')];
  await settle();
  controller.abort();
  await refused;
  open();
  const leases = await Promise.all(others);
  assert.equal((await read(leases[1])).share, 'share-a');
  assert.equal(world.signals.length, 1);
});

test('openers of other shares are not told the refusal of one', async () => {
  const { owner, opener } = two();
  owner.judge = async ({ share }) => (share === 'share-a' ? refuse() : undefined);
  const refused = assert.rejects(opener.pool.open('share-a'), fails('forbidden'));
  const lease = await opener.pool.open('share-b');
  await refused;
  assert.equal((await read(lease)).share, 'share-b');
});

for (const lowerFirst of [true, false]) {
  test(`crossing offers make one connection, which both use (the lower one ${lowerFirst ? 'first' : 'last'})`, async () => {
    const [low, high] = [world.node(1), world.node(2)];
    low.share('of-low');
    high.share('of-high');
    const gates = { 'of-low': gate(), 'of-high': gate() };
    world.beforeOffer = (from, share) => gates[share].passed;
    const opening = [low.pool.open('of-high'), high.pool.open('of-low')];
    await settle();
    gates[lowerFirst ? 'of-high' : 'of-low'].open();
    await settle();
    gates[lowerFirst ? 'of-low' : 'of-high'].open();
    const [lease, back] = await Promise.all(opening);
    assert.equal((await read(lease)).share, 'of-high');
    assert.equal((await read(back)).share, 'of-low');
    assert.equal(FakePeerConnection.open.size, 2);
  });
}

test('a crossing offer that gave way to a refused one is made again', async () => {
  const [low, high] = [world.node(1), world.node(2)];
  low.share('of-low');
  high.share('of-high');
  high.judge = refuse;
  const held = gate();
  world.beforeOffer = (from, share) => (share === 'of-high' ? held.passed : undefined);
  const refused = assert.rejects(low.pool.open('of-high'), fails('forbidden'));
  await settle();
  const opening = high.pool.open('of-low');
  await settle();
  held.open();
  await refused;
  await world.clock.advance(8000);
  assert.equal((await read(await opening)).share, 'of-low');
});

test('an offer that was late does not break the connection that works', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a');
  await settle();
  const link = opener.pool.connections.values().next().value.link;
  const offered = await opener.pool.transport.offer(() => new Response());
  const reception = await owner.pool.reception();
  const answer = await reception.decide({ peer: opener.address, share: 'share-b', body: { sdp: offered.sdp } });
  assert.equal(answer.sdp, null);
  assert.equal((await read(lease)).share, 'share-a');
  assert.ok(!link.isOver);
});

test('a peer that alone lost the connection gets a new one', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a');
  await settle();
  const { link } = owner.pool.connections.values().next().value;
  link.engine.pc.vanish();
  opener.pool.connections.values().next().value.link.end(new PeerPouchError('peer_unreachable', 'lost'));
  const reading = read(lease);
  await world.clock.advance(2000);
  assert.equal((await reading).share, 'share-a');
  assert.equal(owner.asked.length, 2);
});

test('the next request after a loss reconnects and asks again; one under way ends in an error', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a', { info: 1 });
  const hanging = assert.rejects(lease.fetch('/hang'), fails('peer_unreachable'));
  await settle();
  owner.pool.connections.values().next().value.link.end(new PeerPouchError('peer_unreachable', 'lost'));
  await hanging;
  assert.equal((await read(lease)).share, 'share-a');
  owner.judge = refuse;
  owner.pool.connections.values().next().value.link.end(new PeerPouchError('peer_unreachable', 'lost'));
  await settle();
  await assert.rejects(lease.fetch('/'), fails('forbidden', /Not today/));
  assert.equal(owner.asked.length, 3);
});

test('requests that wait for a reconnection end together, within the limit', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a', { timeout: 5000 });
  await settle();
  owner.pool.connections.values().next().value.link.end(null);
  await until(() => !opener.pool.connections.values().next().value.live());
  opener.signal = (share, body, { timeout }) => new Promise((_, reject) => {
    world.clock.timer(timeout, () => reject(new PeerPouchError('peer_unreachable', 'No answer.')));
  });
  const all = [1, 2, 3].map(() => assert.rejects(lease.fetch('/'), fails('peer_unreachable')));
  await world.clock.advance(5000);
  await Promise.all(all);
});

test('a share is found again under a new address', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a');
  const again = world.node(3, { key: 1 });
  again.share('share-a');
  const closing = owner.pool.close();
  await world.clock.advance(6000);
  await closing;
  assert.equal((await read(lease)).share, 'share-a');
  assert.equal(lease.peer.session, 'session-003');
});

test('an owner restarted while it is called is connected under its new address', async () => {
  const { opener } = two();
  const again = world.node(3, { key: 1 });
  let moved = false;
  world.beforeOffer = async () => {
    if (!moved) again.share('share-a');
    moved = true;
  };
  const lease = await opener.pool.open('share-a');
  assert.equal(lease.peer.session, 'session-003');
  assert.equal((await read(lease)).share, 'share-a');
});

test('without a path the error says so, and nothing stays', async () => {
  const { owner, opener } = two();
  FakePeerConnection.blocked = true;
  const refused = assert.rejects(opener.pool.open('share-a', { timeout: 10_000 }), fails('peer_unreachable', /Candidates tried/));
  await world.clock.advance(10_000);
  await refused;
  await world.clock.advance(10_000);
  await settle();
  assert.equal(owner.pool.connections.size, 0);
  assert.equal(opener.pool.connections.size, 0);
  assert.equal(FakePeerConnection.open.size, 0);
});

test('an own share, and an offer that is garbage, are refused', async () => {
  const { owner, opener } = two();
  await assert.rejects(owner.pool.open('share-a'), fails('bad_request'));
  for (const body of [null, {}, { sdp: 7 }, { sdp: 'v=0' }]) {
    const reception = await owner.pool.reception();
    await assert.rejects(reception.decide({ peer: opener.address, share: 'share-a', body }), fails('invalid_signal'));
  }
  await settle();
  assert.equal(owner.pool.connections.size, 0);
});

test('half open connections, all connections, and those of one key are bounded', async () => {
  for (const limits of [{ halfOpens: 2 }, { links: 2 }, { linksPerKey: 2 }]) {
    FakePeerConnection.blocked = true;
    const owner = world.node(1, { limits });
    owner.share('bounded');
    const offer = async (session) => {
      const { sdp } = await owner.pool.transport.offer(() => new Response());
      const reception = await owner.pool.reception();
      return reception.decide({ peer: { key: new Uint8Array(32).fill(9), session }, share: 'bounded', body: { sdp } });
    };
    assert.ok((await offer('one')).sdp && (await offer('two')).sdp);
    await assert.rejects(offer('three'), fails('too_many_requests'));
    await world.clock.advance(20_000);
    assert.ok((await offer('three')).sdp);
  }
});

test('a share that was not opened is not served over an open connection', async () => {
  const { owner, opener } = two();
  await opener.pool.open('share-a');
  const { link } = opener.pool.connections.values().next().value;
  const response = await link.fetch('/share-b/doc');
  assert.equal(response.status, 404);
  assert.equal(response.headers.get('peerpouch-share'), 'closed');
  // Its twin: once let in, it is served, so it is the admission alone that kept it closed.
  owner.pool.connections.values().next().value.admitted.set('share-b', { handler: () => new Response('open') });
  assert.equal(await (await link.fetch('/share-b/doc')).text(), 'open');
});

test('revoking closes what was open for that share alone; with a key, for that key alone', async () => {
  const { owner, opener } = two();
  const [a, b] = [await opener.pool.open('share-a'), await opener.pool.open('share-b')];
  const { link } = opener.pool.connections.values().next().value;
  (await owner.pool.reception()).revoke('share-a', new Uint8Array(32).fill(9));
  assert.equal((await link.fetch('/share-a/')).status, 200);
  (await owner.pool.reception()).revoke('share-a');
  assert.equal((await link.fetch('/share-a/')).status, 404);
  assert.equal((await read(b)).share, 'share-b');
  (await owner.pool.reception()).revoke('share-b');
  world.shares.delete('share-b');
  await link.over;
  await assert.rejects(b.fetch('/'), fails('share_not_found'));
  await read(a); // still shared: asked for again, and let in
});

test('a request to a share that was closed and opened again is sent again, body and all', async () => {
  const { owner, opener } = two();
  const [lease] = [await opener.pool.open('share-a'), await opener.pool.open('share-b')];
  (await owner.pool.reception()).revoke('share-a');
  assert.equal((await read(lease, '/d', { method: 'PUT', body: 'all of it' })).body, 'all of it');
  assert.equal(owner.asked.length, 3);
});

test('a connection that nobody uses is closed after a while, and not before', async () => {
  const { owner, opener } = two();
  const lease = await opener.pool.open('share-a');
  const { link } = opener.pool.connections.values().next().value;
  lease.release();
  await world.clock.advance(29_000);
  assert.ok(!link.isOver);
  const again = await opener.pool.open('share-a');
  await world.clock.advance(60_000);
  assert.ok(!link.isOver);
  again.release();
  await world.clock.advance(36_000);
  assert.ok(link.isOver);
  assert.equal(owner.pool.connections.size + opener.pool.connections.size, 0);
  assert.equal(FakePeerConnection.open.size, 0);
});

test('a share that is closed and opened at once stays open', async () => {
  const { opener } = two();
  const lease = await opener.pool.open('share-a');
  lease.release();
  const again = await opener.pool.open('share-a');
  await world.clock.advance(60_000);
  assert.equal((await read(again)).share, 'share-a');
  assert.equal(world.signals.length, 1);
});

test('a released lease and a closed pool say so, and closing ends what is under way', async () => {
  const { opener } = two();
  const lease = await opener.pool.open('share-a');
  const other = await opener.pool.open('share-b');
  lease.release();
  await assert.rejects(lease.fetch('/'), fails('database_closed'));
  const hanging = assert.rejects(other.fetch('/hang'), fails('peer_unreachable'));
  world.beforeOffer = () => new Promise(() => {});
  world.node(5).share('share-c');
  const opening = assert.rejects(opener.pool.open('share-c'), fails('database_closed'));
  await settle();
  await opener.pool.close();
  await Promise.all([hanging, opening]);
  await assert.rejects(opener.pool.open('share-a'), fails('database_closed'));
  assert.equal(opener.pool.connections.size, 0);
});

test('what is malformed in a control request is refused', async () => {
  const { opener } = two();
  await opener.pool.open('share-a');
  const { link } = opener.pool.connections.values().next().value;
  const status = async (path, init) => (await link.fetch(path, init)).status;
  assert.equal(await status('/_peerpouch/open'), 405);
  assert.equal(await status('/_peerpouch/alive', { method: 'POST' }), 405);
  assert.equal(await status('/_peerpouch/other'), 404);
  for (const body of ['', '{', '[]', '{"share":1}', 'null', 'x'.repeat(70_000)]) {
    assert.equal(await status('/_peerpouch/open', { method: 'POST', body }), 400);
  }
  assert.equal((await (await link.fetch('/')).json()).couchdb, 'Welcome');
});
