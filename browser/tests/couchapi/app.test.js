import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApp } from '../../src/couchapi/app.js';
import { PouchDB, leaves, pouch, shared } from '../pouch.js';

const text = (/** @type {string} */ content) => ({ content_type: 'text/plain', data: Buffer.from(content) });

/** @param {any} db @param {any} [options] */
const share = (db, options) => shared(createApp(db, options));

test('every method of PouchDB works on a share', async () => {
  const db = pouch();
  const there = share(db);
  const { rev } = await there.put({ _id: 'a/b c+d', n: 1, _attachments: { 'x/y é': text('hello') } });
  assert.equal((await there.get('a/b c+d')).n, 1);
  assert.equal((await there.getAttachment('a/b c+d', 'x/y é')).toString(), 'hello');
  assert.equal((await there.get('a/b c+d', { attachments: true }))._attachments['x/y é'].data, btoa('hello'));
  await assert.rejects(there.put({ _id: 'a/b c+d', n: 2 }), { status: 409 });
  assert.match((await there.post({ _id: undefined, n: 3 })).id, /./);
  const put = await there.putAttachment('att', 'one', Buffer.from('1'), 'text/plain');
  const two = await there.putAttachment('att', 'two', put.rev, Buffer.from('2'), 'text/plain');
  assert.equal((await there.getAttachment('att', 'two')).toString(), '2');
  await there.removeAttachment('att', 'one', two.rev);
  await assert.rejects(there.getAttachment('att', 'one'), { status: 404 });
  await there.bulkDocs([{ _id: 'b' }, { _id: 'c' }, { _id: 'b' }]);
  const all = await there.allDocs({ include_docs: true, startkey: 'b', endkey: 'c' });
  assert.deepEqual([all.rows[0].doc._id, all.rows.at(-1).id], ['b', 'c']);
  assert.equal(all.total_rows, 5);
  const keyed = await there.allDocs({ keys: ['c', 'gone', 'b'] });
  assert.deepEqual(
    keyed.rows.map((/** @type {any} */ row) => row.error ?? row.id),
    ['c', 'not_found', 'b'],
  );
  await there.remove(await there.get('c'));
  await assert.rejects(there.get('c'), { status: 404, reason: 'deleted' });
  assert.equal((await there.bulkGet({ docs: [{ id: 'b' }, { id: 'nope' }] })).results.length, 2);
  assert.deepEqual(await there.revsDiff({ 'a/b c+d': [rev, '9-x'] }), {
    'a/b c+d': { missing: ['9-x'], possible_ancestors: [rev] },
  });
  assert.equal((await there.info()).doc_count, 4);
  assert.equal((await there.changes({ since: 0 })).results.length, 5);
  const { results: only } = await there.changes({ doc_ids: ['b'] });
  assert.deepEqual(
    only.map((/** @type {any} */ row) => row.id),
    ['b'],
  );
  const { results: picked } = await there.changes({ selector: { n: { $gt: 2 } } });
  assert.equal(picked.length, 1);
});

/** @param {any} app @param {string} method @param {string} url @param {any} [body] @param {any} [headers] */
async function ask(app, method, url, body, headers = {}) {
  const { handler } = await app;
  const text = body === undefined ? null : new Blob([JSON.stringify(body)]).stream();
  const all = new Headers({ 'content-type': 'application/json', ...headers });
  const response = await handler({ method, url, headers: all, body: text });
  return { status: response.status, body: await response.json() };
}

test('a view answers several queries in one request', async () => {
  const db = pouch();
  const app = createApp(db);
  await db.bulkDocs([1, 2, 3].map((n) => ({ _id: `d${n}`, n })));
  await db.put({ _id: '_design/v', views: { n: { map: 'function (doc) { if (doc.n) emit(doc.n, doc.n); }', reduce: '_sum' } } });
  const url = '/_design/v/_view/n/queries';
  const queries = [{ reduce: false, startkey: 2 }, {}, { keys: [1], reduce: false }];
  const { status, body } = await ask(app, 'POST', url, { queries });
  assert.equal(status, 200);
  assert.deepEqual(body.results.map((/** @type {any} */ { rows }) => rows.map((/** @type {any} */ row) => row.value)),
    [[2, 3], [6], [1]]);
  assert.equal((await ask(app, 'POST', '/_design/v/_view/none/queries', { queries })).status, 404);
  for (const wrong of [{}, { queries: 7 }, { queries: [{ limit: 'x' }] }]) {
    assert.equal((await ask(app, 'POST', url, wrong)).status, 400);
  }
});

test('of many queries only those are made whose answers are taken', async () => {
  const db = pouch();
  await db.bulkDocs(Array.from({ length: 20 }, (_, n) => ({ _id: `d${n}`, text: 'x'.repeat(10_000) })));
  let made = 0;
  const { allDocs } = db;
  db.allDocs = function (/** @type {any[]} */ ...args) {
    made += 1;
    return allDocs.apply(this, args);
  };
  const { handler } = await createApp(db);
  const queries = Array.from({ length: 200 }, () => ({ include_docs: true }));
  const body = new Blob([JSON.stringify({ queries })]).stream();
  const headers = new Headers({ 'content-type': 'application/json' });
  const response = await handler({ method: 'POST', url: '/_all_docs/queries', headers, body });
  const reader = response.body.getReader();
  await reader.read();
  assert.ok(made < 10, `${made} listings were made`);
  await reader.cancel();
  // The twin: who takes all gets all.
  made = 0;
  assert.equal((await ask(createApp(db), 'POST', '/_all_docs/queries', { queries })).body.results.length, 200);
  assert.ok(made >= 200);
});

test('a document is copied with its attachments, onto a new one or a revision', async () => {
  const db = pouch();
  const app = createApp(db);
  await db.put({ _id: 'a b', n: 1, _attachments: { x: text('hello') } });
  const copy = (/** @type {string} */ to, of = '/a%20b') => ask(app, 'COPY', of, undefined, { destination: to });
  const { status, body } = await copy('c%2Fd');
  assert.deepEqual([status, body.id], [201, 'c/d']);
  const copied = await db.get('c/d', { attachments: true });
  assert.deepEqual([copied.n, copied._attachments.x.data], [1, btoa('hello')]);
  assert.equal((await copy('c%2Fd')).status, 409);
  assert.equal((await copy(`c%2Fd?rev=${body.rev}`)).status, 201);
  for (const wrong of ['http://elsewhere/x', 'c?new_edits=false', 'c?rev=7', '%zz', '']) {
    assert.equal((await copy(wrong)).status, 400, wrong);
  }
  assert.equal((await ask(app, 'COPY', '/a%20b')).status, 400);
  assert.equal((await copy('x', '/gone')).status, 404);
  assert.equal((await copy('_design/x')).status, 403);
  const reading = createApp(db, { access: 'read-only' });
  assert.equal((await ask(reading, 'COPY', '/a%20b', undefined, { destination: 'mine' })).status, 403);
});

test('several listings come in one answer', async () => {
  const db = pouch();
  const app = createApp(db);
  await db.bulkDocs([{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }, { _id: '_design/d' }]);
  const queries = [{ startkey: 'b' }, { keys: ['a', 'x'] }, { limit: 1, descending: true, include_docs: true }, {}];
  const { status, body } = await ask(app, 'POST', '/_all_docs/queries', { queries });
  const ids = body.results.map((/** @type {any} */ { rows }) => rows.map((/** @type {any} */ row) => row.error ?? row.id));
  assert.equal(status, 200);
  assert.deepEqual(ids, [['b', 'c'], ['a', 'not_found'], ['c'], ['_design/d', 'a', 'b', 'c']]);
  assert.equal(body.results[2].rows[0].doc._id, 'c');
  const designs = await ask(app, 'POST', '/_design_docs/queries', { queries: [{}] });
  assert.deepEqual(designs.body.results[0].rows.map((/** @type {any} */ row) => row.id), ['_design/d']);
  assert.deepEqual((await ask(app, 'POST', '/_all_docs/queries', { queries: [] })).body, { results: [] });
  for (const wrong of [{}, { queries: 7 }, { queries: [7] }, { queries: [{ limit: 'x' }] }]) {
    assert.equal((await ask(app, 'POST', '/_all_docs/queries', wrong)).status, 400);
  }
  assert.equal((await ask(app, 'GET', '/_all_docs/queries')).status, 405);
});

test('it replicates both ways, with conflicts, deletions and attachments', async () => {
  const db = pouch();
  const local = pouch();
  for (let n = 0; n < 230; n++)
    await db.put({ _id: `d${n}`, n, ...(n % 50 ? {} : { _attachments: { f: text(`file ${n}`) } }) });
  await local.put({ _id: 'd1', mine: true });
  await local.put({ _id: 'fresh', _attachments: { g: text('from here') } });
  await db.remove(await db.get('d2'));
  const there = share(db);
  const result = await PouchDB.sync(local, there);
  assert.equal(result.push.doc_write_failures + result.pull.doc_write_failures, 0);
  assert.deepEqual(await leaves(local), await leaves(db));
  assert.equal((await db.get('d1', { conflicts: true }))._conflicts.length, 1);
  // The checkpoint is found again: nothing is read twice.
  const again = await PouchDB.replicate(there, local);
  assert.equal(again.docs_read, 0);
  await db.put({ _id: 'late' });
  assert.equal((await PouchDB.replicate(there, local)).docs_read, 1);
});

test('live replication follows in both directions', async () => {
  const db = pouch();
  const local = pouch();
  const there = share(db);
  const sync = PouchDB.sync(local, there, { live: true });
  const arrived = (/** @type {any} */ where, /** @type {string} */ id) =>
    new Promise((resolve) => {
      const feed = where.changes({ live: true, since: 0 });
      feed.on('change', (/** @type {any} */ change) => change.id === id && (feed.cancel(), resolve(undefined)));
    });
  await db.put({ _id: 'one' });
  await arrived(local, 'one');
  await local.put({ _id: 'two' });
  await arrived(db, 'two');
  sync.cancel();
  await sync.catch(() => {});
});

test('read-only lets a replicator read and keep its checkpoint, and nothing else', async () => {
  const db = pouch();
  await db.put({ _id: 'a' });
  const there = share(db, { access: 'read-only' });
  const local = pouch();
  await PouchDB.replicate(there, local);
  assert.equal((await local.get('a'))._id, 'a');
  await assert.rejects(there.put({ _id: 'b' }), { status: 403 });
  const [row] = await there.bulkDocs([{ _id: 'c' }]);
  assert.equal(row.name, 'forbidden');
  await local.put({ _id: 'mine' });
  assert.equal((await PouchDB.replicate(local, there)).doc_write_failures, 1);
  assert.equal((await db.info()).doc_count, 1);
  // Its twin: with write access the same document arrives.
  await PouchDB.replicate(local, share(db, { access: 'read-write' }));
  assert.equal((await db.get('mine'))._id, 'mine');
});

test('administration is refused, and design documents are the owner’s', async () => {
  const db = pouch();
  const { handler } = await createApp(db);
  for (const [method, url] of [
    ['DELETE', '/'],
    ['PUT', '/_security'],
    ['POST', '/_purge'],
    ['POST', '/_compact'],
    ['POST', '/_index'],
    ['DELETE', '/_index/_design/x/json/y'],
    ['PUT', '/_revs_limit'],
    ['POST', '/_view_cleanup'],
  ]) {
    const response = await handler({
      method,
      url,
      headers: new Headers({ 'content-type': 'application/json' }),
      body: null,
    });
    assert.equal(response.status, 403, `${method} ${url}`);
  }
  await assert.rejects(share(db).put({ _id: '_design/x', views: {} }), { status: 403 });
  const [row] = await share(db).bulkDocs([{ _id: '_design/x' }]);
  assert.equal(row.name, 'forbidden');
  assert.equal((await db.info()).doc_count, 0);
});

test('_local documents are each visitor’s own', async () => {
  const db = pouch();
  await db.put({ _id: '_local/secret', owner: true });
  const alice = share(db, { peer: { key: new Uint8Array(32).fill(1) } });
  const bob = share(db, { peer: { key: new Uint8Array(32).fill(2) } });
  await assert.rejects(alice.get('_local/secret'), { status: 404 });
  const { rev } = await alice.put({ _id: '_local/mine', n: 1 });
  await assert.rejects(bob.get('_local/mine'), { status: 404 });
  await assert.rejects(alice.put({ _id: '_local/mine', n: 2 }), { status: 409 });
  await alice.put({ _id: '_local/mine', _rev: rev, n: 2 });
  assert.equal((await alice.get('_local/mine')).n, 2);
  // The same key in another session finds what it left; under another policy it starts over.
  assert.equal((await share(db, { peer: { key: new Uint8Array(32).fill(1) } }).get('_local/mine')).n, 2);
  await assert.rejects(
    share(db, { access: 'read-only', peer: { key: new Uint8Array(32).fill(1) } }).get('_local/mine'),
    { status: 404 },
  );
  await assert.rejects(alice.put({ _id: '_local/big', text: 'x'.repeat(40_000) }), { status: 413 });
  for (let n = 0; n < 40; n++) await alice.put({ _id: `_local/n${n}` });
  await assert.rejects(alice.get('_local/n0'), { status: 404 });
  assert.equal((await alice.get('_local/n39'))._id, '_local/n39');
});

test('validate judges what visitors write, with the leaves, and its errors refuse', async () => {
  const db = pouch();
  await db.put({ _id: 'a', by: 'owner' });
  /** @type {any[]} */
  const seen = [];
  const validate = (/** @type {any} */ doc, /** @type {any[]} */ old, /** @type {any} */ peer) => {
    seen.push([doc._id, old.length, peer.name]);
    if (doc.n === 1) throw { forbidden: 'one is taken' };
    if (doc.n === 2) throw new Error('a bug');
    doc.n = 'changed';
    return doc._id !== 'no';
  };
  const there = share(db, { access: { validate }, peer: { key: new Uint8Array(32), name: 'bob' } });
  await assert.rejects(there.put({ _id: 'x', n: 1 }), { status: 403, reason: 'one is taken' });
  await assert.rejects(there.put({ _id: 'x', n: 2 }), { status: 403, reason: 'The document could not be judged.' });
  await assert.rejects(there.put({ _id: 'no' }), { status: 403 });
  await there.put({ ...(await there.get('a')), n: 3 });
  assert.equal((await db.get('a')).n, 3);
  assert.deepEqual(seen.at(-1), ['a', 1, 'bob']);
  const rows = await there.bulkDocs([{ _id: 'no' }, { _id: 'yes' }]);
  assert.deepEqual(
    rows.map((/** @type {any} */ row) => row.name ?? row.id),
    ['forbidden', 'yes'],
  );
});

test('one malformed document does not stop its neighbours', async () => {
  const db = pouch();
  const there = share(db);
  const docs = [
    { _id: 'a' },
    { _id: '_bad' },
    { _id: 'b', _strange: 1 },
    { _id: 'c', _attachments: { x: { stub: true, digest: 'md5-none' } } },
    { _id: 'd' },
  ];
  const rows = await there.bulkDocs(docs);
  assert.deepEqual(
    rows.map((/** @type {any} */ row) => row.name ?? row.id),
    ['a', 'illegal_docid', 'doc_validation', 'missing_stub', 'd'],
  );
  const given = docs.map((doc) => ({ ...doc, _id: `g${doc._id}`, _rev: '1-abc' }));
  /** @type {any[]} */
  const wrong = [5, null, 'this is no base64!'];
  const files = wrong.map((data, n) => ({
    _id: `gc${n}`, _rev: '1-abc', _attachments: { x: { content_type: 'text/plain', data } },
  }));
  given.splice(4, 0, .../** @type {any[]} */ (files));
  given.push({ _id: 'e', _rev: 'nonsense' });
  const response = await (await createApp(db)).handler({
    method: 'POST',
    url: '/_bulk_docs',
    headers: new Headers({ 'content-type': 'application/json' }),
    body: new Blob([JSON.stringify({ docs: given, new_edits: false })]).stream(),
  });
  const failed = await response.json();
  assert.deepEqual(
    failed.map((/** @type {any} */ row) => row.id),
    ['gb', 'gc', 'gc0', 'gc1', 'gc2', 'e'],
  );
  assert.equal((await db.get('gd'))._rev, '1-abc');
});

test('a document that nests too deep is refused, a _local one too, and its neighbours are written', async () => {
  const db = pouch();
  const app = createApp(db);
  const nested = (/** @type {number} */ levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
  // The document itself is one level.
  const docs = [{ _id: 'a', deep: nested(500) }, { _id: 'b', deep: nested(499) }, { _id: '_local/c', deep: nested(600) }];
  const { body } = await ask(app, 'POST', '/_bulk_docs', { docs });
  assert.deepEqual(body.map((/** @type {any} */ row) => row.error ?? row.id), ['doc_validation', 'b', 'doc_validation']);
  assert.deepEqual((await db.allDocs()).rows.map((/** @type {any} */ row) => row.id), ['b']);
});

test('a revoked visitor is told so, also in the middle of a feed', async () => {
  const db = pouch();
  await db.put({ _id: 'a' });
  const app = await createApp(db);
  const feed = await app.handler({
    method: 'GET',
    url: '/_changes?feed=continuous&heartbeat=1000',
    headers: new Headers(),
    body: null,
  });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (feed.body).getReader();
  assert.match(new TextDecoder().decode((await reader.read()).value), /"id":"a"/);
  const next = reader.read();
  app.revoke('enough');
  assert.deepEqual(JSON.parse(new TextDecoder().decode((await next).value)), { error: 'forbidden', reason: 'enough' });
  assert.equal((await reader.read()).done, true);
  const response = await app.handler({ method: 'GET', url: '/a', headers: new Headers(), body: null });
  assert.deepEqual(await response.json(), { error: 'forbidden', reason: 'enough' });
});

test('a feed that nobody reads any more lets go of the database', async () => {
  const db = pouch();
  const abort = new AbortController();
  const { handler } = await createApp(db);
  await db.info();
  const before = db.listenerCount('destroyed');
  for (const how of ['cancel', 'abort']) {
    const feed = await handler({
      method: 'GET',
      url: '/_changes?feed=continuous',
      headers: new Headers(),
      body: null,
      signal: abort.signal,
    });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (feed.body).getReader();
    await reader.read();
    const next = reader.read();
    if (how === 'cancel') await reader.cancel();
    else abort.abort();
    await next;
  }
  await new Promise(setImmediate);
  assert.equal(db.listenerCount('destroyed'), before);
});

test('attachments come in ranges, by entity tag, and compressed ones are stored as they are', async () => {
  const db = pouch();
  await db.put({ _id: 'a', _attachments: { f: text('0123456789') } });
  const { handler } = await createApp(db);
  const get = (/** @type {Record<string, string>} */ headers) =>
    handler({ method: 'GET', url: '/a/f', headers: new Headers(headers), body: null });
  const whole = await get({});
  const tag = /** @type {string} */ (whole.headers.get('etag'));
  assert.equal(await whole.text(), '0123456789');
  const part = await get({ range: 'bytes=3-5' });
  assert.deepEqual([part.status, await part.text(), part.headers.get('content-range')], [206, '345', 'bytes 3-5/10']);
  assert.equal(await (await get({ range: 'bytes=-3' })).text(), '789');
  assert.equal(await (await get({ range: 'bytes=4-', 'if-range': tag })).text(), '456789');
  assert.equal((await get({ range: 'bytes=4-', 'if-range': '"other"' })).status, 200);
  assert.equal((await get({ range: 'bytes=10-' })).status, 416);
  assert.equal((await get({ 'if-none-match': tag })).status, 304);
  const zipped = new Blob(['hello '.repeat(100)]).stream().pipeThrough(new CompressionStream('gzip'));
  const put = await handler({
    method: 'PUT',
    url: '/z/f',
    headers: new Headers({ 'content-type': 'text/plain', 'content-encoding': 'gzip' }),
    body: zipped,
  });
  assert.equal(put.status, 201);
  assert.equal((await db.getAttachment('z', 'f')).toString(), 'hello '.repeat(100));
});
