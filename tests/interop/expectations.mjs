// What PouchDB, as the client of a server, has to find there: node expectations.mjs URL
// Each case gets a database of its own; prints one line of JSON: for each case, null or what was wrong.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("./node/package.json", import.meta.url));
const PouchDB = require("pouchdb");

const [url] = process.argv.slice(2);
const same = assert.deepEqual;
const given = { new_edits: false };
const hello = Buffer.from("hello").toString("base64");

/** A revision with its history, newest first, as a replicator writes it. */
function revision(id, hashes, fields = {}) {
  const [hash] = hashes;
  return { _id: id, _rev: `${hashes.length}-${hash}`, _revisions: { start: hashes.length, ids: hashes }, ...fields };
}

async function open(name) {
  const db = new PouchDB(url + name);
  await db.info();
  return db;
}

const cases = {
  async "what no document has fails the whole batch"(db) {
    const refused = [
      [[{ _id: "good" }, { _zing: 4 }], {}, { name: "doc_validation", status: 400, message: /_zing/ }],
      [[{ _id: "good" }, { _id: "_bad" }], {}, { status: 400, message: /Only reserved document ids/ }],
      [[{ _id: "good", _rev: "1-a" }, { _id: "bare" }], given, { name: "bad_request", status: 400 }],
      [[{ _id: "good" }, { _id: "odd", _rev: "undefined" }], {}, { name: "bad_request", status: 400 }],
      [[{ _id: "good" }, "text"], {}, { status: 400 }],
    ];
    for (const [docs, options, error] of refused) await assert.rejects(db.bulkDocs({ docs }, options), error);
    same((await db.allDocs()).rows, []);
  },

  async "what one document lacks fails it alone"(db) {
    const rows = await db.bulkDocs([{ _id: "a" }, { _id: "b", _rev: "1-abc" }, { _id: "a" }, { _id: "c" }]);
    same(
      rows.map((row) => row.name ?? "written"),
      ["written", "conflict", "conflict", "written"],
    );
  },

  async "fields of the replicator are kept"(db) {
    const { id } = await db.post({ _replication_id: "x", _replication_state: "triggered" });
    const doc = await db.get(id);
    same([doc._replication_id, doc._replication_state], ["x", "triggered"]);
  },

  async "a deletion is a stub, and the document can come back"(db) {
    await db.put({ _id: "a", text: "long" });
    const { rev } = await db.remove(await db.get("a"));
    same(await db.get("a", { rev }), { _id: "a", _rev: rev, _deleted: true });
    await db.put({ _id: "a", again: true });
    const [leaf] = await db.get("a", { open_revs: "all", revs: true });
    same(leaf.ok._revisions.ids.length, 3);
  },

  async "revisions without their history stand beside what is there"(db) {
    await db.put(revision("a", ["x"]), given);
    await db.put({ _id: "a", _rev: "2-y", _deleted: true }, given);
    same((await db.allDocs({ keys: ["a"] })).rows[0].value, { rev: "1-x" });
    await db.put({ _id: "b", _rev: "2-y", _deleted: true }, given);
    same((await db.allDocs({ keys: ["b"] })).rows[0].value, { rev: "2-y", deleted: true });
  },

  async "the order of two branches does not matter"(db) {
    const living = (id) => revision(id, ["f", "e", "d"]);
    const dead = (id) => revision(id, ["z", "y", "e", "d"], { _deleted: true });
    same(await db.bulkDocs([living("a"), dead("a")], given), []);
    same(await db.bulkDocs([dead("b"), living("b")], given), []);
    same((await db.allDocs()).total_rows, 2);
    same((await db.info()).doc_count, 2);
  },

  async "a tree is read by branch, by revision and as a whole"(db) {
    const branches = [
      [["a"], ["b", "a"], ["c", "b", "a"]],
      [["d", "a"], ["e", "d", "a"], ["f", "e", "d", "a"]],
    ];
    for (const hashes of branches.flat()) await db.put(revision("t", hashes), given);
    const doc = await db.get("t", { revs: true, conflicts: true, revs_info: true });
    same(doc._revisions, { start: 4, ids: ["f", "e", "d", "a"] });
    same(doc._conflicts, ["3-c"]);
    same(
      doc._revs_info.map((entry) => entry.rev),
      ["4-f", "3-e", "2-d", "1-a"],
    );
    same((await db.get("t", { rev: "2-b", revs: true }))._revisions, { start: 2, ids: ["b", "a"] });
    const leaves = await db.get("t", { open_revs: ["3-c", "9-none"] });
    same([leaves[0].ok._rev, leaves[1].missing], ["3-c", "9-none"]);
    for (const open_revs of [{}, "wat", [1]]) await assert.rejects(db.get("t", { open_revs }));
    await assert.rejects(db.get("t", { rev: "1-none" }), { status: 404 });
  },

  async "the winner of a feed need not be its newest"(db) {
    const steps = [
      [[["g", "e", "a"]], ["3-g"], "3-g"],
      [[["c", "b", "a"]], ["3-c", "3-g"], "3-g"],
      [[["f", "h", "d", "a"]], ["3-c", "3-g", "4-f"], "4-f"],
    ];
    let since = 0;
    for (const [hashes, leaves, winner] of steps) {
      await db.bulkDocs(hashes.map((each) => revision("a", each)), given);
      const feed = await db.changes({ style: "all_docs", include_docs: true, since });
      same(feed.results.length, 1);
      same(feed.results[0].changes.map((change) => change.rev).sort(), leaves);
      same(feed.results[0].doc, { _id: "a", _rev: winner });
      since = feed.last_seq;
    }
  },

  async "a feed obeys its limits and directions"(db) {
    for (const id of ["a", "b", "c"]) await db.put({ _id: id });
    const all = (await db.changes()).results;
    same((await db.changes({ limit: 0 })).results, [all[0]]);
    same((await db.changes({ limit: 1, descending: true })).results, [all[2]]);
    same((await db.changes({ descending: true })).results, [...all].reverse());
    same((await db.changes({ since: "now" })).results, []);
    same((await db.changes({ batch_size: 1, limit: 2 })).results.length, 2);
    same((await db.changes({ doc_ids: ["c", "none"] })).results, [all[2]]);
  },

  async "a listing takes keys, ranges and odd limits"(db) {
    await db.bulkDocs(["0", "1", "2", "3"].map((_id) => ({ _id })));
    await db.remove(await db.get("2"));
    const ids = async (options) => (await db.allDocs(options)).rows.map((row) => row.id ?? row.error);
    same(await ids({ keys: ["1", "none", "0"], descending: true }), ["0", "not_found", "1"]);
    same(await ids({ keys: ["1", "3"], skip: 1 }), ["3"]);
    same(await ids({ startkey: "3", endkey: "1", descending: true, skip: 1 }), ["1"]);
    same(await ids({ startkey: "1", endkey: "3", inclusive_end: false }), ["1"]);
    same(await ids({ startkey: "0", limit: 0 }), []);
    same((await db.allDocs({ keys: ["2"], include_docs: true })).rows[0].doc, null);
    await assert.rejects(db.allDocs({ keys: ["1"], startkey: "0" }));
    await assert.rejects(db.allDocs({ keys: 1 }));
  },

  async "many are got at once, and what is missing says so"(db) {
    const attachments = { f: { content_type: "text/plain", data: hello } };
    const { rev } = await db.put({ _id: "a", _attachments: attachments });
    const docs = [{ id: "a", rev }, { id: "a", rev: "1-fake" }, { id: "none" }];
    const { results } = await db.bulkGet({ docs, revs: true, attachments: true });
    same(results[0].docs[0].ok._attachments.f.data, hello);
    same(results[0].docs[0].ok._revisions.start, 1);
    same(results[1].docs[0].error.rev, "1-fake");
    same([results[2].docs[0].error.id, results[2].docs[0].error.error], ["none", "not_found"]);
  },

  async "a stub of what is not there is refused"(db) {
    const stub = { f: { stub: true, digest: "md5-none==", content_type: "text/plain" } };
    await assert.rejects(db.put({ _id: "a", _attachments: stub }), { status: 412 });
    const hidden = { _f: { content_type: "text/plain", data: hello } };
    await assert.rejects(db.put({ _id: "a", _attachments: hidden }), { status: 400, name: "bad_request" });
  },
};

const found = {};
for (const [n, [name, check]] of Object.entries(cases).entries()) {
  try {
    await check(await open(`case${n}`));
    found[name] = null;
  } catch (error) {
    found[name] = String(error.stack ?? JSON.stringify(error));
  }
}
console.log(JSON.stringify(found));
