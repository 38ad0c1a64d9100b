import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Collector } from '../src/hub/collector.js';
import { LocalDatabase } from '../src/hub/local.js';
import { FakeClock, settle } from './fake-clock.js';
import { MemoryHub } from './memory-hub.js';
import { publish, world } from './world.js';

const MINUTE = 60_000;
const SIGNAL = `signal:${'0'.repeat(26)}:${'1'.repeat(26)}`;

test('what did not change for long is deleted: signals, shares that ran out, and nothing else', async (t) => {
  const { hub, clock, join } = world(t);
  const [crashed, alice] = [await join(), await join()];
  const [gone, lives] = [await publish(crashed, { uuid: 'gone' }), await publish(alice, { uuid: 'lives' })];
  const left = hub.raw(`share:${gone}`);
  await crashed.close();
  hub.force(left); // as if it had not been withdrawn
  for (const _id of [SIGNAL, 'share:nonsense', 'other']) hub.force({ _id });
  await clock.advance(14 * MINUTE);
  assert.deepEqual(hub.ids(), ['other', `share:${gone}`, `share:${lives}`, 'share:nonsense', SIGNAL].sort());
  await clock.advance(16 * MINUTE);
  assert.deepEqual(hub.ids(), ['other', `share:${lives}`, 'share:nonsense'].sort());
});

test('a signal that is written again lives again as long', async () => {
  const [hub, clock] = [new MemoryHub(), new FakeClock()];
  const collector = new Collector(new LocalDatabase(hub, clock), clock);
  hub.force({ _id: SIGNAL });
  await collector.look();
  await clock.advance(10 * MINUTE);
  hub.force({ _id: SIGNAL });
  await collector.look();
  await clock.advance(10 * MINUTE);
  await collector.look();
  assert.deepEqual(hub.ids(), [SIGNAL]);
  await clock.advance(6 * MINUTE);
  await collector.look();
  assert.deepEqual([hub.ids(), collector.deleted], [[], 1]);
});

test('a hub that does not allow it is left alone', async (t) => {
  t.mock.method(console, 'debug', () => {});
  const [hub, clock] = [new MemoryHub(), new FakeClock()];
  const collector = new Collector(new LocalDatabase(hub, clock), clock);
  hub.fail = Object.assign(new Error('no'), { status: 403 });
  const running = collector.run();
  await clock.advance(30 * MINUTE);
  assert.ok(hub.calls.allDocs >= 3);
  collector.close();
  await running;
  await settle();
  assert.equal(clock.pending, 0);
});
