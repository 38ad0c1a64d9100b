/** PouchDBs in memory, for tests. */

import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';

PouchDB.plugin(memory);

let number = 0;

/** @returns {any} A new PouchDB. */
export const pouch = () => new PouchDB(`test-${process.pid}-${number++}`, { adapter: 'memory' });

export { PouchDB };

/**
 * A remote PouchDB whose fetch is a handler of createApp: PouchDB's own http adapter is the client.
 *
 * @param {(request: Request) => Promise<Response>} handler
 */
export function remote(handler) {
  return new PouchDB(`http://peer-${number++}.invalid/db`, {
    fetch: async (/** @type {string} */ url, /** @type {any} */ { method = 'GET', headers, body, signal }) => {
      const inner = new Request(url, { method, headers: Object.fromEntries(headers), body, signal });
      const { pathname, search } = new URL(url);
      const raw = {
        method,
        url: pathname.replace(/^\/db\/?/, '/') + search,
        headers: inner.headers,
        body: inner.body,
        signal: inner.signal,
      };
      const response = await handler(raw);
      // Node's PouchDB asks for Buffers, as node-fetch gives them.
      return Object.assign(response, { buffer: async () => Buffer.from(await response.arrayBuffer()) });
    },
  });
}

/** The same for an app in the making. @param {ReturnType<typeof import('../src/couchapi/app.js').createApp>} app */
export const shared = (app) => remote(async (request) => (await app).handler(request));

/**
 * Every leaf of a database, with the content of its attachments: equal for databases that have converged.
 *
 * @param {any} db
 */
export async function leaves(db) {
  /** @type {any} */
  const found = {};
  const { results } = await db.changes({ style: 'all_docs' });
  for (const { id, changes } of results) {
    for (const { rev } of changes) found[`${id} ${rev}`] = await db.get(id, { rev, attachments: true, revs: true });
  }
  return found;
}
