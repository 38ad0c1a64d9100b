import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';

import { createApp } from '../../src/couchapi/app.js';
import { Packing, takesGzip } from '../../src/transport/packing.js';
import { WebRTC } from '../../src/transport/webrtc.js';
import { FakePeerConnection } from '../fake-rtc.js';
import { pouch } from '../pouch.js';

afterEach(() => {
  for (const pc of FakePeerConnection.open) pc.close();
});

/** Two links over a path that seems slow. */
async function pair(right, { rate = 100 } = {}) {
  const transport = new WebRTC({ RTCPeerConnection: FakePeerConnection });
  const offered = await transport.offer(right);
  const answered = await transport.answer(offered.sdp, right);
  const links = await Promise.all([
    offered.connect({ sdp: answered.sdp, timeout: 5000 }), answered.connect({ timeout: 5000 }),
  ]);
  for (const link of links) {
    link.packing = new Packing(link);
    Object.defineProperty(link.packing, 'isWorthIt', { get: () => rate < 10_000 });
  }
  return links;
}

const json = { 'content-type': 'application/json' };
const text = JSON.stringify(Array.from({ length: 5000 }, (_, n) => ({ _id: `n${n}`, words: 'some words again' })));
const GZIP = { 'accept-encoding': 'gzip' };

test('JSON is compressed on its way there and back, whole or in portions, and read as it was', async () => {
  let seen;
  const [left] = await pair(async (request) => {
    seen = request.headers;
    const body = await new Response(request.body.pipeThrough(new DecompressionStream('gzip'))).text();
    return new Response(new Blob([body]).stream(), { headers: json });
  });
  const response = await left.fetch('/db/_bulk_docs', { method: 'POST', headers: { ...json, ...GZIP }, body: text });
  assert.equal(seen.get('content-encoding'), 'gzip');
  assert.equal(seen.get('content-length'), null);
  assert.equal(response.headers.get('content-encoding'), 'gzip');
  const packed = Buffer.from(await response.arrayBuffer());
  assert.equal(gunzipSync(packed).toString(), text);
  assert.ok(left.sent + left.received < text.length / 5);
  const again = await left.fetch('/db/_bulk_docs', { method: 'POST', headers: json, body: text });
  assert.equal(await again.text(), text); // undone, where the caller did not ask for it
  assert.ok(left.packing.taken > left.packing.given && left.packing.ratio > 3);
});

test('an empty and a short body, what is no JSON or no POST, what may hold a token, and a fast path stay as they are', async () => {
  const seen = [];
  const right = async (request) => {
    seen.push(request.headers.get('content-encoding'));
    const [, kind] = request.url.split('/');
    const more = { raw: { 'content-type': 'text/plain' }, range: { 'accept-ranges': 'bytes' }, cookie: { 'set-cookie': 'a=b' },
      store: { 'cache-control': 'no-store' }, feed: { 'cache-control': 'no-transform' } }[kind];
    const status = { created: 201, missing: 404 }[kind] ?? 200;
    return new Response(kind === 'empty' ? '' : kind === 'short' ? '{}' : text, { status, headers: { ...json, ...more } });
  };
  const [left] = await pair(right);
  const codingOf = async (path, init = {}) => {
    const response = await left.fetch(path, { ...init, headers: { ...GZIP, ...init.headers } });
    const bytes = Buffer.from(await response.arrayBuffer());
    const coding = response.headers.get('content-encoding');
    if (!/^.(empty|short)/.test(path) && init.method !== 'HEAD') {
      assert.equal((coding ? gunzipSync(bytes) : bytes).toString(), text, path);
    }
    return coding;
  };
  for (const path of ['/plain', '/created']) assert.equal(await codingOf(path), 'gzip', path);
  for (const path of ['/empty', '/short', '/raw', '/range', '/cookie', '/store', '/feed', '/missing', '/_session']) {
    assert.equal(await codingOf(path), null, path);
  }
  assert.equal(await codingOf('/plain', { method: 'HEAD' }), null);
  assert.equal(await codingOf('/plain', { headers: { 'accept-encoding': 'gzip;q=0' } }), null);
  seen.length = 0;
  await codingOf('/plain', { method: 'PUT', body: text, headers: json });
  await codingOf('/plain', { method: 'POST', body: text });
  await codingOf('/_session', { method: 'POST', body: text, headers: json });
  await codingOf('/plain', { method: 'POST', body: '{}', headers: json });
  await codingOf('/plain', { method: 'POST', body: text, headers: { ...json, 'content-encoding': 'br' } });
  assert.deepEqual(seen, [null, null, null, null, 'br']);
  const [fast] = await pair(right, { rate: 50_000 });
  assert.equal((await fast.fetch('/plain', { headers: GZIP })).headers.get('content-encoding'), null);
});

test('an end that does not take compressed requests gets none', async () => {
  let seen;
  const [left] = await pair(async (request) => {
    seen = request.headers.get('content-encoding');
    return new Response('ok');
  });
  left.peerTakesGzip = false;
  await left.fetch('/db/_bulk_docs', { method: 'POST', headers: json, body: text });
  assert.equal(seen, null);
});

test('the choice follows the path: a slow or far one, but no fast one and none that was measured long ago', () => {
  const link = { pacer: { rate: null, measuredAt: 0 }, connection: { roundTrip: null }, clock: { monotonic: () => 1000 } };
  const packing = new Packing(link);
  assert.equal(packing.isWorthIt, false);
  link.connection.roundTrip = 50;
  assert.equal(packing.isWorthIt, true);
  link.pacer.rate = 50_000;
  assert.equal(packing.isWorthIt, false);
  link.pacer.rate = 1000;
  assert.equal(packing.isWorthIt, true);
  for (let n = 0; n < 20; n += 1) packing.learn(500_000, 490_000); // what can't be compressed
  assert.equal(packing.isWorthIt, false);
  for (let n = 0; n < 60 && !packing.isWorthIt; n += 1);
  assert.equal(packing.isWorthIt, true); // tried again after a while
  link.pacer.rate = 50_000;
  link.clock.monotonic = () => 40_000;
  assert.equal(packing.isWorthIt, true);
});

test('a compressed answer that nobody reads on is given up', async () => {
  let cancelled = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(crypto.getRandomValues(new Uint8Array(60_000))),
    cancel() { cancelled = true; },
  }, { highWaterMark: 0 });
  const [left] = await pair(async () => new Response(body, { headers: json }));
  const response = await left.fetch('/', { headers: GZIP });
  const reader = response.body.getReader();
  await reader.read();
  await reader.cancel();
  for (let n = 0; n < 100 && !cancelled; n += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(cancelled);
});

test('a live feed is never held back by a compressor', async () => {
  const db = pouch();
  await db.bulkDocs(Array.from({ length: 300 }, (_, n) => ({ _id: `n${n}`, words: 'some words' })));
  const { handler } = await createApp(db, {});
  const [left] = await pair((request) => handler({ ...request, url: request.url.slice('/db'.length) }));
  const response = await left.fetch('/db/_changes?feed=continuous&since=0&include_docs=true&heartbeat=1000');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let seen = '';
  while (!seen.includes('"n299"')) seen += (await reader.read()).value;
  await db.put({ _id: 'late' });
  while (!seen.includes('"late"')) seen += (await reader.read()).value;
  await reader.cancel();
  const rows = await left.fetch('/db/_all_docs?include_docs=true', { headers: GZIP });
  assert.equal(rows.headers.get('content-encoding'), 'gzip'); // its twin: what ends is compressed
  await rows.body.cancel();
});

test('a compressed request is decoded, and what is too large or no gzip is refused', async () => {
  const db = pouch();
  const { handler } = await createApp(db, {});
  const post = (body) => handler({
    method: 'POST', url: '/_bulk_docs', headers: new Headers({ ...json, 'content-encoding': 'gzip' }),
    body: new Blob([body]).stream(),
  });
  assert.equal((await post(gzipSync(JSON.stringify({ docs: [{ _id: 'a' }] })))).status, 201);
  assert.equal((await db.get('a'))._id, 'a');
  assert.equal((await post('no gzip')).status, 400);
  assert.equal((await post(gzipSync('{"docs": []}').subarray(0, 20))).status, 400);
  assert.equal((await post(gzipSync(Buffer.alloc(140 << 20, ' ')))).status, 413);
});

test('an accept-encoding is read as HTTP says', () => {
  const takes = (value) => takesGzip([['accept-encoding', value]]);
  assert.deepEqual(['gzip', 'br, GZIP;q=0.5', 'gzip; q=1'].map(takes), [true, true, true]);
  assert.deepEqual(['', 'br', 'gzip;q=0', 'gzip; q=0.00', 'x-gzip'].map(takes), [false, false, false, false, false]);
});
