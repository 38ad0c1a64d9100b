import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Replays } from '../src/hub/admission.js';
import { Leases, TOLERANCE } from '../src/hub/leases.js';
import { formatName, parseName, withoutCredentials } from '../src/hub/names.js';
import { Turns } from '../src/turns.js';
import { mutant } from './mutant.js';

const NOW = 1_700_000_000_000;
const ID = '0'.repeat(26);
const SHARE = { id: ID, session: 's', lease: 90, renewal: 1, renewed: NOW };
const share = (change) => ({ ...SHARE, ...change });
const judge = (leases, monotonic, now = NOW) => leases.judge(ID, { monotonic, now });

test('a share lives for one lease after it was seen, however often it is seen again', () => {
  const leases = new Leases();
  assert.equal(judge(leases, 0), undefined);
  leases.observe(SHARE, 100_000);
  assert.ok(leases.observe(SHARE, 180_000));
  assert.equal(judge(leases, 190_000), 'alive');
  assert.equal(judge(leases, 190_001), 'expired');
});

test('an older renewal played back changes nothing', () => {
  const leases = new Leases();
  leases.observe(share({ renewal: 5, name: 'new' }), 0);
  assert.ok(!leases.observe(share({ renewal: 4, name: 'old' }), 80_000));
  assert.equal(leases.get(ID).name, 'new');
  assert.equal(judge(leases, 91_000), 'expired');
});

test('what was seen once is judged by the wall clocks, and a witnessed renewal beats them', () => {
  const leases = new Leases();
  leases.observe(SHARE, 0);
  const verdicts = [[0, 'alive'], [90_000 + TOLERANCE, 'alive'], [90_001 + TOLERANCE, 'expired'], [-TOLERANCE, 'alive'],
    [-TOLERANCE - 1, 'from the future']];
  for (const [age, verdict] of verdicts) assert.equal(judge(leases, 0, NOW + age), verdict);
  leases.observe(share({ renewal: 2 }), 30_000);
  assert.equal(judge(leases, 30_000, 0), 'alive');
  assert.equal(judge(leases, 30_000, 2 * NOW), 'alive');
  assert.equal(judge(leases, 120_001), 'expired');
  leases.observe(share({ renewal: 3, session: 't' }), 60_000); // another session is no renewal
  assert.equal(judge(leases, 60_000, 0), 'from the future');
});

test('offers carry a time that the owner takes for right', () => {
  const leases = new Leases();
  leases.observe(SHARE, 100_000);
  assert.equal(leases.ownersTime(SHARE, { monotonic: 110_000, now: NOW + 60_000 }), NOW + 60_000);
  assert.equal(leases.ownersTime(SHARE, { monotonic: 110_000, now: 5000 }), NOW + 10_000);
});

test('the tables are bounded, and what ran out long ago is dropped', async (t) => {
  const small = { 'hub/leases.js': [['MAX_SHARES = 5000', 'MAX_SHARES = 2']] };
  const leases = new (await mutant(t, small)('hub/leases.js')).Leases();
  assert.deepEqual(['a', 'b', 'c'].map((id) => leases.observe(share({ id }), 0)), [true, true, false]);
  assert.ok(leases.observe(share({ id: 'c' }), 0, true));
  assert.equal(leases.size, 2);
  leases.dropExpired(90_001 + TOLERANCE);
  assert.equal(leases.size, 0);
});

test('no offer passes twice, however many there are', async (t) => {
  const small = [['MAX_REMEMBERED = 8192', 'MAX_REMEMBERED = 5']];
  const { Replays: Small } = await mutant(t, { 'hub/admission.js': small })('hub/admission.js');
  const replays = new Small();
  const passed = new Set();
  let now = NOW;
  let state = 1;
  const random = (most) => (state = (state * 48_271) % 2_147_483_647) % most;
  for (let n = 0; n < 3000; n++) {
    now += random(600_000);
    const number = random(30) + Math.floor((now - NOW) / 60_000);
    const time = NOW + 60_000 * number; // an offer's time is a part of it
    if (Math.abs(time - now) > TOLERANCE) continue;
    let isNew = false;
    try { isNew = replays.admit(String(number), time, now); } catch { continue; }
    if (isNew) assert.ok(!passed.has(number));
    if (isNew) passed.add(number);
    assert.ok(replays.size <= 5);
  }
  assert.ok(passed.size > 50);
});

async function afterFlood(t, changes) {
  const replays = new (await mutant(t, { 'hub/admission.js': [['MAX_REMEMBERED = 8192', 'MAX_REMEMBERED = 5'], ...changes] })('hub/admission.js')).Replays();
  assert.ok(replays.admit('mine', NOW, NOW));
  for (let n = 0; n < 10; n++) replays.admit(String(n), NOW + 1 + n, NOW);
  return replays.admit('mine', NOW, NOW);
}

test('a flood makes no room for a replay', async (t) => {
  assert.equal(await afterFlood(t, []), false);
});

test('twin: without the floor it does', async (t) => {
  assert.equal(await afterFlood(t, [['this.#floor = time;', '']]), true);
});

test('a flood from the future leaves half of the places, and a clock set back makes nothing new', () => {
  const replays = new Replays();
  for (let n = 0; n < 4096; n++) replays.admit(`future ${n}`, NOW + 600_000, NOW);
  assert.throws(() => replays.admit('one more', NOW + 600_000, NOW), { error: 'too_many_requests' });
  assert.ok(replays.admit('present', NOW, NOW));
  const other = new Replays();
  assert.ok(other.admit('a', NOW, NOW));
  assert.ok(other.admit('b', NOW + 3_600_000, NOW + 3_600_000));
  assert.equal(other.size, 1);
  assert.ok(!other.admit('a', NOW, NOW));
});

test('a dbname is read as it was written, without the hub\'s credentials', () => {
  const id = '0123456789abcdefghjkmnpqrs';
  const hub = 'https://me:pass%40word@hub.example:5984/a%20hub?x=1&y';
  const name = formatName(id, hub);
  assert.equal(name, `webrtc://${id}?hub=https%3A%2F%2Fhub.example%3A5984%2Fa%2520hub%3Fx%3D1%26y`);
  assert.deepEqual(parseName(name), { shareId: id, hub: 'https://hub.example:5984/a%20hub?x=1&y' });
  assert.deepEqual(parseName(formatName(id, 'local hub')), { shareId: id, hub: 'local hub' });
  for (const wrong of ['', 'webrtc://', `webrtc://${id}`, `webrtc://${id}?hub=`, `webrtc://x?hub=y`, `http://${id}?hub=y`,
    `webrtc://${id}/path?hub=y`, `webrtc://${id}?hub=a&hub=b`, `webrtc://${id}?hub=${'y'.repeat(9000)}`]) {
    assert.throws(() => parseName(wrong), { error: 'bad_request' }, wrong.slice(0, 60));
  }
  assert.equal(withoutCredentials('http://a@b@host/p@th'), 'http://host/p@th');
  assert.equal(withoutCredentials('me@home'), 'me@home');
});

test('turns are taken in order, so many at a time, and one that fails passes its turn on', async () => {
  const turns = new Turns(2);
  const order = [];
  let most = 0;
  let now = 0;
  const work = (n) => turns.take(async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setImmediate(resolve));
    now--;
    order.push(n);
    if (n % 3 === 0) throw new Error(String(n));
  }).catch(() => {});
  await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(work));
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(most, 2);
  assert.ok(turns.isIdle(2));
});
