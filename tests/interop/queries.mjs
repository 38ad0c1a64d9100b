// The same questions to a PouchDB on LevelDB and, through PouchDB's own http adapter, to a server:
//   node queries.mjs FOLDER URL
// prints one line of JSON: for each question what either answered.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(new URL("./node/package.json", import.meta.url));
const PouchDB = require("pouchdb");
PouchDB.plugin(require("pouchdb-find"));

const [folder, url] = process.argv.slice(2);
const KINDS = ["heron", "crane", "owl", "Ähre", "zebra finch"];
const docs = Array.from({ length: 60 }, (_, n) => ({
  _id: `d${String(n).padStart(3, "0")}`,
  _rev: "1-a",
  kind: KINDS[n % 5],
  n: n % 7,
  at: { place: n % 3 ? "Elbe" : "Müritz", depth: n / 4 },
  tags: n % 4 ? ["wet", `t${n % 2}`] : [],
  ...(n % 6 ? {} : { note: n % 12 ? null : "seen" }),
  ...(n % 10 ? {} : { link: `d${String((n + 1) % 60).padStart(3, "0")}` }),
}));
const design = {
  _id: "_design/views",
  _rev: "1-a",
  views: {
    kinds: { map: "function (doc) { if (doc.kind) emit([doc.kind, doc.n], doc.n); }", reduce: "_sum" },
    count: { map: "function (doc) { (doc.tags || []).forEach(function (tag) { emit(tag); }); }", reduce: "_count" },
    stats: { map: "function (doc) { emit(doc.at.place, doc.n); }", reduce: "_stats" },
    own: {
      map: "function (doc) { emit(doc.kind, doc.n); }",
      reduce: "function (keys, values, rereduce) { return Math.max.apply(null, values); }",
    },
    links: { map: "function (doc) { if (doc.link) emit(doc.n, { _id: doc.link }); }" },
    mixed: { map: "function (doc) { emit(doc.note === undefined ? doc.at : doc.note, null); }" },
  },
};

const ids = (result) => result.docs.map((doc) => doc._id);
// A copy each time: PouchDB changes selectors in place.
const find = (query) => async (db) => ids(await db.find(structuredClone(query)));
const query = (view, options = {}) => async (db) => (await db.query(`views/${view}`, options)).rows;
const N = (n) => `d${String(n).padStart(3, "0")}`;

const questions = {
  created: async (db) => (await db.createIndex({ index: { fields: ["kind", "n"], name: "kn", ddoc: "kn" } })).result,
  again: async (db) => (await db.createIndex({ index: { fields: ["kind", "n"], name: "kn", ddoc: "kn" } })).result,
  deep: async (db) => (await db.createIndex({ index: { fields: ["at.depth"], name: "depth", ddoc: "depth" } })).result,
  equal: find({ selector: { kind: "heron", n: 3 } }),
  range: find({ selector: { kind: "heron", n: { $gte: 2, $lt: 5 } } }),
  sorted: find({ selector: { kind: "crane", n: { $gt: null } }, sort: ["kind", "n"], limit: 7, skip: 2 }),
  descending: find({ selector: { "at.depth": { $gt: 4 } }, sort: [{ "at.depth": "desc" }], limit: 9 }),
  fields: async (db) => (await db.find({ selector: { kind: "owl", n: 1 }, fields: ["_id", "at.place"] })).docs,
  in: find({ selector: { kind: { $in: ["owl", "crane"] }, n: { $gte: 0 } }, limit: 11 }),
  or: find({ selector: { $or: [{ n: 1 }, { kind: "owl" }] } }),
  nor: find({ selector: { _id: { $gt: "d010" }, $nor: [{ n: 1 }, { kind: "owl" }] } }),
  not: find({ selector: { _id: { $gt: "d010" }, $not: { n: { $gt: 2 } } } }),
  elements: find({ selector: { tags: { $elemMatch: { $eq: "t1" } } } }),
  every: find({ selector: { tags: { $all: ["wet", "t0"] } } }),
  size: find({ selector: { tags: { $size: 0 } } }),
  mod: find({ selector: { n: { $mod: [3, 1] } } }),
  regex: async (db) => ids(await db.find({ selector: { kind: { $regex: "^[cz].*n" } } })).sort(),
  type: find({ selector: { note: { $type: "null" } } }),
  exists: find({ selector: { note: { $exists: true } } }),
  lacks: find({ selector: { _id: { $lt: "d020" }, note: { $exists: false } } }),
  ids: find({ selector: { _id: { $gt: N(50) } }, sort: [{ _id: "desc" }] }),
  // From here on, since PouchDB uses a partial index also for questions that it does not answer.
  partial: async (db) =>
    (
      await db.createIndex({
        index: { fields: ["n"], name: "wet", ddoc: "wet", partial_filter_selector: { "at.place": { $eq: "Elbe" } } },
      })
    ).result,
  indexes: async (db) =>
    (await db.getIndexes()).indexes.map(({ ddoc, name, type, def }) => ({ ddoc, name, type, def })).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    ),
  named: find({ selector: { n: { $gt: 3 }, "at.place": "Elbe" }, use_index: ["wet", "wet"] }),
  explained: async (db) => {
    const { index } = await db.explain({ selector: { kind: "heron", n: { $gt: 1 } } });
    return { ddoc: index.ddoc, name: index.name };
  },
  unsorted: async (db) => {
    try {
      await db.find({ selector: { n: { $gt: 1 } }, sort: ["missing"] });
    } catch (error) {
      return error.name !== undefined;
    }
  },
  deleted: async (db) => {
    const index = (await db.getIndexes()).indexes.find((each) => each.name === "wet");
    await db.deleteIndex(index);
    return (await db.getIndexes()).indexes.map((each) => each.name).sort();
  },
  rows: query("kinds", { reduce: false }),
  reduced: query("kinds"),
  grouped: query("kinds", { group: true }),
  level: query("kinds", { group_level: 1 }),
  counted: query("count", { group: true, descending: true }),
  stats: query("stats", { group: true }),
  own: query("own", { group: true }),
  key: query("kinds", { reduce: false, key: ["owl", 2] }),
  keys: query("kinds", { reduce: false, keys: [["owl", 2], ["none", 1], ["heron", 0]] }),
  groupedKeys: query("count", { group: true, keys: ["wet", "t1", "wet"] }),
  between: query("kinds", { reduce: false, startkey: ["heron"], endkey: ["owl", 3], inclusive_end: false }),
  prefix: query("kinds", { group: true, startkey: ["owl"], endkey: ["owl", {}] }),
  backwards: query("kinds", { reduce: false, descending: true, startkey: ["owl", {}], endkey: ["heron"], limit: 5, skip: 3 }),
  mixed: query("mixed", {}),
  docs: query("kinds", { reduce: false, include_docs: true, limit: 3 }),
  linked: query("links", { include_docs: true }),
};

async function ask(db) {
  await db.bulkDocs([...docs, design], { new_edits: false });
  const answers = {};
  for (const [name, question] of Object.entries(questions)) {
    try {
      answers[name] = await question(db);
    } catch (error) {
      answers[name] = { failed: error.reason ?? error.message ?? String(error) };
    }
  }
  await db.close();
  return answers;
}

const [here, there] = [await ask(new PouchDB(join(folder, "local"))), await ask(new PouchDB(url))];
console.log(JSON.stringify(Object.fromEntries(Object.keys(questions).map((name) => [name, [here[name], there[name]]]))));
