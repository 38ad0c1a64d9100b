import assert from 'node:assert/strict';
import { test } from 'node:test';

import { download } from '../src/download.js';
import { PeerPouchError } from '../src/errors.js';
import { FakeClock, settle } from './fake-clock.js';

const content = new Uint8Array(100_000).map((_, index) => index % 253);
const lost = () => new PeerPouchError('peer_unreachable', 'The connection was lost.');
const fails = (error) => (thrown) => thrown instanceof PeerPouchError && thrown.error === error;

/** An owner that sends `portion` bytes of what is asked for, and then breaks off. */
function owner({ portion = Infinity, tag = () => '"t"', ranges = true, before = async () => {} } = {}) {
  const asked = [];
  const fetch = async (path, { headers }) => {
    asked.push({ path, ...headers });
    await before(asked.length);
    const current = tag(asked.length);
    const isPart = ranges && headers.range && headers['if-range'] === current;
    const start = isPart ? Number(/bytes=(\d+)-/.exec(headers.range)[1]) : 0;
    let at = start;
    const body = new ReadableStream(
      {
        pull(controller) {
          const end = Math.min(at + 10_000, content.length, start + portion);
          if (end === at) {
            if (at === content.length) controller.close();
            else controller.error(lost());
            return;
          }
          controller.enqueue(content.subarray(at, end));
          at = end;
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, {
      status: isPart ? 206 : 200,
      headers: {
        'content-type': 'image/png',
        'content-length': String(content.length - start),
        etag: current,
        ...(isPart && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
      },
    });
  };
  return { fetch, asked };
}

async function whole(clock, promise) {
  let done = false;
  void promise.finally(() => { done = true; }).catch(() => {});
  for (let turn = 0; turn < 100 && !done; turn += 1) await clock.advance(10_000);
  return promise;
}

test('an attachment comes as a stream, with its type and progress', async () => {
  const { fetch, asked } = owner();
  const seen = [];
  const coming = await download(fetch, 'a/b c', 'x/y ü.png', { rev: '1-a', onProgress: (got, size) => seen.push([got, size]) });
  assert.equal(asked[0].path, '/a%2Fb%20c/x/y%20%C3%BC.png?rev=1-a');
  assert.equal(coming.size, 100_000);
  const blob = await coming.blob();
  assert.equal(blob.type, 'image/png');
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), content);
  assert.deepEqual(seen.at(-1), [100_000, 100_000]);
  assert.equal((await download(fetch, '_design/d d', 'f')).path, '/_design/d%20d/f');
});

test('what broke off goes on from its last byte, and nothing comes twice', async () => {
  const clock = new FakeClock();
  const { fetch, asked } = owner({ portion: 30_000 });
  const coming = await download(fetch, 'd', 'f', { clock });
  const bytes = await whole(clock, coming.blob().then((blob) => blob.arrayBuffer()));
  assert.deepEqual(new Uint8Array(bytes), content);
  assert.deepEqual(asked.map(({ range }) => range), [undefined, 'bytes=30000-', 'bytes=60000-', 'bytes=90000-']);
  assert.equal(coming.resumed, 3);
});

test('a peer that is away for a while is waited for, and one that stays away is not', async () => {
  const clock = new FakeClock();
  const away = async (count) => { if (count > 1 && count < 5) throw lost(); };
  const coming = await download(owner({ portion: 60_000, before: away }).fetch, 'd', 'f', { clock });
  assert.equal((await whole(clock, coming.blob())).size, content.length);
  const never = async (count) => { if (count > 1) throw lost(); };
  const stuck = await download(owner({ portion: 60_000, before: never }).fetch, 'd', 'f', { clock });
  await assert.rejects(whole(clock, stuck.blob()), fails('peer_unreachable'));
});

test('another content is never put behind the first one', async () => {
  const clock = new FakeClock();
  for (const options of [{ tag: (count) => `"${count}"` }, { ranges: false }]) {
    const coming = await download(owner({ portion: 30_000, ...options }).fetch, 'd', 'f', { clock });
    await assert.rejects(whole(clock, coming.blob()), fails('conflict'));
  }
  // The twin: the same content under the same tag goes on.
  const coming = await download(owner({ portion: 30_000, tag: () => '"same"' }).fetch, 'd', 'f', { clock });
  assert.equal((await whole(clock, coming.blob())).size, content.length);
});

test('what is there from another time is not sent again, unless it is of another content', async () => {
  const clock = new FakeClock();
  const { fetch, asked } = owner({ portion: 30_000 });
  const seen = [];
  const onProgress = (got, size) => seen.push([got, size]);
  const coming = await download(fetch, 'd', 'f', { clock, onProgress, from: { received: 40_000, tag: '"t"' } });
  assert.equal(coming.continued, true);
  assert.equal(coming.size, content.length);
  const rest = await whole(clock, coming.blob().then((blob) => blob.arrayBuffer()));
  assert.deepEqual(new Uint8Array(rest), content.subarray(40_000));
  assert.deepEqual(asked.map(({ range }) => range), ['bytes=40000-', 'bytes=70000-']);
  assert.deepEqual([seen[0], seen.at(-1)], [[50_000, 100_000], [100_000, 100_000]]);
  for (const options of [{ tag: () => '"other"' }, { ranges: false }]) {
    const other = await download(owner(options).fetch, 'd', 'f', { clock, from: { received: 40_000, tag: '"t"' } });
    assert.equal(other.continued, false);
    const bytes = await whole(clock, other.blob().then((blob) => blob.arrayBuffer()));
    assert.deepEqual(new Uint8Array(bytes), content);
  }
});

test('a rest that begins elsewhere is refused', async () => {
  const fetch = async () => new Response('rest', {
    status: 206, headers: { 'content-length': '4', etag: '"t"', 'content-range': 'bytes 5-8/9' },
  });
  await assert.rejects(download(fetch, 'd', 'f', { from: { received: 4, tag: '"t"' } }), fails('conflict'));
});

test('what the owner says is said, and is not tried again', async () => {
  let asked = 0;
  const fetch = async () => {
    asked += 1;
    return Response.json({ error: 'forbidden', reason: 'Not for you.' }, { status: 403 });
  };
  await assert.rejects(download(fetch, 'd', 'f'), (error) => error.error === 'forbidden' && error.status === 403);
  assert.equal(asked, 1);
});

test('a body that ends too early without an error is an error', async () => {
  const fetch = async () => new Response('short', { headers: { 'content-length': '10', etag: '"t"' } });
  const coming = await download(fetch, 'd', 'f');
  await assert.rejects(coming.blob(), fails('protocol_error'));
});

test('an owner that goes on sending is stopped at the size that it told', async () => {
  let sent = 0;
  let isCancelled = false;
  const fetch = async () => new Response(new ReadableStream(
    {
      pull(controller) {
        sent += 1000;
        controller.enqueue(new Uint8Array(1000));
      },
      cancel() { isCancelled = true; },
    },
    { highWaterMark: 0 },
  ), { headers: { 'content-length': '5000' } });
  const coming = await download(fetch, 'd', 'f');
  await assert.rejects(coming.blob(), fails('protocol_error'));
  assert.deepEqual([sent, isCancelled], [6000, true]);
});

test('nothing is received that is not read', async () => {
  const { fetch } = owner();
  const coming = await download(fetch, 'd', 'f');
  await settle(20);
  assert.equal(coming.received, 0);
});
