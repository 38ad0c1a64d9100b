import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoff, sleep, systemClock, within } from '../src/clock.js';
import { FakeClock, settle } from './fake-clock.js';

test('the system clock calls back once, and never when it was cancelled', async () => {
  let calls = 0;
  systemClock.timer(0, () => calls++);
  systemClock.timer(0, () => calls++)();
  await sleep(systemClock, 5);
  assert.equal(calls, 1);
  assert.ok(systemClock.monotonic() > 0);
});

test('work that takes too long is told so, and its caller gets a timeout', async () => {
  const clock = new FakeClock();
  let told;
  const result = within(clock, 1000, (signal) => {
    told = signal;
    return new Promise(() => {});
  });
  const caught = assert.rejects(result, { error: 'timeout' });
  await clock.advance(999);
  assert.equal(told.aborted, false);
  await clock.advance(1);
  await caught;
  assert.equal(told.reason.error, 'timeout');
  assert.equal(clock.pending, 0);
});

test('work that ends in time leaves no timer', async () => {
  const clock = new FakeClock();
  assert.equal(await within(clock, 1000, async () => 7), 7);
  await assert.rejects(within(clock, 1000, async () => { throw new Error('its own'); }), /its own/);
  assert.equal(clock.pending, 0);
});

test('an outer signal ends work and waits with its own reason', async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const working = assert.rejects(within(clock, 1000, () => new Promise(() => {}), controller.signal), /enough/);
  const sleeping = assert.rejects(sleep(clock, 1000, controller.signal), /enough/);
  await settle(1);
  controller.abort(new Error('enough'));
  await working;
  await sleeping;
  await assert.rejects(sleep(clock, 1000, controller.signal), /enough/);
  assert.equal(clock.pending, 0);
});

test('waits double up to a bound, less up to half by chance', () => {
  const waits = (random) => [0, 1, 2, 10].map((attempt) => backoff(attempt, { first: 1000, most: 60000, random }));
  assert.deepEqual(waits(() => 1), [1000, 2000, 4000, 60000]);
  assert.deepEqual(waits(() => 0), [500, 1000, 2000, 30000]);
});
