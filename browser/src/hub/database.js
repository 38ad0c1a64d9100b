/**
 * A hub's database: the few things that are asked of it, of a server or of a PouchDB in this browser.
 *
 * `get` gives null for what is not there; `remove` and `put` reject with status 409 for what has changed meanwhile. A
 * feed gives pages until its `signal` is aborted; each, empty ones too, shows that the hub is there. `list` gives the
 * documents of a range of ids, `limit` at most.
 */

import { ServerDatabase } from './server.js';

/** @typedef {{id: string, seq: any, deleted?: boolean, doc?: any, changes: {rev: string}[]}} Change */
/** @typedef {{results: Change[], last_seq: any}} Page */
/** @typedef {{since: any, selector: any, signal: AbortSignal}} FeedOptions */
/** @typedef {{first: string, last: string, limit: number, include_docs: boolean}} Range */
/** @typedef {{id: string, rev: string, doc?: any}} Row */
/** @typedef {{rev?: string, error?: import('../errors.js').PeerPouchError}} Written */
/**
 * @typedef {object} HubDatabase
 * @property {() => Promise<any>} sequence The present one.
 * @property {(id: string) => Promise<any>} get
 * @property {(id: string) => Promise<any>} look The same, for what is most likely not there.
 * @property {(document: any) => Promise<string>} put Gives the new revision.
 * @property {(id: string, rev: string) => Promise<void>} remove
 * @property {(id: string, rev: string) => void} removeAtOnce The same while the page is being left: nobody can wait.
 * @property {(documents: any[]) => Promise<Written[]>} bulk
 * @property {(range: Range) => AsyncGenerator<Row>} list
 * @property {(options: FeedOptions) => AsyncGenerator<Page>} feed
 */

/** Rows of one page of a listing: of shares at their largest, 8 MB. */
const LISTING = 500;

/**
 * @param {any} pouch The hub. One that can `fetch` is a server's, or another peer's share.
 * @param {import('../clock.js').Clock} clock @param {import('../trust/proofs.js').HubSession} session
 * @returns {Promise<HubDatabase>}
 */
export async function hubDatabase(pouch, clock, session) {
  if (typeof pouch.fetch === 'function') return new ServerDatabase(pouch, clock, session);
  const { LocalDatabase } = await import('./local.js');
  return new LocalDatabase(pouch, clock);
}

/**
 * A range of ids, page by page.
 *
 * @param {Range} range
 * @param {(options: any) => Promise<{rows: any[]}>} page PouchDB's `allDocs`, or what does the same.
 * @returns {AsyncGenerator<Row>}
 */
export async function* pages({ first, last, limit, include_docs }, page) {
  let startkey = first;
  for (let skip = 0; limit > 0; skip = 1) {
    const wanted = Math.min(LISTING, limit);
    const { rows } = await page({ startkey, endkey: last, skip, limit: wanted, include_docs });
    for (const row of rows) yield { id: row.id, rev: row.value?.rev, doc: row.doc };
    if (rows.length < wanted) return;
    startkey = rows[rows.length - 1].id;
    limit -= rows.length;
  }
}
