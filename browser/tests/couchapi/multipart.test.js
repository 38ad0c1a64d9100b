import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApp } from '../../src/couchapi/app.js';
import { parts, unzipped } from '../../src/couchapi/multipart.js';
import { pouch } from '../pouch.js';
import { systemClock } from '../../src/clock.js';
import { Body, Room } from '../../src/couchapi/room.js';

const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {string} text @param {number} size */
async function* inChunks(text, size) {
  const data = encode(text);
  for (let at = 0; at < data.length; at += size) yield data.slice(at, at + size);
}

const DOC = {
  _attachments: {
    a: { follows: true, content_type: 'text/plain', length: 12 },
    b: { follows: true, content_type: 'text/html', length: 0 },
  },
};

/** @param {any} doc @param {string} [tail] */
const body = (doc, tail = '\r\n--xyz--') =>
  `--xyz\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(doc)}\r\n--xyz\r\n` +
  `Content-Disposition: attachment; filename="a"\r\nContent-Type: text/plain\r\n\r\nline\r\n--xy\r\n\r\n--xyz\r\n\r\n${tail}`;

/** @param {any} db @param {string} text @param {number} size */
async function put(db, text, size) {
  const { handler } = await createApp(db);
  return handler({
    method: 'PUT',
    url: '/doc',
    headers: new Headers({ 'content-type': 'multipart/related; boundary="xyz"' }),
    body: /** @type {any} */ (ReadableStream).from(inChunks(text, size)),
  });
}

test('parts are found however the body is cut into chunks', async () => {
  const text = body(DOC);
  for (let size = 1; size < text.length; size += size < 40 ? 1 : 37) {
    const found = [];
    for await (const { head, blob } of parts(inChunks(text, size), 'xyz')) found.push([head, await blob.text()]);
    assert.deepEqual(
      found.map(([, content]) => content),
      [JSON.stringify(DOC), 'line\r\n--xy\r\n', ''],
      `chunks of ${size}`,
    );
    assert.match(found[1][0], /filename="a"/);
  }
});

test('a document comes with its attachments, byte for byte', async () => {
  const db = pouch();
  assert.equal((await put(db, body(DOC), 7)).status, 201);
  assert.equal((await db.getAttachment('doc', 'a')).toString(), 'line\r\n--xy\r\n');
  assert.equal((await db.getAttachment('doc', 'b')).length, 0);
});

test('a body that was cut off, or does not fit its document, changes nothing', async () => {
  const db = pouch();
  const longer = structuredClone(DOC);
  longer._attachments.a.length = 13;
  const renamed = { _attachments: { z: DOC._attachments.a, b: DOC._attachments.b } };
  const more = { _attachments: { ...DOC._attachments, c: { follows: true, content_type: 'text/plain', length: 1 } } };
  const whole = body(DOC);
  for (const text of [
    whole.slice(0, -3),
    whole.slice(0, 250),
    whole.slice(0, 60),
    body(longer),
    body(renamed),
    body(more),
    body(7),
    '',
    'nothing',
  ]) {
    const response = await put(db, text, 11);
    assert.equal(response.status, 400, text);
  }
  assert.equal((await db.info()).doc_count, 0);
});

test('what inflates to more than the limit is refused while it does', async () => {
  const zeros = new Blob([new Uint8Array(1_000_000)]);
  const bomb = await new Response(zeros.stream().pipeThrough(new CompressionStream('gzip'))).blob();
  assert.ok(bomb.size < 2000);
  const held = new Body(new Room(), 'somebody', systemClock);
  await assert.rejects(unzipped(bomb, held, 100_000), { error: 'too_large' });
  // The twin: where there is room it is all there.
  assert.equal((await unzipped(bomb, held)).size, 1_000_000);
  await assert.rejects(unzipped(new Blob(['no gzip']), held), { error: 'bad_request' });
  held.release();
});

test('what a visitor may not write is not received first', async () => {
  for (const [access, url, type] of [
    ['read-only', '/doc/a', 'text/plain'],
    ['read-only', '/doc', 'multipart/related; boundary="xyz"'],
    ['read-write', '/doc/a', 'text/plain'],
  ]) {
    let asked = 0;
    const body = new ReadableStream(
      {
        pull(controller) {
          asked += 1;
          if (asked > 100) controller.close();
          else controller.enqueue(new Uint8Array(1000));
        },
      },
      { highWaterMark: 0 },
    );
    const headers = new Headers({ 'content-type': type });
    const response = await (await createApp(pouch(), { access })).handler({ method: 'PUT', url, headers, body });
    assert.deepEqual([response.status, asked], access === 'read-only' ? [403, 0] : [201, 101], url);
  }
});

test('an attachment that is being read breaks off when its reader is shut out', async () => {
  const db = pouch();
  await db.put({ _id: 'a', _attachments: { f: { content_type: 'text/plain', data: Buffer.alloc(1_000_000) } } });
  const app = await createApp(db);
  const response = await app.handler({ method: 'GET', url: '/a/f', headers: new Headers(), body: null });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  await reader.read();
  app.revoke();
  await assert.rejects(reader.read(), { error: 'forbidden' });
});
