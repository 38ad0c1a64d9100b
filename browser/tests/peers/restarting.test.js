import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import '../../src/connected.js';
import { PeerPouchError } from '../../src/errors.js';
import { until } from '../fake-clock.js';
import { FakePeerConnection } from '../fake-rtc.js';
import { mutant } from '../mutant.js';
import { World, gate, settle } from './world.js';

let world;
let network;
beforeEach(() => {
  world = new World();
  network = new EventTarget();
  network.onLine = true;
  globalThis.addEventListener = network.addEventListener.bind(network);
  globalThis.removeEventListener = network.removeEventListener.bind(network);
  Object.defineProperty(globalThis, 'navigator', { value: network, configurable: true });
});
afterEach(async () => {
  await world.close();
  for (const name of ['addEventListener', 'removeEventListener', 'navigator']) delete globalThis[name];
});

const linkOf = (node) => node.pool.connections.values().next().value.link;

/** Two, and the opener's and the owner's end of their connection, which know how to restart. */
async function connected() {
  const [owner, opener] = [world.node(1), world.node(2)];
  owner.share('share-a');
  const lease = await opener.pool.open('share-a', { info: 7 });
  await settle();
  const [mine, theirs] = [linkOf(opener), linkOf(owner)];
  await until(() => mine.restarting && theirs.restarting);
  return { owner, opener, lease, mine, theirs };
}

const read = async (lease) => (await lease.fetch('/x')).json();

test('a broken path is replaced while a request is under way, and nothing is lost', async () => {
  const { owner, lease, mine, theirs } = await connected();
  mine.engine.pc.break();
  const reading = read(lease);
  await world.clock.advance(8900);
  assert.equal((await reading).share, 'share-a');
  assert.ok(!mine.isOver && !theirs.isOver);
  assert.equal(mine.engine.pc.credentials, 2);
  assert.equal(world.signals.length, 2);
  assert.equal(owner.asked.length, 2); // as for every offer
  assert.equal(FakePeerConnection.open.size, 2); // what was made for a new connection is gone
  await world.clock.advance(30_000);
  assert.equal(world.signals.length, 2);
});

test('twin: without a restart all is lost', async () => {
  const { lease, mine, theirs } = await connected();
  for (const link of [mine, theirs]) link.restarting.cancel();
  mine.engine.pc.break();
  const reading = assert.rejects(read(lease), { error: 'peer_unreachable' });
  await world.clock.advance(10_000);
  await reading;
  assert.ok(mine.isOver);
});

test('a change of the network is tried at once: a ping, and a restart if that is not answered', async () => {
  const { lease, mine } = await connected();
  network.dispatchEvent(new Event('online'));
  await world.clock.advance(2000);
  assert.equal(world.signals.length, 1); // the path works
  mine.engine.pc.break();
  network.dispatchEvent(new Event('online'));
  const reading = read(lease);
  await world.clock.advance(1600);
  assert.equal((await reading).share, 'share-a');
  assert.equal(world.signals.length, 2);
});

test('without any network nothing is tried until one is back', async () => {
  const { mine } = await connected();
  mine.engine.pc.break();
  network.onLine = false;
  await world.clock.advance(7000);
  assert.equal(world.signals.length, 1);
  network.onLine = true;
  network.dispatchEvent(new Event('online'));
  await world.clock.advance(1600);
  assert.equal(world.signals.length, 2);
  assert.ok(!mine.isOver);
});

test('a restart gives the connection three seconds more, if less were left', async () => {
  const { mine } = await connected();
  const now = world.clock.monotonic();
  mine.liveness.heardAt = now - 8000;
  mine.restarting.forgive();
  assert.equal(mine.liveness.heardAt, now - 6000);
  mine.liveness.heardAt = now - 1000;
  mine.restarting.forgive();
  assert.equal(mine.liveness.heardAt, now - 1000);
});

test('one who is not let in any more gets no restart', async () => {
  const { owner, mine, theirs } = await connected();
  owner.judge = async () => { throw new PeerPouchError('forbidden', 'No more.'); };
  mine.engine.pc.break();
  await world.clock.advance(8900);
  assert.equal(theirs.engine.pc.credentials, 1);
  assert.equal(mine.engine.pc.signalingState, 'stable'); // taken back
});

for (const why of ['does not know it', 'lost the connection']) {
  test(`an owner that ${why} makes a new connection`, async () => {
    const { owner, lease, mine, theirs } = await connected();
    mine.engine.pc.break();
    theirs.engine.pc.vanish();
    if (why === 'does not know it') theirs.restarting = null;
    else theirs.end(new PeerPouchError('peer_unreachable', 'lost'));
    await world.clock.advance(8900);
    const link = linkOf(owner);
    assert.notEqual(link, theirs);
    assert.equal((await read(lease)).share, 'share-a');
    await world.clock.advance(12_000);
    assert.ok(mine.isOver);
  });
}

test('a restart that comes too late is followed by a new connection', async () => {
  const { lease, mine } = await connected();
  const held = gate();
  world.beforeAnswer = () => held.passed;
  mine.engine.pc.break();
  await world.clock.advance(6500);
  mine.end(new PeerPouchError('peer_unreachable', 'silent'));
  const reading = read(lease);
  await settle();
  held.open();
  await world.clock.advance(4000);
  assert.equal((await reading).share, 'share-a');
  assert.equal(FakePeerConnection.open.size, 2);
});

test('restarts that cross are settled by the addresses', async () => {
  const { owner, opener, lease, mine, theirs } = await connected();
  opener.share('share-b');
  const back = await owner.pool.open('share-b');
  const held = gate();
  world.beforeOffer = () => held.passed;
  mine.engine.pc.break();
  const reading = Promise.all([read(lease), read(back)]);
  await world.clock.advance(6500);
  held.open();
  await world.clock.advance(2400);
  assert.deepEqual((await reading).map(({ share }) => share), ['share-a', 'share-b']);
  assert.deepEqual([mine.engine.pc.signalingState, theirs.engine.pc.signalingState], ['stable', 'stable']);
  assert.ok(!mine.isOver && !theirs.isOver);
  assert.equal(FakePeerConnection.open.size, 2);
});

/** An answer that pretends to restart the connection, and describes another one. */
async function redirected({ opener, mine }) {
  const accepted = [];
  const accept = mine.engine.accept.bind(mine.engine);
  mine.engine.accept = (sdp) => accepted.push(sdp) && accept(sdp);
  const { signal } = opener;
  opener.signal = async (...args) => {
    const answer = await signal.apply(opener, args);
    return { ...answer, sdp: null, restart: answer.restart?.replace(/sha-256 \d+/, 'sha-256 666') };
  };
  mine.engine.pc.break();
  await world.clock.advance(6500);
  return accepted;
}

test('a restart into another connection is not taken', async () => {
  const scene = await connected();
  assert.deepEqual(await redirected(scene), []);
  assert.equal(await scene.theirs.restarting.answer('v=0'), null);
});

test('twin: without the check another connection\'s description reaches the browser', async (t) => {
  const scene = await connected();
  const load = mutant(t, { 'peers/restarting.js': [['fingerprints(checkSdp(sdp)) !== own', 'false']] });
  const { Restarting } = await load('peers/restarting.js');
  scene.mine.restarting.cancel();
  const connection = scene.opener.pool.connections.values().next().value;
  scene.mine.restarting = new Restarting(scene.opener.pool, connection, scene.mine);
  assert.equal((await redirected(scene)).length, 1);
});

test('an end that opened nothing waits for the other', async () => {
  const { owner, opener, mine } = await connected();
  opener.pool.leases.clear();
  mine.engine.pc.break();
  await world.clock.advance(8500);
  assert.equal(world.signals.length, 1);
  assert.equal(owner.asked.length, 1);
});

test('a link that is over leaves no timer and no listener behind', async () => {
  const { mine, theirs } = await connected();
  let left = 0;
  globalThis.removeEventListener = () => { left += 1; };
  mine.end(null);
  theirs.end(null);
  await settle();
  assert.equal(left, 2);
  mine.restarting.changed();
  await world.clock.advance(40_000);
  assert.equal(world.clock.pending, 0);
});
