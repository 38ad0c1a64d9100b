// Sorts the keys in a file by a view of a real PouchDB (on LevelDB), and prints their numbers in that order.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(new URL("./node/package.json", import.meta.url));
const PouchDB = require("pouchdb");

const [file, folder] = process.argv.slice(2);
const keys = JSON.parse(readFileSync(file, "utf8"));
const db = new PouchDB(join(folder, "keys"));
await db.bulkDocs(keys.map((key, n) => ({ _id: String(n).padStart(6, "0"), key })));
const result = await db.query((doc, emit) => emit(doc.key));
await db.close();
console.log(JSON.stringify(result.rows.map((row) => Number(row.id))));
