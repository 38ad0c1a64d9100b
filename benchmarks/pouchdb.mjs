// PouchDB with LevelDB, doing what a benchmark asks for. One task in one process:
//   echo '{"task": …, "folder": …, …}' | node pouchdb.mjs PATH-OF-A-MODULE-BESIDE-NODE_MODULES
// prints one line of JSON: operations, seconds, and the peak of the process's memory in bytes.

import { randomBytes } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PouchDB = createRequire(process.argv[2])('pouchdb');
const order = JSON.parse(readFileSync(0, 'utf8'));
const BATCH = 1000;

const open = (name) => new PouchDB(join(order.folder, name));
const db = open('bench');

async function documents() {
  const found = [];
  for await (const line of createInterface({ input: createReadStream(order.documents) })) found.push(JSON.parse(line));
  return found;
}

async function bulk(docs) {
  for (let start = 0; start < docs.length; start += BATCH) {
    const results = await db.bulkDocs(docs.slice(start, start + BATCH));
    const failed = results.find((each) => each.error);
    if (failed) throw new Error(JSON.stringify(failed));
  }
}

// The documents are there already, or are written now.
async function filled() {
  if (!order.filled) await bulk(await documents());
}

// So many loops at once, each taking the next item when it is done with one.
async function together(count, items, work) {
  const waiting = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: count }, async () => {
    for (const item of waiting) await work(item);
  }));
}

async function timed(operations, work) {
  const began = performance.now();
  const counted = await work();
  return { operations: counted ?? operations, seconds: (performance.now() - began) / 1000 };
}

const tasks = {
  async bulk() {
    const docs = await documents();
    return timed(docs.length, () => bulk(docs));
  },
  async put() {
    const docs = await documents();
    return timed(docs.length, () => together(order.together, docs, async (doc) => { await db.put(doc); }));
  },
  async get() {
    await filled();
    return timed(order.ids.length, () => together(order.together, order.ids, (id) => db.get(id)));
  },
  async list() {
    await filled();
    return timed(0, async () => (await db.allDocs({ include_docs: true })).rows.length);
  },
  async changes() {
    await filled();
    return timed(0, async () => (await db.changes({ since: 0, batch_size: BATCH })).results.length);
  },
  async changesFromEnd() {
    await filled();
    const since = (await db.info()).update_seq;
    return timed(order.times, async () => {
      for (let n = 0; n < order.times; n += 1) await db.changes({ since });
    });
  },
  async replicate() {
    await filled();
    const target = open('target');
    const result = await timed(0, async () => (await PouchDB.replicate(db, target)).docs_written);
    await target.close();
    return result;
  },
  // What is asked, and how often: a find, or rows of a stored view. The index is built before, unless that is timed.
  async ask() {
    PouchDB.plugin(createRequire(process.argv[2])('pouchdb-find'));
    await filled();
    // It builds the index too.
    const createIndex = async () => { if (order.index) await db.createIndex({ index: { fields: order.index } }); };
    if (order.design) await db.put(order.design);
    // A copy each time: PouchDB changes selectors in place.
    const ask = async () => (order.find ? (await db.find(structuredClone(order.find))).docs : (await db.query(order.view, order.options)).rows).length;
    if (order.timed === 'build') return timed(order.operations, async () => { await createIndex(); await ask(); });
    await createIndex();
    await ask();
    if (order.timed === 'update') {
      const changed = (await db.allDocs({ include_docs: true, startkey: 'record-', limit: order.operations })).rows.map(({ doc }) => ({ ...doc, value: doc.value + 1 }));
      await bulk(changed);
      return timed(order.operations, async () => { await ask(); });
    }
    return timed(order.operations * order.times, async () => { for (let n = 0; n < order.times; n += 1) await ask(); });
  },
  // Written here, synced to the server, synced from there into another database.
  async throughServer() {
    const other = open('other');
    const remote = () => new PouchDB(order.url);
    await remote().info();
    const syncs = [db, other].map((local) => PouchDB.sync(local, remote(), { live: true, retry: true }));
    const waiting = new Map();
    const feed = other.changes({ live: true, since: 0 }).on('change', ({ id }) => waiting.get(id)?.());
    const times = [];
    for (let n = 0; n < order.times; n += 1) {
      const seen = new Promise((resolve) => { waiting.set(`live-${n}`, resolve); });
      const began = performance.now();
      await db.put({ _id: `live-${n}`, text: 'x'.repeat(200) });
      await seen;
      times.push((performance.now() - began) / 1000);
    }
    const ended = syncs.map((each) => new Promise((resolve) => { each.on('complete', resolve).on('error', resolve); }));
    for (const each of [feed, ...syncs]) each.cancel();
    await Promise.all(ended);
    await other.close();
    return { operations: times.length, times };
  },
  // There is no way but through one buffer that holds all of it.
  async attach() {
    const data = randomBytes(order.size);
    return timed(order.size, async () => { await db.putAttachment('big', 'big', data, 'application/octet-stream'); });
  },
  async fetch() {
    const { rev } = await db.putAttachment('big', 'big', randomBytes(order.size), 'application/octet-stream');
    if (!rev) throw new Error('nothing was written');
    return timed(0, async () => (await db.getAttachment('big', 'big')).length);
  },
};

const result = await tasks[order.task]();
await db.close();
console.log(JSON.stringify({ ...result, peak: process.resourceUsage().maxRSS * 1024 }));
