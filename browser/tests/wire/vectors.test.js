import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { PeerPouchError } from '../../src/errors.js';
import { Connection } from '../../src/wire/connection.js';
import * as frames from '../../src/wire/frames.js';
import { limits } from '../../src/wire/limits.js';

const recorded = JSON.parse(readFileSync(new URL('../../../tests/vectors/channel.json', import.meta.url), 'utf8'));

const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (data) => Buffer.from(data).toString('hex');
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** An event as the recording has it: Python's names, bytes in hex, seconds. */
function plain(event) {
  const entries = Object.entries(event).map(([name, value]) => {
    if (value instanceof Uint8Array) return [name, hex(value)];
    if (name === 'roundTrip') return ['round_trip', value / 1000];
    return [snake(name), value];
  });
  return JSON.parse(JSON.stringify(Object.fromEntries(entries)));
}

function decode(message) {
  const names = Object.fromEntries(Object.entries(frames.FrameType).map(([name, number]) => [number, name]));
  return [...frames.split(message)].map(({ kind, flags, stream, payload }) => {
    const entry = { type: names[kind] ?? kind, stream };
    if (flags & frames.END) entry.end = true;
    switch (names[kind]) {
      case 'HELLO': {
        const { lowest, highest, settings } = frames.decodeHello(payload);
        return { ...entry, lowest, highest, settings: Object.fromEntries(settings) };
      }
      case 'REQUEST':
        return { ...entry, ...frames.decodeRequest(payload, 100) };
      case 'RESPONSE':
        return { ...entry, ...frames.decodeResponse(payload, 100) };
      case 'CREDIT':
        return { ...entry, credit: frames.decodeCredit(payload) };
      case 'RESET':
        return { ...entry, ...frames.decodeReset(payload) };
      case 'GO_AWAY':
        return { ...entry, ...Object.fromEntries(Object.entries(frames.decodeGoAway(payload)).map(([n, v]) => [snake(n), v])) };
      default:
        return { ...entry, payload: hex(payload) };
    }
  });
}

test('the calls of the recorded session send its messages and give its events', () => {
  const bounds = limits(Object.fromEntries(Object.entries(recorded.limits).map(([name, value]) => [camel(name), value])));
  const ends = {
    offerer: new Connection({ offerer: true, limits: bounds }),
    answerer: new Connection({ offerer: false, limits: bounds }),
  };
  const calls = {
    request: (end, [head], options) => end.request(head, options),
    respond: (end, [stream, head], options) => end.respond(stream, head, options),
    send_data: (end, [stream, data], options) => end.sendData(stream, bytes(data), options),
    consumed: (end, [stream, size, now]) => end.consumed(stream, size, now * 1000),
    reset: (end, args) => end.reset(...args),
    ping: (end, [now]) => end.ping(now * 1000),
    go_away: (end, args) => end.goAway(...args),
  };
  for (const step of recorded.steps) {
    const end = ends[step.end];
    if (step.call) {
      assert.deepEqual(calls[step.call](end, step.args, step.options) ?? null, step.result, step.call);
      continue;
    }
    const message = bytes(step.message);
    if (step.room !== null) assert.equal(hex(end.dataToSend(step.room)), step.message);
    if (step.frames) assert.deepEqual(decode(message), step.frames);
    const other = ends[step.end === 'offerer' ? 'answerer' : 'offerer'];
    if (step.error) {
      assert.throws(() => other.receive(message, 1000), (error) => error instanceof PeerPouchError && error.reason === step.error);
    } else {
      assert.deepEqual(other.receive(message, 1000).map(plain), step.events);
    }
  }
});
