import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';

import { addAdapter } from '../src/adapter.js';
import { createApp } from '../src/couchapi/app.js';
import { PeerPouchError } from '../src/errors.js';
import { formatName } from '../src/hub/names.js';
import { Pool } from '../src/peers/pool.js';
import { WebRTC } from '../src/transport/webrtc.js';
import { until } from './fake-clock.js';
import { FakePeerConnection } from './fake-rtc.js';

PouchDB.plugin(memory);

const SHARE = 'a'.repeat(26);
const DBNAME = formatName(SHARE, 'http://hub.example/hub');
const addresses = [1, 2].map((key) => ({ key: new Uint8Array(32).fill(key), session: `session-${key}` }));

let count = 0;
const local = () => new PouchDB(`local-${(count += 1)}`, { adapter: 'memory' });
let owner;
let opener;
let shared;
let access = 'read-write';
const told = [];

before(() => {
  shared = local();
  const transport = new WebRTC({ RTCPeerConnection: FakePeerConnection });
  const hub = {
    find: async (id) => {
      if (id !== SHARE) throw new PeerPouchError('share_not_found', 'There is no such share.');
      return addresses[0];
    },
    signal: async (share, body) => (await owner.reception()).decide({ peer: addresses[1], share, body }),
  };
  owner = new Pool({
    address: addresses[0],
    hub,
    transport,
    welcome: async ({ peer, info }) => {
      told.push(info);
      return { info: 'welcome', ...(await createApp(shared, { access, peer })) };
    },
  });
  opener = new Pool({ address: addresses[1], hub, transport, welcome: async () => assert.fail() });
  addAdapter(PouchDB, async (dbname, { info }) => opener.open(dbname.slice(9, 35), { info }));
});
after(async () => {
  await Promise.all([owner.close(), opener.close()]);
  for (const pc of FakePeerConnection.open) pc.close();
});

const remote = (options) => new PouchDB(DBNAME, options);

test('documents are written, read, listed, found and deleted', async () => {
  const db = remote({ info: { who: 'me' } });
  assert.equal(db.adapter, 'webrtc');
  const { rev } = await db.put({ _id: 'a/b', n: 1 });
  assert.equal((await shared.get('a/b')).n, 1);
  assert.deepEqual(told.at(-1), { who: 'me' });
  assert.equal(db.remoteInfo, 'welcome');
  assert.equal((await db.get('a/b', { revs: true }))._revisions.ids.length, 1);
  await db.bulkDocs([{ _id: 'c' }, { _id: 'd' }]);
  assert.deepEqual((await db.allDocs()).rows.map(({ id }) => id), ['a/b', 'c', 'd']);
  assert.equal((await db.bulkGet({ docs: [{ id: 'a/b', rev }] })).results[0].docs[0].ok.n, 1);
  await assert.rejects(db.put({ _id: 'a/b', n: 2 }), { status: 409 });
  await assert.rejects(db.get('nobody'), { status: 404, name: 'not_found' });
  await db.remove('a/b', rev);
  assert.equal((await db.info()).doc_count, 2);
  assert.equal((await db.stats()).path, 'reflexive');
  await db.close();
});

test('attachments come back as they went, and can be had as a stream', async () => {
  const db = remote();
  const bytes = Buffer.alloc(500_000, 'xyz');
  const { rev } = await db.putAttachment('with', 'f.bin', bytes, 'application/x-test');
  const back = await db.getAttachment('with', 'f.bin');
  assert.deepEqual(Buffer.from(back.arrayBuffer ? await back.arrayBuffer() : back), bytes);
  const coming = await db.download('with', 'f.bin', { rev });
  assert.equal(coming.size, bytes.length);
  assert.deepEqual(Buffer.from(await (await coming.blob()).arrayBuffer()), bytes);
  await assert.rejects(db.getAttachment('with', 'other'));
  await db.close();
});

test('a document that nests too deep does not get into a local database', async () => {
  const nested = (levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
  const before = shared;
  shared = local();
  await shared.put({ _id: 'deep', nested: nested(499) });
  const db = remote();
  const target = local();
  await PouchDB.replicate(db, target);
  assert.deepEqual((await target.get('deep')).nested, nested(499)); // the twin: as deep as may be
  await shared.put({ _id: 'deeper', nested: nested(520) });
  await assert.rejects(PouchDB.replicate(db, target));
  await assert.rejects(db.get('deeper'), { error: 'protocol_error' });
  assert.deepEqual((await target.allDocs()).rows.map(({ id }) => id), ['deep']);
  await db.close();
  shared = before;
});

test('a live feed tells of changes, and ends when it is cancelled', async () => {
  const db = remote();
  const seen = [];
  const feed = db.changes({ live: true, since: 'now' }).on('change', ({ id }) => seen.push(id));
  await until(() => [...owner.connections.values()].some(({ link }) => link?.connection.streams.size));
  await shared.put({ _id: 'news' });
  await until(() => seen.includes('news'));
  feed.cancel();
  await until(() => [...owner.connections.values()].every(({ link }) => link.connection.streams.size === 0));
  await db.close();
});

test('replication runs both ways, live, and goes on from its checkpoint in another opening', async () => {
  const mine = local();
  await mine.bulkDocs(Array.from({ length: 300 }, (_, n) => ({ _id: `mine-${n}`, n })));
  const db = remote();
  const done = await PouchDB.sync(mine, db);
  assert.equal(done.push.docs_written, 300);
  assert.ok(done.pull.docs_written > 0);
  const sync = PouchDB.sync(mine, db, { live: true, retry: true });
  await mine.put({ _id: 'late-mine' });
  await shared.put({ _id: 'late-shared' });
  await until(async () => (await shared.get('late-mine').catch(() => null)) && (await mine.get('late-shared').catch(() => null)));
  sync.cancel();
  await until(async () => (await PouchDB.replicate(mine, db)).docs_read === 0);
  await db.close();
  const again = remote();
  assert.equal(await again.id(), await db.id());
  const other = await PouchDB.replicate(mine, again);
  assert.equal(other.docs_read, 0);
  await again.close();
});

test('a refusal is the error of every call, and a later call may succeed', async () => {
  const decide = owner.welcome;
  owner.welcome = async () => {
    throw new PeerPouchError('forbidden', 'Not today.');
  };
  opener.connections.forEach(({ link }) => link?.end(null));
  const db = remote();
  await assert.rejects(db.info(), { name: 'forbidden', reason: 'Not today.', status: 403 });
  await assert.rejects(db.allDocs(), { name: 'forbidden' });
  owner.welcome = decide;
  assert.ok((await db.allDocs()).rows.length > 0);
  await db.close();
  await assert.rejects(db.allDocs());
});

test('a read-only share is read, and refuses what is written', async () => {
  access = 'read-only';
  opener.connections.forEach(({ link }) => link?.end(null));
  const db = remote();
  assert.ok((await db.allDocs()).rows.length > 0);
  await assert.rejects(db.put({ _id: 'mine' }), { status: 403 });
  const mine = local();
  assert.ok((await PouchDB.replicate(db, mine)).docs_written > 0);
  assert.ok((await PouchDB.replicate(db, mine)).docs_written === 0);
  await db.close();
  access = 'read-write';
});

test('what is beside the share, and a name that is none, are refused', async () => {
  const db = remote();
  await assert.rejects(db.fetch('/_all_dbs'), { name: 'not_found' });
  assert.throws(() => new PouchDB('webrtc://nonsense'), { name: 'bad_request' });
  await db.close();
});
