/** What a hub's server says and leaves unsaid, with a `fetch` that the tests answer themselves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asError } from '../src/hub/errors.js';
import { ServerDatabase } from '../src/hub/server.js';
import { HubSession } from '../src/trust/proofs.js';
import { FakeClock, settle } from './fake-clock.js';
import { turned } from './world.js';

const KEY = 'fSfWVDLKA-ChkKJY0eVXV0n2ERGrxA5rpM7Zx4bzfVI';
const json = (value, init) => new Response(JSON.stringify(value), init);
const never = () => new Promise(() => {});

/** A database at a server that answers as `answer(path, init, count)` says. */
async function at(answer) {
  const clock = new FakeClock();
  const asked = [];
  const pouch = {
    fetch: async (path, init) => {
      asked.push({ path, ...init });
      init.signal?.throwIfAborted();
      return answer(path, init, asked.length);
    },
  };
  return { clock, asked, database: new ServerDatabase(pouch, clock, await HubSession.make()) };
}

/** A body that tests write into. */
function pipe() {
  let controller;
  const body = new ReadableStream({ start: (given) => { controller = given; } });
  return { body, write: (text) => controller.enqueue(new TextEncoder().encode(text)), end: () => controller.close() };
}

test('errors of a server, of fetch and of PouchDB have our names', () => {
  const named = (error) => { const { error: name, status, reason } = asError(error); return [name, status, reason]; };
  assert.deepEqual(named({ error: 'conflict', reason: 'x', status: 409 }), ['conflict', 409, 'x']);
  assert.deepEqual(named({ error: 'strange', reason: 'x', status: 404 }), ['not_found', 404, 'x']);
  assert.deepEqual(named({ error: 'strange', status: 418, reason: 'tea' }), ['bad_request', 418, 'tea']);
  assert.deepEqual(named({ status: 500, reason: 'x' }), ['internal_server_error', 500, 'x']);
  assert.deepEqual(named(new TypeError('fetch failed')), ['connection_failed', 503, 'fetch failed']);
  assert.deepEqual(named(new Error('database is destroyed')), ['database_closed', 503, 'database is destroyed']);
  assert.equal(named(undefined)[0], 'connection_failed');
});

test('requests have the form that CouchDB documents', async () => {
  const { database, asked } = await at((path, { method }) => json(
    path.startsWith('_all_docs') ? { rows: [{ id: 'share:a', value: { rev: '1-x' }, doc: { _id: 'share:a' } }] }
      : path === '_bulk_docs' ? [{ id: 'a', rev: '1-x' }, { id: 'b', error: 'conflict', reason: 'why' }]
        : method === 'PUT' ? { ok: true, rev: '1-x' } : { update_seq: '7-x' }));
  assert.equal(await database.sequence(), '7-x');
  assert.equal(await database.put({ _id: 'share:a' }), '1-x');
  await database.remove('share:a', '1-x');
  const [first, second] = await database.bulk([{ _id: 'a' }, { _id: 'b' }]);
  assert.deepEqual([first.rev, second.error.error, second.error.status], ['1-x', 'conflict', 409]);
  const rows = [];
  for await (const row of database.list({ first: 'share:', last: 'share:\ufff0', limit: 9, include_docs: true })) rows.push(row);
  assert.deepEqual(rows, [{ id: 'share:a', rev: '1-x', doc: { _id: 'share:a' } }]);
  assert.deepEqual(asked.map(({ method, path }) => `${method} ${path}`), ['GET ', 'PUT share%3Aa', 'DELETE share%3Aa?rev=1-x',
    'POST _bulk_docs', 'GET _all_docs?skip=0&limit=9&include_docs=true&startkey=%22share%3A%22&endkey=%22share%3A%EF%BF%B0%22']);
});

test('what is not there is null, and other errors are errors', async () => {
  const { database } = await at((path) => json({ error: path === 'a' ? 'not_found' : 'forbidden' },
    { status: path === 'a' ? 404 : 403 }));
  assert.equal(await database.get('a'), null);
  await assert.rejects(database.get('b'), { error: 'forbidden' });
});

test('whether something is there is asked in a way that is no error where it is not', async () => {
  const found = { rows: [{ id: 'a', doc: { _id: 'a' } }] };
  for (const answer of [found, { rows: [{ key: 'a', error: 'not_found' }] }, { rows: [{ id: 'a', value: { deleted: true }, doc: null }] },
    { rows: [] }]) {
    const { database, asked } = await at(() => json(answer));
    assert.deepEqual(await database.look('a'), answer === found ? { _id: 'a' } : null);
    assert.deepEqual([asked[0].method, asked[0].path, asked[0].body], ['POST', '_all_docs?include_docs=true', '{"keys":["a"]}']);
  }
});

test('a server that does not answer is given up, and its request aborted', async () => {
  const { database, clock, asked } = await at(never);
  await assert.rejects(turned(clock, database.get('a')), { error: 'connection_failed' });
  assert.ok(asked[0].signal.aborted);
  assert.equal(clock.pending, 0);
});

async function following(answer, since = 3) {
  const found = await at(answer);
  const controller = new AbortController();
  const feed = found.database.feed({ since, selector: { a: 1 }, signal: controller.signal });
  return { ...found, feed, controller };
}

test('a plain hub\'s feed is asked for page by page, with heartbeats before it', async () => {
  const { body, write, end } = pipe();
  const { feed, asked, clock, controller } = await following((path, init, count) =>
    (path.startsWith('_changes') ? (count === 3 ? new Response(body) : never()) : json({ update_seq: 3 })));
  assert.deepEqual((await feed.next()).value, { results: [], last_seq: 3 });
  const page = feed.next();
  for (let n = 0; n < 10; n++) {
    write('\n');
    await clock.advance(70_000); // each heartbeat is a sign of life
  }
  write('{"results":[{"id":"share:a","seq":4}],');
  write('"last_seq":4}');
  end();
  assert.deepEqual((await page).value, { results: [{ id: 'share:a', seq: 4 }], last_seq: 4 });
  const next = feed.next();
  await settle();
  const last = asked.at(-1);
  assert.match(last.path, /^_changes\?feed=longpoll&.*heartbeat=25000&since=4&limit=100&filter=_selector$/);
  assert.deepEqual([last.method, last.body], ['POST', '{"selector":{"a":1}}']);
  controller.abort(new Error('enough'));
  await assert.rejects(next);
  assert.ok(last.signal.aborted);
});

test('a feed that brings not even a heartbeat is lost', async () => {
  const { body, write } = pipe();
  const { feed, asked, clock } = await following((path) => (path.startsWith('_changes') ? new Response(body) : json({})));
  await feed.next();
  const page = feed.next();
  page.catch(() => {});
  await clock.advance(70_000);
  write('\n');
  await clock.advance(79_000);
  assert.equal(asked.at(-1).signal.aborted, false);
  await clock.advance(2000);
  await assert.rejects(page, { error: 'timeout' });
  assert.ok(asked.at(-1).signal.aborted);
  assert.equal(clock.pending, 0);
});

test('a public hub\'s feed is one request without end, with proofs', async () => {
  const { body, write } = pipe();
  const headers = { 'Peerpouch-Hub': `${KEY}.1700000000000` };
  const { feed, asked } = await following((path) =>
    (path.startsWith('_changes') ? new Response(body, { headers }) : json({}, { headers: path === '/' ? {} : headers })));
  await feed.next();
  const row = (seq) => `${JSON.stringify({ id: `share:${seq}`, seq, doc: { text: 'ü' } })}\n`;
  const page = feed.next();
  await settle();
  write(`\n${row(4)}${row(5).slice(0, 30)}`);
  assert.deepEqual((await page).value.results.map(({ seq }) => seq), [4]);
  write(`${row(5).slice(30)}\n\n`);
  assert.deepEqual((await feed.next()).value, { results: [{ id: 'share:5', seq: 5, doc: { text: 'ü' } }], last_seq: 5 });
  const proofs = asked.map(({ path, headers: sent }) => [path.split('?')[0], sent.has('peerpouch-session'), sent.has('peerpouch-reply')]);
  assert.deepEqual(proofs, [['', false, false], ['/', false, false], ['_changes', true, true]]);
  assert.match(asked[2].path, /feed=continuous/);
  await feed.return();
});

test('a request that is answered with 401 and the hub\'s key is sent once more, with proofs, and not a third time', async () => {
  const headers = { 'Peerpouch-Hub': `${KEY}.1700000000000` };
  const { database, asked } = await at((path, { headers: sent }) => (sent.has('peerpouch-session') && path === 'good'
    ? json({ _id: 'good' }) : json({ error: 'unauthorized' }, { status: 401, headers })));
  assert.deepEqual(await database.get('good'), { _id: 'good' });
  assert.equal(asked.length, 2);
  await assert.rejects(database.get('bad'), { error: 'unauthorized' });
  assert.equal(asked.length, 4);
});

test('a plain server\'s 401 is an error, and gets no proofs', async () => {
  const { database, asked } = await at(() => json({ error: 'unauthorized' }, { status: 401 }));
  await assert.rejects(database.get('a'), { error: 'unauthorized' });
  assert.deepEqual(asked.map(({ headers }) => headers.has('peerpouch-session')), [false]);
});

test('PouchDB\'s server, which ends with an error when asked for a selector, is not asked for one', async () => {
  const { feed, asked } = await following((path) => (path.startsWith('_changes') ? json({ results: [], last_seq: 3 })
    : json(path === '/' ? { 'express-pouchdb': 'Welcome!' } : {})));
  await feed.next();
  await feed.next();
  assert.equal(asked.at(-1).method, 'GET');
  assert.ok(!asked.at(-1).path.includes('filter'));
  await feed.return();
});

test('what is no feed is an error', async () => {
  for (const text of ['[]', 'null', '{}', '<html>', '']) {
    const { feed } = await following((path) => (path.startsWith('_changes') ? new Response(text) : json({})));
    await feed.next();
    await assert.rejects(feed.next(), (error) => error.status >= 500, text);
  }
});
