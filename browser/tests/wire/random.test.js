import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PeerPouchError } from '../../src/errors.js';
import { Connection } from '../../src/wire/connection.js';
import { FrameType, frame, split } from '../../src/wire/frames.js';
import { limits } from '../../src/wire/limits.js';
import { Liveness } from '../../src/wire/liveness.js';
import { mutant } from '../mutant.js';

/** Numbers that look random, and are the same in each run of a seed (mulberry32). */
function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Two ends, whose messages wait to be delivered, and what each has sent and got of each stream. */
class Pair {
  constructor(random, bounds) {
    this.random = random;
    this.ends = [true, false].map((offerer) => new Connection({ offerer, limits: bounds }));
    this.wires = [[], []];
    this.now = 0;
    this.open = [new Set(), new Set()];
    this.waiting = [new Set(), new Set()];
    this.sent = new Map();
    this.got = new Map();
    this.unread = [new Map(), new Map()];
  }

  pull(end, room) {
    const message = this.ends[end].dataToSend(room);
    assert.ok(message.length <= this.ends[end].largestMessage);
    if (message.length) this.wires[1 - end].push(message);
    return message.length > 0;
  }

  deliver(end) {
    const message = this.wires[end].shift();
    if (!message) return;
    for (const event of this.ends[end].receive(message, (this.now += 1))) this.take(end, event);
  }

  take(end, event) {
    if (event.event === 'RequestReceived') this.waiting[end].add(event.stream);
    if (event.event === 'DataReceived') {
      const key = `${end} ${event.stream}`;
      this.got.set(key, (this.got.get(key) ?? 0) + event.data.length);
      for (const byte of event.data) assert.equal(byte, event.stream % 251);
      this.unread[end].set(event.stream, (this.unread[end].get(event.stream) ?? 0) + event.data.length);
    }
    if (event.event === 'StreamReset') {
      assert.ok(event.byPeer, event.reason);
      for (const set of [this.open[end], this.waiting[end], this.unread[end]]) set.delete(event.stream);
    }
  }

  send(end, stream, size, last) {
    this.ends[end].sendData(stream, new Uint8Array(size).fill(stream % 251), { end: last });
    const key = `${1 - end} ${stream}`;
    this.sent.set(key, (this.sent.get(key) ?? 0) + size);
    if (last) this.open[end].delete(stream);
  }

  step() {
    const { random } = this;
    const end = random(2);
    const connection = this.ends[end];
    const pick = (set) => [...set][random(set.size)];
    switch (random(9)) {
      case 0:
        if (connection.canRequest) {
          this.open[end].add(connection.request({ method: 'PUT', path: '/x', headers: [] }, { end: false }));
        }
        break;
      case 1: {
        const stream = pick(this.waiting[end]);
        if (stream === undefined || !connection.streams.has(stream)) break;
        this.waiting[end].delete(stream);
        connection.respond(stream, { status: 200, headers: [] }, { end: false });
        this.open[end].add(stream);
        break;
      }
      case 2:
      case 3: {
        const stream = pick(this.open[end]);
        if (stream !== undefined && connection.streams.has(stream)) this.send(end, stream, random(5000), random(6) === 0);
        break;
      }
      case 4:
      case 5:
        this.pull(end, random(20_000));
        break;
      case 6:
      case 7:
        this.deliver(end);
        break;
      default:
        for (const [stream, size] of this.unread[end]) connection.consumed(stream, size, this.now);
        this.unread[end].clear();
    }
  }

  /** Let everything arrive. */
  drain() {
    for (let quiet = 0; quiet < 4; ) {
      quiet += 1;
      for (const end of [0, 1]) {
        while (this.pull(end, 65_536)) quiet = 0;
        while (this.wires[1 - end].length) this.deliver(1 - end);
        for (const [stream, size] of this.unread[1 - end]) this.ends[1 - end].consumed(stream, size, this.now);
        this.unread[1 - end].clear();
      }
    }
  }
}

test('whatever both ends do, each byte that was sent arrives once, and credit is never exceeded', () => {
  const bounds = limits({ maxStreams: 4, streamCredit: 3000, connectionCredit: 60_000, responseWindow: 6000, windowPool: 20_000 });
  for (let seed = 0; seed < 60; seed += 1) {
    const pair = new Pair(numbers(seed), bounds);
    for (let step = 0; step < 600; step += 1) pair.step();
    pair.drain();
    for (const end of [0, 1]) {
      for (const stream of pair.open[end]) if (pair.ends[end].streams.has(stream)) pair.send(end, stream, 10, true);
    }
    pair.drain();
    for (const [key, size] of pair.got) assert.ok(size <= pair.sent.get(key), `seed ${seed}: ${key}`);
    for (const end of [0, 1]) {
      assert.ok(pair.ends[end].credit.mayReceive <= bounds.connectionCredit);
      // Only requests that were never answered are left.
      for (const stream of pair.ends[end].streams.values()) assert.notEqual(stream.sending === 'done' && stream.receiving, 'done');
    }
  }
});

test('responses arrive whole where nobody ends a stream before its time', () => {
  for (let seed = 0; seed < 40; seed += 1) {
    const random = numbers(seed);
    const pair = new Pair(random, limits({ streamCredit: 2000, connectionCredit: 300_000, responseWindow: 4000 }));
    pair.drain();
    const sizes = Array.from({ length: 10 }, () => random(60_000));
    const streams = sizes.map(() => pair.ends[0].request({ method: 'GET', path: '/', headers: [] }, { end: true }));
    pair.drain();
    streams.forEach((stream, index) => {
      pair.ends[1].respond(stream, { status: 200, headers: [] }, { end: false });
      pair.send(1, stream, sizes[index], true);
    });
    pair.drain();
    assert.deepEqual(streams.map((stream) => pair.got.get(`0 ${stream}`) ?? 0), sizes);
    assert.equal(pair.ends[0].streams.size + pair.ends[1].streams.size + pair.ends[0].lingering.size, 0);
    assert.equal(pair.ends[0].credit.pool, pair.ends[0].limits.windowPool);
  }
});

test('bytes that are none of the protocol end a connection with an error of the protocol, and never with another', () => {
  for (let seed = 0; seed < 400; seed += 1) {
    const random = numbers(seed);
    const [end, other] = [true, false].map((offerer) => new Connection({ offerer }));
    if (random(4)) end.receive(other.dataToSend(0), 0);
    const parts = Array.from({ length: 1 + random(3) }, () => {
      const payload = Uint8Array.from({ length: random(40) }, () => random(256));
      return [...frame(random(2) ? random(12) : FrameType.DATA, random(8), payload, random(2))];
    });
    const message = Uint8Array.from(parts.flat().slice(0, random(4) ? undefined : random(60)));
    try {
      end.receive(message, 1);
    } catch (error) {
      assert.ok(error instanceof PeerPouchError && error.error === 'protocol_error', String(error));
      assert.equal(end.state, 'closed');
      assert.ok(end.dataToSend(0).length > 0);
    }
  }
});

test('a flood of pings, and one of requests that are refused, ends the connection', () => {
  const opened = () => {
    const ends = [true, false].map((offerer) => new Connection({ offerer }));
    const hellos = ends.map((end) => end.dataToSend(0));
    ends.forEach((end, index) => end.receive(hellos[1 - index], 0));
    return ends;
  };
  const flood = (make, count) => {
    const [, end] = opened();
    for (let number = 0; number < count; number += 1) end.receive(make(number), 0);
    return end;
  };
  const ping = () => frame(FrameType.PING, 0, new Uint8Array(8));
  assert.throws(() => flood(ping, 65), /too many pings/);
  assert.equal(flood(ping, 64).state, 'open');
  const request = (number) => frame(FrameType.REQUEST, 2 * number + 1, Uint8Array.from([3, 71, 69, 84, 0, 1, 47, 0, 0]), 1);
  assert.throws(() => flood(request, 600), /opened and reset/);
});

async function idleFlood(Connection, nothing) {
  const [one, end] = [true, false].map((offerer) => new Connection({ offerer }));
  const hellos = [one, end].map((each) => each.dataToSend(0));
  [one, end].forEach((each, index) => each.receive(hellos[1 - index], 0));
  const head = Uint8Array.from([3, 71, 69, 84, 0, 1, 47, 0, 0]);
  for (const stream of [1, 3]) end.receive(frame(FrameType.REQUEST, stream, head), 0);
  end.reset(3);
  end.dataToSend(0);
  for (let number = 0; number < 20_000; number += 1) end.receive(nothing, 0);
  return end.state;
}

const one = Uint8Array.from([0, 0, 0, 1]);
const nothings = {
  'a type that is not known': frame(99, 0, new Uint8Array(0)),
  'credit of the connection': frame(FrameType.CREDIT, 0, one),
  'credit of a stream that is over': frame(FrameType.CREDIT, 3, one),
  'a byte of a body': frame(FrameType.DATA, 1, new Uint8Array(1)),
  'no byte of a body': frame(FrameType.DATA, 1, new Uint8Array(0)),
  'some bytes for a stream that is over': frame(FrameType.DATA, 3, new Uint8Array(1023)),
  'a pong that nobody waits for': frame(FrameType.PONG, 0, new Uint8Array(8)),
  'a goodbye': frame(FrameType.GO_AWAY, 0, new Uint8Array(8)),
};

for (const [name, nothing] of Object.entries(nothings)) {
  test(`a flood of frames that carry nothing ends the connection: ${name}`, async () => {
    await assert.rejects(idleFlood(Connection, nothing), /carry nothing/);
  });
}

test('twin: without the allowance any number of them is taken', async (t) => {
  const load = mutant(t, { 'wire/table.js': [['if (!this.idle.take(now))', 'if (false)']] });
  const { Connection: Lenient } = await load('wire/connection.js');
  for (const nothing of Object.values(nothings)) assert.notEqual(await idleFlood(Lenient, nothing), 'closed');
});

test('no ping goes before the HELLO of the other side', () => {
  const [early, other] = [true, false].map((offerer) => new Connection({ offerer, limits: limits() }));
  const kinds = () => [...split(early.dataToSend(1 << 16))].map(({ kind }) => kind);
  early.ping(0);
  assert.deepEqual(kinds(), [FrameType.HELLO]);
  early.receive(other.dataToSend(1 << 16), 1);
  early.ping(2);
  assert.deepEqual(kinds(), [FrameType.PING]);
});

test('silence of one that was suspended itself is forgiven once', () => {
  const liveness = new Liveness(0);
  assert.equal(liveness.check(60_000), 'ping');
  assert.equal(liveness.check(120_000), 'dead');
  const awake = new Liveness(0);
  const verdicts = [3000, 6000, 8999, 9000].map((now) => awake.check(now));
  assert.deepEqual(verdicts, ['ping', 'ping', 'wait', 'dead']);
});
