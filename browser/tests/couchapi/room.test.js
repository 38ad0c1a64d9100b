import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApp } from '../../src/couchapi/app.js';
import { Body, Room } from '../../src/couchapi/room.js';
import { FakeClock, settle, until } from '../fake-clock.js';
import { mutant } from '../mutant.js';
import { pouch } from '../pouch.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const STEP = 64 * KIB;

/** Bodies of 5 MiB each, which end when they are told to. */
function crowd(handlers, size = 5 * MIB) {
  const sent = handlers.map(() => 0);
  const ends = [];
  const responses = handlers.map((handler, n) => {
    const rest = new Promise((resolve) => { ends[n] = resolve; });
    const body = new ReadableStream(
      {
        async pull(controller) {
          if (sent[n] >= size) {
            await rest;
            controller.enqueue(new TextEncoder().encode('{"docs": []}'));
            controller.close();
            return;
          }
          sent[n] += STEP;
          controller.enqueue(new Uint8Array(STEP).fill(32));
        },
      },
      { highWaterMark: 0 },
    );
    const headers = new Headers({ 'content-type': 'application/json' });
    return handler({ method: 'POST', url: '/_bulk_docs', headers, body });
  });
  return {
    sent: () => sent.toSorted((a, b) => b - a),
    async end() {
      for (const end of ends) end();
      return Promise.all(responses.map(async (each) => (await each).status));
    },
  };
}

const visitor = (number, app = createApp, room = new Room(), clock = undefined) => {
  const made = app(pouch(), { peer: { key: new Uint8Array(32).fill(number) }, room, ...(clock && { clock }) });
  return async (request) => (await made).handler(request);
};

test('a visitor makes a page hold one large body, whatever it sends at once and to however many shares', async () => {
  const room = new Room();
  const shares = [visitor(1, createApp, room), visitor(1, createApp, room)];
  const all = crowd(Array.from({ length: 8 }, (_, n) => shares[n % 2]));
  // One is read to its end, three wait with what is medium, and the others with what is small.
  const held = [5 * MIB, ...Array(3).fill(4 * MIB + STEP), ...Array(4).fill(256 * KIB + STEP)];
  await until(() => all.sent().join() === held.join());
  assert.deepEqual(await all.end(), Array(8).fill(201));
  assert.equal(room.visitors.size, 0);
});

test('all visitors together make a page hold four large bodies', async () => {
  const room = new Room();
  const all = crowd(Array.from({ length: 9 }, (_, n) => visitor(n, createApp, room)));
  const held = [...Array(4).fill(5 * MIB), ...Array(5).fill(4 * MIB + STEP)];
  await until(() => all.sent().join() === held.join());
  await settle(30);
  assert.deepEqual(all.sent(), held);
  assert.deepEqual(await all.end(), Array(9).fill(201));
});

test('twin: with a room for each they make it hold nine', async () => {
  const all = crowd(Array.from({ length: 9 }, (_, n) => visitor(n)));
  await until(() => all.sent().every((size) => size === 5 * MIB));
  assert.deepEqual(await all.end(), Array(9).fill(201));
});

test('one attachment at a time is larger than a document may be', async () => {
  const room = new Room();
  const clock = new FakeClock();
  const bodies = [1, 2].map((who) => new Body(room, String(who), clock));
  await Promise.all(bodies.map((body) => body.grow(100 * MIB)));
  await bodies[0].grow(100 * MIB);
  let second = false;
  const growing = bodies[1].grow(100 * MIB).then(() => { second = true; });
  await settle();
  assert.equal(second, false);
  bodies[0].release();
  await growing;
  bodies[1].release();
  assert.equal(room.visitors.size, 0);
});

/** Large bodies that then come to a stop, and one that waits for a place. */
async function slowly(app) {
  const room = new Room();
  const clock = new FakeClock();
  const slow = crowd([1, 2, 3, 4].map((n) => visitor(n, app, room, clock)));
  await until(() => slow.sent().every((size) => size === 5 * MIB));
  const honest = crowd([visitor(5, app, room, clock)]);
  await until(() => honest.sent()[0] === 4 * MIB + STEP);
  for (let second = 0; second < 400; second += 1) await clock.advance(1000);
  return { slow, honest };
}

test('who sends too slowly loses the place that others wait for', async () => {
  const { slow, honest } = await slowly(createApp);
  await until(() => honest.sent()[0] === 5 * MIB);
  assert.deepEqual(await honest.end(), [201]);
  assert.deepEqual(await slow.end(), Array(4).fill(408));
});

test('twin: without that, four keep everybody out', async (t) => {
  const load = mutant(t, { 'couchapi/room.js': [['if (!this.#places) return next;', 'return next;']] });
  const { createApp: app } = await load('couchapi/app.js');
  const { slow, honest } = await slowly(app);
  assert.equal(honest.sent()[0], 4 * MIB + STEP);
  assert.deepEqual(await slow.end(), Array(4).fill(201));
  assert.deepEqual(await honest.end(), [201]);
});
