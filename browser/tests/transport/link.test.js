import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';

import { PeerPouchError } from '../../src/errors.js';
import { systemClock } from '../../src/clock.js';
import { Link } from '../../src/transport/link.js';
import { StreamEnd } from '../../src/transport/streams.js';
import { WebRTC } from '../../src/transport/webrtc.js';
import { limits } from '../../src/wire/limits.js';
import { FakeClock, settle, until } from '../fake-clock.js';
import { FakePeerConnection } from '../fake-rtc.js';
import { mutant } from '../mutant.js';

const echo = async (request) => {
  const body = request.body ? await new Response(request.body).text() : null;
  return Response.json({ method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body });
};

afterEach(() => {
  for (const pc of FakePeerConnection.open) pc.close();
  FakePeerConnection.blocked = FakePeerConnection.tardy = FakePeerConnection.hasty = false;
});

async function pair({ left = echo, right = echo, clock = systemClock, bounds, Transport = WebRTC } = {}) {
  const transport = new Transport({ RTCPeerConnection: FakePeerConnection, clock, limits: bounds });
  const offered = await transport.offer(left);
  const answered = await transport.answer(offered.sdp, right);
  const links = Promise.all([offered.connect({ sdp: answered.sdp, timeout: 5000 }), answered.connect({ timeout: 5000 })]);
  if (clock !== systemClock) await settle();
  return links;
}

/** A stream of `count` chunks, which counts what was taken of it. */
function counted(count, size = 64 * 1024) {
  const taken = { chunks: 0, cancelled: false };
  const stream = new ReadableStream(
    {
      pull(controller) {
        if (taken.chunks === count) controller.close();
        else controller.enqueue(new Uint8Array(size).fill((taken.chunks += 1)));
      },
      cancel() {
        taken.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, taken };
}

const fails = (error) => (thrown) => thrown instanceof PeerPouchError && thrown.error === error;

test('both ends send requests and answer them', async () => {
  const [left, right] = await pair();
  const said = await left.fetch('/db/a%20b?x=1', { method: 'PUT', body: '{"a":1}', headers: { 'content-type': 'application/json' } });
  assert.equal(said.status, 200);
  assert.deepEqual(await said.json(), {
    method: 'PUT',
    url: '/db/a%20b?x=1',
    headers: { 'accept-encoding': 'gzip', 'content-length': '7', 'content-type': 'application/json' },
    body: '{"a":1}',
  });
  const many = await Promise.all(Array.from({ length: 200 }, (_, n) => right.fetch(`/${n}`).then((r) => r.json())));
  assert.deepEqual(many.map(({ url }) => url), Array.from({ length: 200 }, (_, n) => `/${n}`));
});

test('what comes before the answerer has got its channel is not lost, for nothing comes', async () => {
  FakePeerConnection.tardy = true;
  const [left, right] = await pair();
  assert.equal((await left.fetch('/a')).status, 200);
  assert.equal((await right.fetch('/b')).status, 200);
});

test('twin: a HELLO that waits for nobody is lost', async () => {
  FakePeerConnection.tardy = true;
  Object.defineProperty(Link.prototype, 'held', { get: () => false, set() {}, configurable: true });
  try {
    const [left] = await Promise.allSettled([pair().then(([link]) => link.fetch('/a'))]);
    assert.match(left.reason.reason, /HELLO|No path/);
  } finally {
    delete Link.prototype.held;
  }
});

test('a channel that the engine tells of before it takes anything loses no HELLO', async () => {
  FakePeerConnection.hasty = true;
  const [left, right] = await pair();
  assert.equal((await left.fetch('/a')).status, 200);
  assert.equal((await right.fetch('/b')).status, 200);
});

test('twin: sent at once it is lost, and both ends wait for each other until they give up', async (t) => {
  FakePeerConnection.hasty = true;
  const load = mutant(t, { 'transport/engine.js': [['this.adopt(event.channel, () => this.announced())', 'this.adopt(event.channel)']] });
  const { WebRTC: Mutant } = await load('transport/webrtc.js');
  const clock = new FakeClock();
  const transport = new Mutant({ RTCPeerConnection: FakePeerConnection, clock });
  const offered = await transport.offer(echo);
  const answered = await transport.answer(offered.sdp, echo);
  const ends = Promise.allSettled([
    offered.connect({ sdp: answered.sdp, timeout: 20_000 }),
    answered.connect({ timeout: 20_000 }),
  ]);
  await until(() => answered.engine?.channel?.dropping === false);
  for (let second = 0; second < 10; second += 1) await clock.advance(1000);
  const reasons = (await ends).map(({ reason }) => reason?.reason ?? 'it was opened');
  // Whoever gives up first closes the channel for both.
  assert.ok(reasons.every((reason) => /silent for 9 seconds|was lost/.test(reason)), reasons.join(' '));
});

test('a body that waits costs little more than its bytes, in whatever portions it came', async () => {
  for (const size of [2, 300, 511, 512, 40_000]) {
    const end = new StreamEnd({ consumed() {} });
    const expected = [];
    for (let n = 0; n < 5000; n += 1) {
      const message = new Uint8Array(64 * 1024).fill(n % 251);
      const data = message.subarray(100, 100 + (n % 9 ? size : 512)); // the rest of the message is something else
      if (n < 200) expected.push(...data.slice(0, 600));
      end.onData(data, n === 4999);
    }
    const held = new Set(end.chunks.map(({ buffer }) => buffer));
    const total = end.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    assert.ok([...held].reduce((sum, buffer) => sum + buffer.byteLength, 0) <= 3 * total, `portions of ${size}`);
    if (size > 600) continue;
    const got = [];
    for (let chunk = await end.read(); chunk && got.length < expected.length; chunk = await end.read()) got.push(...chunk);
    assert.deepEqual(got.slice(0, expected.length), expected);
  }
});

test('twin: views of messages that are kept as they came hold the whole messages', () => {
  class Keeping extends StreamEnd {
    keep(data) {
      this.chunks.push(data);
    }
  }
  const end = new Keeping({ consumed() {} });
  for (let n = 0; n < 100; n += 1) end.onData(new Uint8Array(64 * 1024).subarray(100, 102), false);
  assert.equal(end.chunks.reduce((sum, { buffer }) => sum + buffer.byteLength, 0), 100 * 64 * 1024);
});

test('bodies flow both ways, whole and unharmed, whatever they are given as', async () => {
  const [left] = await pair({ right: async (request) => new Response(request.body) });
  const bytes = new Uint8Array(3_000_000).map((_, index) => index % 251);
  for (const body of [bytes, new Blob([bytes]), new Blob([bytes]).stream(), bytes.buffer]) {
    const response = await left.fetch('/', { method: 'POST', body });
    assert.deepEqual(new Uint8Array(await response.arrayBuffer()), bytes);
  }
  assert.equal(left.ends.size, 0);
  assert.equal(left.connection.streams.size, 0);
});

test('a body that nobody reads is not sent further than the window, and stops nobody else', async () => {
  const { stream, taken } = counted(1000);
  const [left] = await pair({ right: (request) => (request.url === '/large' ? new Response(stream) : echo(request)) });
  const large = await left.fetch('/large');
  await until(() => taken.chunks > 16);
  await settle(50);
  const before = taken.chunks;
  assert.ok(before * 64 < 2048, `${before} chunks were taken`);
  assert.equal((await left.fetch('/small')).status, 200);
  await large.body.cancel();
  await until(() => taken.cancelled);
});

test('a small body that nobody reads does not occupy its stream', async () => {
  const [left] = await pair({ right: () => new Response('no', { status: 404 }) });
  for (let count = 0; count < 300; count += 1) assert.equal((await left.fetch('/')).status, 404);
  await until(() => left.ends.size === 0 && left.connection.lingering.size === 0);
});

/** Throws large responses away unread, and lets the garbage be collected. */
async function forget(link) {
  for (let count = 0; count < 100; count += 1) assert.equal((await link.fetch(`/${count}`)).status, 200);
}
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

test('a large body that is thrown away unread gives its stream back', async () => {
  const noise = Buffer.concat(Array.from({ length: 16 }, () => crypto.getRandomValues(new Uint8Array(65_000))));
  for (const [body, headers] of [[noise, {}], [gzipSync(noise), { 'content-encoding': 'gzip' }]]) {
    const [left] = await pair({ right: () => new Response(body, { headers }) });
    const collecting = setInterval(collect, 20);
    try {
      await forget(left);
      await until(() => left.ends.size === 0 && left.connection.lingering.size === 0);
    } finally {
      clearInterval(collecting);
    }
  }
});

test('twin: else no more requests can be made', async (t) => {
  const load = mutant(t, { 'transport/streams.js': [['forgotten.register(source, end);', '']] });
  const { WebRTC: Mutant } = await load('transport/webrtc.js');
  const [left] = await pair({ right: () => new Response(new Uint8Array(1_000_000)), Transport: Mutant });
  let done = false;
  void forget(left).then(() => { done = true; }, () => {});
  await until(() => left.ends.size >= 64);
  for (let count = 0; count < 20; count += 1) {
    collect();
    await settle();
  }
  assert.equal(done, false);
});

test('a response without a body ends by itself', async () => {
  const [left, right] = await pair({ right: () => new Response(null, { status: 204 }) });
  for (const method of ['HEAD', 'GET']) assert.equal((await left.fetch('/', { method })).status, 204);
  await until(() => left.ends.size === 0 && right.connection.streams.size === 0);
  const [head] = await pair({ right: () => new Response('ignored', { headers: { 'content-length': '7' } }) });
  const response = await head.fetch('/', { method: 'HEAD' });
  assert.equal(response.headers.get('content-length'), '7');
  assert.equal(response.body, null);
  await until(() => head.ends.size === 0);
});

test('an aborted request ends at once on both ends', async () => {
  const seen = [];
  const [left, right] = await pair({
    right: (request) => {
      seen.push(request.signal);
      return new Promise(() => {});
    },
  });
  const controller = new AbortController();
  const waiting = left.fetch('/', { signal: controller.signal });
  await until(() => seen.length);
  controller.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  await until(() => seen[0].aborted);
  assert.equal(right.connection.streams.size, 0);
  await assert.rejects(left.fetch('/', { signal: controller.signal }), { name: 'AbortError' });
});

test('an aborted response stops flowing', async () => {
  const { stream, taken } = counted(10000);
  const [left] = await pair({ right: () => new Response(stream) });
  const controller = new AbortController();
  const reader = (await left.fetch('/', { signal: controller.signal })).body.getReader();
  await reader.read();
  controller.abort();
  await assert.rejects(async () => {
    for (;;) await reader.read();
  }, { name: 'AbortError' });
  await until(() => taken.cancelled);
});

test('what a handler throws becomes an answer, without what went wrong inside', async (t) => {
  const logged = t.mock.method(console, 'error', () => {});
  const [left] = await pair({
    right: (request) => {
      if (request.url === '/known') throw new PeerPouchError('forbidden', 'Not for you.');
      throw new Error('secret');
    },
  });
  const known = await left.fetch('/known');
  assert.equal(known.status, 403);
  assert.deepEqual(await known.json(), { error: 'forbidden', reason: 'Not for you.' });
  const unknown = await left.fetch('/unknown');
  assert.equal(unknown.status, 500);
  assert.ok(!(await unknown.text()).includes('secret'));
  assert.equal(logged.mock.callCount(), 1);
});

test('a response that breaks off is an error, and never a short body', async (t) => {
  t.mock.method(console, 'error', () => {});
  let chunks = 0;
  const body = new ReadableStream({
    pull(controller) {
      if ((chunks += 1) < 3) controller.enqueue(new Uint8Array(100_000));
      else controller.error(new Error('disk'));
    },
  });
  const [left] = await pair({ right: () => new Response(body) });
  const response = await left.fetch('/');
  await assert.rejects(response.arrayBuffer(), fails('internal_server_error'));
});

test('gzip is undone, where it was not the caller who asked for it', async () => {
  const zipped = gzipSync('x'.repeat(100_000));
  const [left] = await pair({
    right: (request) =>
      new Response(zipped, { headers: { 'content-encoding': request.headers.get('accept-encoding') ?? 'identity', 'content-length': '1' } }),
  });
  const response = await left.fetch('/');
  assert.equal(response.headers.get('content-encoding'), null);
  assert.equal((await response.text()).length, 100_000);
  const raw = await left.fetch('/', { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(raw.headers.get('content-encoding'), 'gzip');
  assert.equal((await raw.arrayBuffer()).byteLength, zipped.length);
});

test('an answer before the end of the request body stops the body', async () => {
  const { stream, taken } = counted(10000);
  const [left] = await pair({ right: () => new Response('enough', { status: 413 }) });
  const response = await left.fetch('/', { method: 'POST', body: stream, duplex: 'half' });
  assert.equal(response.status, 413);
  assert.equal(await response.text(), 'enough');
  await until(() => taken.cancelled);
});

test('more requests than streams wait for their turn', async () => {
  let open = 0;
  let most = 0;
  const [left] = await pair({
    bounds: limits({ maxStreams: 3 }),
    right: async () => {
      most = Math.max(most, (open += 1));
      await settle(2);
      open -= 1;
      return new Response('ok');
    },
  });
  const all = await Promise.all(Array.from({ length: 40 }, () => left.fetch('/').then((r) => r.text())));
  assert.equal(all.length, 40);
  assert.ok(most <= 3);
});

test('closing lets what was sent arrive, and ends requests on both ends', async () => {
  const [left, right] = await pair({ left: () => new Promise(() => {}) });
  const waiting = right.fetch('/');
  const refused = assert.rejects(waiting, fails('peer_unreachable'));
  await settle();
  await left.close();
  await refused;
  assert.equal(await left.over, null);
  assert.equal(await right.over, null);
  await assert.rejects(left.fetch('/'), fails('peer_unreachable'));
  await right.freed;
  assert.equal(FakePeerConnection.open.size, 0);
});

test('a response that came whole can be read after the end', async () => {
  const [left, right] = await pair({ right: () => new Response('here') });
  const response = await left.fetch('/');
  await settle();
  await right.close();
  assert.equal(await response.text(), 'here');
});

test('a page that goes away is noticed at once', async () => {
  const [left, right] = await pair();
  left.leave();
  assert.equal((await right.over).error, 'peer_unreachable');
});

test('a peer that vanished is noticed within ten seconds, and every request ends', async () => {
  const clock = new FakeClock();
  const [left, right] = await pair({ clock, right: () => new Promise(() => {}) });
  const waiting = left.fetch('/');
  const refused = assert.rejects(waiting, fails('peer_unreachable'));
  await settle();
  right.engine.pc.vanish();
  left.engine.pc.vanish();
  for (let second = 0; second < 10 && !left.isOver; second += 1) await clock.advance(1000);
  assert.match((await left.over).reason, /silent for 9 seconds/);
  await refused;
});

test('a quiet connection stays, and costs one ping every three seconds', async () => {
  const clock = new FakeClock();
  const [left, right] = await pair({ clock });
  const before = left.sent;
  for (let second = 0; second < 60; second += 1) await clock.advance(1000);
  assert.ok(!left.isOver && !right.isOver);
  assert.ok(left.sent - before < 60 * 16 + 16, `${left.sent - before} bytes`);
});

test('a peer that breaks the protocol is told so, and left', async () => {
  const [left, right] = await pair();
  right.channel.send(new Uint8Array([1, 2, 3]));
  assert.equal((await left.over).error, 'protocol_error');
  assert.match((await right.over).reason, /header/);
  const [other] = await pair();
  other.onMessage('a text');
  assert.equal((await other.over).error, 'protocol_error');
});

test('a connection that can not be made is given up, and names what was tried', async () => {
  FakePeerConnection.blocked = true;
  const clock = new FakeClock();
  const transport = new WebRTC({ RTCPeerConnection: FakePeerConnection, clock });
  const offered = await transport.offer(echo);
  const answered = await transport.answer(offered.sdp, echo);
  const waiting = offered.connect({ sdp: answered.sdp, timeout: 5000 });
  const refused = assert.rejects(waiting, /within 5 s.*here host 192\.0\.2\.\d+:9\/udp; there host/);
  await clock.advance(5000);
  await refused;
  answered.abandon();
  assert.equal(FakePeerConnection.open.size, 0);
});

test('a description of anything but one data channel is refused before anything is made', async () => {
  const transport = new WebRTC({ RTCPeerConnection: FakePeerConnection });
  const offered = await transport.offer(echo);
  const before = FakePeerConnection.open.size;
  for (const sdp of ['', 'v=0\r\n', `${offered.sdp}m=audio 9 X 0\r\n`, offered.sdp.replace('fingerprint', 'other'), `${offered.sdp}${'a=candidate:1 1 UDP 1 h 1 typ host\r\n'.repeat(64)}`]) {
    await assert.rejects(transport.answer(sdp, echo), fails('invalid_signal'));
  }
  assert.equal(FakePeerConnection.open.size, before);
});

test('what is known of a connection is told', async () => {
  const [left] = await pair();
  await left.fetch('/').then((response) => response.text());
  const stats = await left.stats();
  assert.equal(stats.path, 'reflexive');
  assert.equal(stats.remote, '192.0.2.2:2');
  assert.equal(stats.roundTrip, 5);
  assert.ok(stats.sent > 50 && stats.received > 50);
});
