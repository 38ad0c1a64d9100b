// A real PouchDB (on LevelDB), called by lines of JSON: {"call": n, "method": …, "arguments": […]} on stdin, answers on
// stdout. It ends with its stdin.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(new URL("./node/package.json", import.meta.url));
const PouchDB = require("pouchdb");

const [folder] = process.argv.slice(2);
const local = () => new PouchDB(join(folder, "local"));
const open = (url) => (url === "local" ? local() : new PouchDB(url));
const running = new Map();
const text = (data) => Buffer.from(data).toString("base64");

/** What a replication said, without the documents themselves. */
function told(info) {
  const of = (one) => ({
    ok: one.ok,
    status: one.status,
    read: one.docs_read,
    written: one.docs_written,
    failures: one.doc_write_failures,
  });
  return info.push ? { push: of(info.push), pull: of(info.pull) } : of(info);
}

const methods = {
  /** The database API of PouchDB, against a server. */
  async api(url) {
    const db = new PouchDB(url);
    const first = await db.put({ _id: "a", n: 1 });
    await assert.rejects(db.put({ _id: "a", n: 2 }), { status: 409, name: "conflict" });
    const second = await db.put({ _id: "a", _rev: first.rev, n: 2 });
    assert.equal((await db.get("a")).n, 2);
    assert.equal((await db.get("a", { rev: first.rev })).n, 1);
    assert.deepEqual((await db.get("a", { revs: true }))._revisions.start, 2);
    assert.equal((await db.get("a", { revs_info: true }))._revs_info.length, 2);
    assert.equal((await db.get("a", { open_revs: "all" }))[0].ok._rev, second.rev);
    await assert.rejects(db.get("none"), { status: 404, reason: "missing" });
    const posted = await db.post({ n: 3 });
    await db.remove(posted.id, posted.rev);
    await assert.rejects(db.get(posted.id), { status: 404, reason: "deleted" });
    for (const id of ["with space", "ümläut", "a/b", "a+b", "100%", "?x=1", "#", "_local/here", "中文", "'\"\\"]) {
      await db.put({ _id: id, id });
      assert.equal((await db.get(id)).id, id);
      const doc = await db.get(id);
      await db.remove(doc);
    }
    const many = await db.bulkDocs([{ _id: "b", n: 4 }, { _id: "a", n: 5 }, { n: 6 }]);
    assert.deepEqual(
      many.map((row) => row.ok === true),
      [true, false, true],
    );
    assert.equal(many[1].name, "conflict");
    const all = await db.allDocs({ include_docs: true });
    assert.equal(all.total_rows, 3);
    // The third has a random id, which may come before or after the others.
    assert.equal(all.rows.find((row) => row.id === "a").doc.n, 2);
    assert.deepEqual((await db.allDocs({ keys: ["a", "b"] })).rows.map((row) => row.id), ["a", "b"]);
    const range = (await db.allDocs({ startkey: "a", endkey: "b" })).rows.map((row) => row.id);
    assert.deepEqual([range[0], range.at(-1)], ["a", "b"]);
    assert.deepEqual((await db.allDocs({ keys: ["b", "none"] })).rows[1], { key: "none", error: "not_found" });
    assert.equal((await db.allDocs({ descending: true, limit: 1 })).rows.length, 1);
    const got = await db.bulkGet({ docs: [{ id: "a" }, { id: "none" }, { id: "a", rev: first.rev }] });
    assert.equal(got.results[0].docs[0].ok.n, 2);
    assert.ok(got.results[1].docs[0].error);
    assert.equal(got.results[2].docs[0].ok.n, 1);
    assert.deepEqual(Object.keys(await db.revsDiff({ a: [second.rev], b: ["9-x"] })), ["b"]);
    await this.attachments(db);
    await this.feeds(db);
    await this.views(db);
    await db.compact();
    const info = await db.info();
    assert.equal(info.host.startsWith("http"), true);
    assert.equal(typeof info.doc_count, "number");
    await db.destroy();
    const again = new PouchDB(url, { skip_setup: true });
    await assert.rejects(again.get("a"), { status: 404 });
    return "done";
  },

  async attachments(db) {
    const put = await db.putAttachment("c", "note ü.txt", text("hello"), "text/plain");
    assert.equal((await db.getAttachment("c", "note ü.txt")).toString(), "hello");
    const doc = await db.get("c");
    assert.equal(doc._attachments["note ü.txt"].length, 5);
    assert.equal(doc._attachments["note ü.txt"].stub, true);
    assert.equal((await db.get("c", { attachments: true }))._attachments["note ü.txt"].data, text("hello"));
    const binary = Buffer.from(Array.from({ length: 70_000 }, (_, n) => (n * 31) % 256));
    const next = await db.putAttachment("c", "binary", put.rev, binary, "application/octet-stream");
    assert.ok(binary.equals(await db.getAttachment("c", "binary")));
    const removed = await db.removeAttachment("c", "note ü.txt", next.rev);
    await assert.rejects(db.getAttachment("c", "note ü.txt"), { status: 404 });
    await db.put({ ...(await db.get("c")), n: 1 });
    assert.ok(binary.equals(await db.getAttachment("c", "binary")));
    assert.ok(removed.ok);
  },

  async feeds(db) {
    const once = await db.changes({ include_docs: true, limit: 2 });
    assert.equal(once.results.length, 2);
    const rest = await db.changes({ since: once.last_seq });
    assert.ok(rest.results.every((row) => !once.results.some((other) => other.id === row.id)));
    const one = await db.changes({ doc_ids: ["b"] });
    assert.deepEqual(one.results.map((row) => row.id), ["b"]);
    const selected = await db.changes({ selector: { n: 4 } });
    assert.deepEqual(selected.results.map((row) => row.id), ["b"]);
    const live = db.changes({ since: "now", live: true, include_docs: true });
    const seen = new Promise((resolve) => live.on("change", (row) => row.id === "live" && resolve(row)));
    const ended = new Promise((resolve) => live.on("complete", resolve));
    const writing = setInterval(() => db.post({}), 50); // "now" is when the request arrives
    await db.put({ _id: "live", n: 7 }).then(() => {});
    const again = setInterval(async () => db.put(await db.get("live")).catch(() => {}), 50); // two may meet
    assert.equal((await seen).doc.n, 7);
    clearInterval(writing);
    clearInterval(again);
    live.cancel();
    await ended;
  },

  async views(db) {
    const map = "function (doc) { if (typeof doc.n === 'number') { emit(doc.n, 1); } }";
    await db.put({ _id: "_design/d", views: { v: { map, reduce: "_sum" } } });
    const rows = (await db.query("d/v", { reduce: false, startkey: 2, endkey: 4 })).rows;
    assert.deepEqual(rows.map((row) => [row.id, row.key]), [["a", 2], ["b", 4]]);
    assert.equal((await db.query("d/v", { startkey: 2, endkey: 4 })).rows[0].value, 2);
    await db.viewCleanup();
  },

  async put(url, docs) {
    return (await open(url).bulkDocs(docs)).filter((row) => !row.ok);
  },

  async fill(url, count, prefix) {
    const db = open(url);
    for (let start = 0; start < count; start += 1000) {
      const docs = [];
      for (let n = start; n < Math.min(count, start + 1000); n++) {
        docs.push({ _id: `${prefix}${String(n).padStart(6, "0")}`, n, text: "x".repeat(100) });
      }
      assert.ok((await db.bulkDocs(docs)).every((row) => row.ok));
    }
    return count;
  },

  async attach(url, id, name, size) {
    const data = Buffer.from(Array.from({ length: size }, (_, n) => (n * 7) % 256));
    const db = open(url);
    const rev = await db.get(id).then(
      (doc) => doc._rev,
      () => undefined,
    );
    await db.putAttachment(id, name, ...(rev ? [rev] : []), data, "application/octet-stream");
    return data.toString("base64").length;
  },

  async remove(url, id) {
    const db = open(url);
    return (await db.remove(await db.get(id))).ok;
  },

  /** All documents with their conflicts, revisions and attachments' digests: what replicas have in common. */
  async state(url) {
    const db = open(url);
    const all = {};
    for (const { id } of (await db.changes({ style: "all_docs" })).results) {
      const leaves = await db.get(id, { open_revs: "all" });
      all[id] = leaves
        .map(({ ok }) => [ok._rev, ok._deleted === true, Object.keys(ok._attachments ?? {}).sort()])
        .sort();
    }
    return all;
  },

  async replicate(source, target, options) {
    const denied = [];
    const run = PouchDB.replicate(open(source), open(target), options ?? {});
    run.on("denied", (error) => denied.push(error.id ?? error.doc?.id));
    return { ...told(await run), denied };
  },

  async live(name, url) {
    const run = PouchDB.sync(local(), new PouchDB(url), { live: true, retry: true });
    running.set(name, run);
    run.on("error", () => {});
    return true;
  },

  async stop(name) {
    const run = running.get(name);
    const ended = new Promise((resolve) => run.on("complete", resolve));
    run.cancel();
    return told(await ended);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, method, arguments: given } = JSON.parse(line);
  methods[method](...given).then(
    (result) => console.log(JSON.stringify({ call, result: result ?? null })),
    (error) => console.log(JSON.stringify({ call, error: error.stack ?? JSON.stringify(error) })),
  );
}
process.exit(0);
