import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApp } from '../../src/couchapi/app.js';
import { mutant } from '../mutant.js';
import { PouchDB, leaves, pouch, shared } from '../pouch.js';

const access = { select: { public: true } };

/** @param {any} db @param {any} [options] */
const share = (db, options = {}) => shared(createApp(db, { access, ...options }));

/** @param {Promise<any>} promise */
const status = (promise) =>
  promise.then(
    () => 'done',
    (error) => error.status,
  );

async function world() {
  const db = pouch();
  await db.bulkDocs([
    { _id: 'hidden', secret: 1 },
    { _id: 'shown', public: true },
    { _id: 'both', public: true, _attachments: { a: { content_type: 'text/plain', data: btoa('visible') } } },
    { _id: 'withfile', _attachments: { a: { content_type: 'text/plain', data: btoa('secret file') } } },
  ]);
  return { db, there: share(db) };
}

test('hidden documents are as if they were not there, however they are asked for', async () => {
  const { db, there } = await world();
  const hidden = await db.get('hidden');
  for (const asked of [
    there.get('hidden'),
    there.get('hidden', { rev: hidden._rev }),
    there.get('hidden', { open_revs: 'all' }),
    there.getAttachment('withfile', 'a'),
    there.get('nothing'),
  ])
    assert.equal(await status(asked), 404);
  const ids = (/** @type {any} */ result) => result.rows.map((/** @type {any} */ row) => row.id ?? row.error);
  assert.deepEqual(ids(await there.allDocs()), ['both', 'shown']);
  assert.equal((await there.allDocs()).total_rows, 2);
  assert.deepEqual(ids(await there.allDocs({ keys: ['hidden', 'shown'] })), ['not_found', 'shown']);
  assert.deepEqual(ids(await there.allDocs({ startkey: 'c', endkey: 'z', descending: false })), ['shown']);
  assert.deepEqual(ids(await there.allDocs({ descending: true, limit: 1 })), ['shown']);
  assert.equal((await there.info()).doc_count, 2);
  const { results } = await there.changes({ include_docs: true });
  assert.deepEqual(results.map((/** @type {any} */ row) => row.id).sort(), ['both', 'shown']);
  assert.deepEqual(await there.revsDiff({ hidden: [hidden._rev] }), { hidden: { missing: [hidden._rev] } });
  const {
    results: [bulk],
  } = await there.bulkGet({ docs: [{ id: 'hidden', rev: hidden._rev }] });
  assert.equal(bulk.docs[0].error.error, 'not_found');
  // The twin: without the selector all of it is there.
  assert.equal((await share(db, { access: 'read-write' }).get('hidden')).secret, 1);
});

test('a descending feed gives the newest first, and no more than was asked for', async () => {
  const db = pouch();
  await db.bulkDocs(
    Array.from({ length: 250 }, (_, n) => ({ _id: `d${String(n).padStart(3, '0')}`, public: n % 2 === 0 })),
  );
  const all = await share(db).changes({ descending: true });
  assert.equal(all.results.length, 125);
  const numbers = all.results.map((/** @type {any} */ row) => parseInt(row.seq, 10));
  assert.deepEqual(
    numbers,
    [...numbers].sort((a, b) => b - a),
  );
  const { results } = await share(db).changes({ descending: true, limit: 3 });
  assert.deepEqual(results, all.results.slice(0, 3));
});

test('sequences and their gaps do not tell of hidden writes, and survive a reload', async () => {
  const { db, there } = await world();
  const first = await there.changes();
  for (let n = 0; n < 50; n++) await db.put({ _id: `h${n}` });
  assert.equal((await there.changes({ since: first.last_seq })).last_seq, first.last_seq);
  await db.put({ _id: 'new', public: true });
  const next = await there.changes({ since: first.last_seq });
  assert.deepEqual(
    next.results.map((/** @type {any} */ row) => row.id),
    ['new'],
  );
  assert.equal(parseInt(next.last_seq, 10), parseInt(first.last_seq, 10) + 1);
  // Another page's PouchDB object on the same database: what was stored is found.
  const again = share(new PouchDB(db.name, { adapter: 'memory' }));
  assert.deepEqual((await again.changes({ since: first.last_seq })).results, next.results);
});

test('whoever got a document gets its deletion, stripped, and nobody learns of another’s', async () => {
  const { db, there } = await world();
  await there.changes();
  const put = await db.put({ ...(await db.get('shown')), _deleted: true, why: 'private reason' });
  await db.remove(await db.get('hidden'));
  const { results } = await there.changes({ include_docs: true });
  assert.deepEqual(
    results.filter((/** @type {any} */ row) => row.deleted).map((/** @type {any} */ row) => row.doc),
    [{ _id: 'shown', _rev: put.rev, _deleted: true }],
  );
  assert.equal(await status(there.get('hidden')), 404);
  await assert.rejects(there.get('shown'), { reason: 'deleted' });
  // What leaves the selection is not sent, and no deletion is made up.
  await db.put({ ...(await db.get('both')), public: false, now: 'private' });
  assert.deepEqual(
    (await there.changes({ include_docs: true })).results.map((/** @type {any} */ row) => row.id),
    ['shown'],
  );
  assert.equal(await status(there.get('both')), 404);
});

test('bodies of revisions that are no leaves are not served', async () => {
  const db = pouch();
  const { rev } = await db.put({ _id: 'a', public: true, draft: 'secret' });
  await db.put({ _id: 'a', _rev: rev, public: true });
  assert.equal(await status(share(db).get('a', { rev })), 404);
  assert.equal((await share(db, { access: 'read-write' }).get('a', { rev })).draft, 'secret');
});

test('what is written must match, and extend what can be seen', async () => {
  const { db, there } = await world();
  const hidden = await db.get('hidden');
  assert.equal(await status(there.put({ _id: 'mine', public: false })), 403);
  assert.equal(await status(there.put({ _id: 'mine', public: true })), 'done');
  // One answer, whatever is guessed.
  for (const guess of [
    { _id: 'hidden', public: true },
    { ...hidden, public: true },
    { _id: 'hidden', _rev: '1-guess', public: true },
  ]) {
    await assert.rejects(there.put(guess), { status: 403, reason: /can't be written by you/ });
  }
  const [refused] = (await db.get('hidden', { open_revs: 'all' })).map((/** @type {any} */ item) => item.ok);
  assert.equal(refused._rev, hidden._rev);
  // A conflicting branch on a hidden document would win.
  const [row] = await createRows(there, {
    _id: 'hidden',
    _rev: '9-z',
    public: true,
    _revisions: { start: 9, ids: ['z'] },
  });
  assert.equal(row.error, 'forbidden');
  assert.equal((await db.get('hidden')).secret, 1);
  // Its twin.
  assert.deepEqual(
    await createRows(share(db, { access: 'read-write' }), {
      _id: 'hidden',
      _rev: '9-z',
      public: true,
      _revisions: { start: 9, ids: ['z'] },
    }),
    [],
  );
  assert.equal((await db.get('hidden')).public, true);
});

/** @param {any} there @param {any} doc */
async function createRows(there, doc) {
  const response = await there.fetch('_bulk_docs', {
    method: 'POST',
    headers: new Headers({ 'content-type': 'application/json' }),
    body: JSON.stringify({ new_edits: false, docs: [doc] }),
  });
  return response.json();
}

test('a stub does not bring the attachment of a hidden document to light', async () => {
  const { db, there } = await world();
  const { digest } = (await db.get('withfile'))._attachments.a;
  const theft = {
    _id: 'theft',
    public: true,
    _attachments: { a: { stub: true, content_type: 'text/plain', digest, revpos: 1, length: 11 } },
  };
  assert.equal(await status(there.put(theft)), 412);
  // The twin shows that PouchDB itself takes any digest that it has.
  await share(db, { access: 'read-write' }).put(theft);
  assert.equal((await db.getAttachment('theft', 'a')).toString(), 'secret file');
  // One's own stays.
  const both = await there.get('both');
  await there.put({ ...both, more: 1 });
  assert.equal((await there.getAttachment('both', 'a')).toString(), 'visible');
});

test('a stub that says that it brings its content does neither', async (t) => {
  const { db } = await world();
  const { digest } = (await db.get('withfile'))._attachments.a;
  const entry = { stub: true, data: '', content_type: 'text/plain', digest, revpos: 1, length: 11 };
  /** @param {any} app @param {string} id @param {boolean} newEdits */
  const steal = async (app, id, newEdits) => {
    const doc = { _id: id, public: true, _attachments: { a: entry }, ...(newEdits ? {} : { _rev: '1-a' }) };
    await app.handler({
      method: 'POST',
      url: '/_bulk_docs',
      headers: new Headers({ 'content-type': 'application/json' }),
      body: new Blob([JSON.stringify({ new_edits: newEdits, docs: [doc] })]).stream(),
    });
    const got = await app.handler({ method: 'GET', url: `/${id}/a`, headers: new Headers() });
    return got.text();
  };
  const open = await mutant(t, {
    'access/checking.js': [['  if (entry.data === undefined) return entry;', '  return entry;']],
  })('couchapi/app.js');
  for (const newEdits of [true, false]) {
    assert.equal(await steal(await createApp(db, { access }), `safe-${newEdits}`, newEdits), '');
    assert.equal(await steal(await open.createApp(db, { access }), `twin-${newEdits}`, newEdits), 'secret file');
  }
});

test('filters of design documents and views are refused, since they see everything', async () => {
  const { db, there } = await world();
  await db.put({
    _id: '_design/d',
    filters: { all: 'function () { return true; }' },
    views: { v: { map: 'function (doc) { emit(doc._id); }' } },
  });
  assert.equal(await status(there.changes({ filter: 'd/all' })), 403);
  assert.equal(await status(there.query('d/v')), 403);
  assert.equal((await share(db, { access: 'read-write' }).query('d/v')).rows.length, 4);
});

test('without queries no function of a design document runs, for a feed neither', async () => {
  const { db } = await world();
  await db.put({ _id: '_design/d', filters: { all: 'function () { return true; }' }, views: { v: { map: 'function () {}' } } });
  const there = share(db, { access: { read: true, queries: false } });
  assert.equal(await status(there.changes({ filter: 'd/all' })), 403);
  assert.equal(await status(there.changes({ filter: '_view', view: 'd/v' })), 403);
  assert.equal(await status(there.query('d/v')), 403);
  assert.equal((await there.changes({ doc_ids: ['shown'] })).results.length, 1);
  // The twin: with them they do.
  assert.equal((await share(db, { access: 'read-only' }).changes({ filter: 'd/all' })).results.length, 5);
});

test('queries see the visible part, and a stranger’s expression does not hang the page', async () => {
  const { db, there } = await world();
  const find = async (/** @type {any} */ query) =>
    await (
      await there.fetch('_find', {
        method: 'POST',
        headers: new Headers({ 'content-type': 'application/json' }),
        body: JSON.stringify(query),
      })
    ).json();
  await db.put({ _id: 'z', public: true, n: 2, text: 'a'.repeat(40) + '!' });
  await db.put({ _id: 'y', public: true, n: 3 });
  const ids = async (/** @type {any} */ query) => (await find(query)).docs.map((/** @type {any} */ doc) => doc._id);
  assert.deepEqual(await ids({ selector: {} }), ['both', 'shown', 'y', 'z']);
  assert.deepEqual(await ids({ selector: { secret: { $exists: true } } }), []);
  assert.deepEqual(await ids({ selector: { text: { $regex: '^(a|a)*$' } } }), []);
  assert.deepEqual(await ids({ selector: {}, sort: [{ n: 'desc' }] }), ['y', 'z']);
  assert.deepEqual((await find({ selector: { n: 2 }, fields: ['n'] })).docs, [{ n: 2 }]);
  const first = await find({ selector: {}, limit: 3 });
  assert.deepEqual(await ids({ selector: {}, limit: 3, bookmark: first.bookmark }), ['z']);
  assert.equal((await find({ selector: { a: { $regex: '(' } } })).error, 'invalid_selector');
});

test('a replica gets what is shared, live, and a visitor’s own writes come back', async () => {
  const { db, there } = await world();
  const local = pouch();
  await PouchDB.sync(local, there);
  assert.deepEqual(
    (await local.allDocs()).rows.map((/** @type {any} */ row) => row.id),
    ['both', 'shown'],
  );
  const sync = PouchDB.sync(local, there, { live: true });
  const arrived = (/** @type {any} */ where, /** @type {string} */ id) =>
    new Promise((resolve) => {
      const feed = where.changes({ live: true, since: 0 });
      feed.on('change', (/** @type {any} */ change) => change.id === id && (feed.cancel(), resolve(undefined)));
    });
  await db.put({ _id: 'later', public: true });
  await db.put({ _id: 'never' });
  await arrived(local, 'later');
  await local.put({ _id: 'mine', public: true });
  await arrived(db, 'mine');
  sync.cancel();
  await sync.catch(() => {});
  assert.equal(await status(local.get('never')), 404);
  assert.equal(Object.keys(await leaves(local)).length, 4);
});

test('the index is rewritten when most of it is superseded, and what it says stays the same', async () => {
  const db = pouch();
  const there = share(db);
  let { rev } = await db.put({ _id: 'a', public: true });
  for (let n = 0; n < 560; n++) {
    ({ rev } = await db.put({ _id: 'a', _rev: rev, public: true, n }));
    // A single change of a live feed is a row of its own.
    if (n % 2) await there.info();
  }
  await db.put({ _id: 'b', public: true });
  const before = await there.changes();
  assert.deepEqual(
    before.results.map((/** @type {any} */ row) => row.id),
    ['a', 'b'],
  );
  const again = await share(new PouchDB(db.name, { adapter: 'memory' })).changes();
  assert.deepEqual(again, before);
});

test('two tabs that share the same keep one index', async () => {
  const db = pouch();
  const one = share(db);
  const other = share(new PouchDB(db.name, { adapter: 'memory' }));
  for (let n = 0; n < 30; n++) {
    await db.put({ _id: `d${n}`, public: n % 2 === 0 });
    await Promise.all([one.info(), other.info()]);
  }
  const first = await one.changes();
  assert.deepEqual(await other.changes(), first);
  assert.equal(first.results.length, 15);
  assert.equal(new Set(first.results.map((/** @type {any} */ row) => row.seq)).size, 15);
});
