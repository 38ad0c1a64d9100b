/**
 * A local PouchDB as the gate and the API see it: pages instead of whole answers, attachments as Blobs, errors that are
 * ours, and a batch in which each document is judged by itself.
 */

import { PeerPouchError } from '../errors.js';
import { malformed, storable } from './checking.js';
import { watch } from './watching.js';

/** @typedef {Record<string, any>} Doc */
/** @typedef {{ id: string, rev?: string, atts_since?: string[] }} RevisionRequest */
/** @typedef {{ id: string, rev?: string, doc?: Doc, error?: PeerPouchError, atts_since?: string[] }} RevisionResult */
/**
 * @typedef {{ ok: true, id: string, rev: string } | { id: string, rev?: string, error: PeerPouchError }} WriteResult
 */
/** @typedef {{ id: string, key: string, value: any, doc?: any } | { key: string, error: string }} Row */
/** @typedef {{ total: number, offset: number | null, update_seq?: any, pages: AsyncGenerator<any[]> }} Listing */
/** @typedef {{ results: any[], last_seq: any, pending: number }} Page */
/** @typedef {{ blob: Blob, content_type: string, digest: string, length: number }} Attachment */

/** Documents of a page: they are held in memory together, and other work of the tab gets its turn after each. */
export const PAGE = 100;

/** Documents that are read at the same time, and held together until they were sent. */
const AT_ONCE = 32;

/** Rows of a page that have no documents. */
const ROWS = 1000;

/** @param {string} error @param {string} [reason] */
const failure = (error, reason = error) => new PeerPouchError(error, reason);

/**
 * An error of PouchDB's as one of ours.
 *
 * @param {any} error
 * @returns {PeerPouchError}
 */
export function asError(error) {
  if (error instanceof PeerPouchError) return error;
  if (Number.isInteger(error?.status) && typeof error.name === 'string' && error.status >= 400) {
    return new PeerPouchError(error.name, String(error.reason ?? error.message), {
      // What PouchDB calls a bad argument is base64 that is none: the fault of who sent it, and of one document.
      status: error.name === 'badarg' ? 400 : error.status,
      cause: error,
    });
  }
  if (error?.name === 'QuotaExceededError') {
    return new PeerPouchError('insufficient_storage', 'The browser gives this page no more storage.', { cause: error });
  }
  console.error('peerpouch: a request failed unexpectedly', error);
  return new PeerPouchError('internal_server_error', 'Internal error', { cause: error });
}

/** A revision's path, newest first. @param {Doc} doc @returns {string[]} */
export function ancestry(doc) {
  const history = doc._revisions;
  return history
    ? history.ids.map((/** @type {string} */ hash, /** @type {number} */ n) => `${history.start - n}-${hash}`)
    : [doc._rev];
}

/** @param {string} rev */
export const generation = (rev) => parseInt(rev, 10);

/**
 * The attachments of a revision which its reader lacks, who has the revisions `atts_since`.
 *
 * @param {Doc} doc With `_revisions`, if `since` is to make a difference.
 * @param {string[] | undefined} since
 */
export function following(doc, since) {
  const entries = Object.entries(doc._attachments ?? {});
  if (!since?.length || !doc._revisions) return entries.map(([name]) => name);
  const path = new Set(ancestry(doc));
  const newest = Math.max(0, ...since.filter((rev) => path.has(rev)).map(generation));
  return entries.filter(([, entry]) => (entry.revpos ?? newest + 1) > newest).map(([name]) => name);
}

/**
 * What `work` gives for each item, in order; some at a time, since one after the other most of the time is spent
 * waiting.
 *
 * @template T, R
 * @param {T[]} items @param {(item: T) => Promise<R>} work @returns {AsyncGenerator<R>}
 */
export async function* inParts(items, work) {
  for (let at = 0; at < items.length; at += AT_ONCE) yield* await Promise.all(items.slice(at, at + AT_ONCE).map(work));
}

/** @param {Blob} blob */
async function base64(blob) {
  let text = '';
  const data = new Uint8Array(await blob.arrayBuffer());
  // In parts, since a call takes only so many arguments.
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return btoa(text);
}

/** The database itself; nothing is limited here. */
export class LocalDocuments {
  /** @param {any} db A PouchDB. */
  constructor(db) {
    this.db = db;
  }

  /** What PouchDB answers, or one of our errors. @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  async ask(work) {
    try {
      return await work();
    } catch (error) {
      throw asError(error);
    }
  }

  async info() {
    const [info, uuid] = await this.ask(() => Promise.all([this.db.info(), this.db.id()]));
    // PouchDB makes a new id with each new database, so it is both.
    return { doc_count: info.doc_count, update_seq: info.update_seq, uuid, incarnation: uuid };
  }

  // -- reading

  /**
   * @param {string} id
   * @param {{ rev?: string, revs?: boolean, revs_info?: boolean, conflicts?: boolean, deleted_conflicts?: boolean,
   *   latest?: boolean, local_seq?: boolean }} [options]
   * @returns {Promise<Doc>} Attachments as stubs.
   */
  async get(id, options = {}) {
    return this.ask(async () => {
      const doc = await this.db.get(id, { ...options, deleted_conflicts: undefined });
      if (options.deleted_conflicts) {
        const gone = (await this.leaves(id)).filter((leaf) => leaf._deleted && leaf._rev !== doc._rev);
        if (gone.length) doc._deleted_conflicts = gone.map((leaf) => leaf._rev);
      }
      return doc;
    });
  }

  /**
   * All leaves, the winner first, with their histories; none where there is no document.
   *
   * @param {string} id
   * @returns {Promise<Doc[]>}
   */
  async leaves(id) {
    try {
      const found = await this.db.get(id, { open_revs: 'all', revs: true });
      return found.flatMap((/** @type {any} */ item) => (item.ok ? [item.ok] : [])).sort(byWinning);
    } catch (error) {
      if (/** @type {any} */ (error)?.status === 404) return [];
      throw asError(error);
    }
  }

  /**
   * @param {string} id @param {string[] | 'all'} revs @param {{ latest?: boolean }} [options]
   * @returns {Promise<RevisionResult[]>} With histories.
   */
  async openRevs(id, revs, { latest = false } = {}) {
    if (revs === 'all') return (await this.leaves(id)).map((doc) => ({ id, rev: doc._rev, doc }));
    if (revs.length === 0) return [];
    const found = await this.ask(() => this.db.get(id, { open_revs: revs, revs: true, latest }));
    return found.map((/** @type {any} */ item) =>
      item.ok
        ? { id, rev: item.ok._rev, doc: item.ok }
        : { id, rev: item.missing, error: failure('not_found', 'missing') },
    );
  }

  /**
   * @param {RevisionRequest[]} requests
   * @param {{ latest?: boolean }} options
   * @returns {AsyncGenerator<RevisionResult[]>} One list for each request.
   */
  async *bulkGet(requests, { latest = false }) {
    yield* inParts(requests, async ({ id, rev, atts_since }) => {
      const found = await this.openRevs(id, rev === undefined ? 'all' : [rev], { latest }).catch((error) => [
        { id, rev, error: asError(error) },
      ]);
      return found.length
        ? found.map((result) => ({ ...result, atts_since }))
        : [{ id, rev, error: failure('not_found', 'missing') }];
    });
  }

  /** @param {Record<string, string[]>} revs */
  async revsDiff(revs) {
    const diff = await this.ask(() => this.db.revsDiff(revs));
    const { rows } = await this.ask(() => this.db.allDocs({ keys: Object.keys(diff) }));
    // PouchDB does not say what is here already, without which a replicator sends attachments that are known.
    for (const { id } of rows.filter((/** @type {any} */ row) => !row.error)) {
      const newest = Math.max(...diff[id].missing.map(generation));
      const ancestors = (await this.leaves(id)).map((leaf) => leaf._rev).filter((rev) => generation(rev) < newest);
      if (ancestors.length) diff[id].possible_ancestors = ancestors;
    }
    return diff;
  }

  /** @param {string} id @param {string} name @param {string} [rev] @returns {Promise<Attachment>} */
  async attachment(id, name, rev) {
    const doc = await this.get(id, { rev });
    const stub = Object.hasOwn(doc._attachments ?? {}, name) ? doc._attachments[name] : undefined;
    if (!stub) throw failure('not_found', 'Document is missing attachment');
    return this.content(doc, name);
  }

  /**
   * The content of one attachment of a revision that was read.
   *
   * @param {Doc} doc
   * @param {string} name
   * @returns {Promise<Attachment>}
   */
  async content(doc, name) {
    const data = await this.ask(() => this.db.getAttachment(doc._id, name, { rev: doc._rev }));
    // Node's PouchDB gives a Buffer, a browser's a Blob.
    const blob = data instanceof Blob ? data : new Blob([data]);
    const { content_type, digest } = doc._attachments[name];
    return { blob, content_type, digest, length: blob.size };
  }

  /**
   * A copy of a document with those attachments inline that its reader lacks.
   *
   * @param {Doc} doc
   * @param {string[]} [since]
   * @returns {Promise<Doc>}
   */
  async inlined(doc, since) {
    const names = following(doc, since);
    if (names.length === 0) return doc;
    const entries = { ...doc._attachments };
    for (const name of names) {
      const { stub, length, ...rest } = entries[name];
      entries[name] = { ...rest, data: await base64((await this.content(doc, name)).blob) };
    }
    return { ...doc, _attachments: entries };
  }

  /**
   * @param {{ keys?: string[], startkey?: string, endkey?: string, inclusive_end?: boolean, descending?: boolean,
   *   skip?: number, limit?: number, include_docs?: boolean, conflicts?: boolean, update_seq?: boolean }} options
   * @returns {Promise<Listing>}
   */
  async listing(options) {
    const { limit = Infinity, skip = 0, update_seq, keys, ...rest } = options;
    const size = rest.include_docs ? PAGE : ROWS;
    /** @type {(more: any) => Promise<any>} */
    const ask = (more) => this.ask(() => this.db.allDocs({ ...rest, ...more }));
    if (keys) {
      const wanted = (rest.descending ? [...keys].reverse() : keys).slice(skip, skip + limit);
      const head = await this.ask(() => this.db.allDocs({ limit: 0, update_seq }));
      return {
        total: head.total_rows,
        offset: null,
        update_seq: head.update_seq,
        pages: keyedPages(wanted, size, ask),
      };
    }
    const first = await ask({ skip, limit: Math.min(limit, size), update_seq });
    const pages = rangePages(first.rows, limit, size, ask);
    return { total: first.total_rows, offset: first.offset ?? null, update_seq: first.update_seq, pages };
  }

  // -- the feed

  /**
   * The pages of a feed, which ends when it has caught up, or, `live`, never. An empty page says that it has caught up,
   * and, live, that it is alive.
   *
   * @param {{ since: any, limit?: number, live?: boolean, descending?: boolean, style?: string, include_docs?: boolean,
   *   conflicts?: boolean, doc_ids?: string[], matches?: (doc: Doc) => boolean, filter?: string, view?: string,
   *   query_params?: any, signal: AbortSignal, idle: import('./watching.js').Idle }} options
   * @returns {AsyncGenerator<Page>}
   */
  async *changes({ since, limit = Infinity, live = false, matches, include_docs = false, signal, idle, ...rest }) {
    const watcher = live ? watch(this.db) : null;
    const docs = include_docs || matches !== undefined;
    const size = docs ? PAGE : ROWS;
    // An empty list makes PouchDB give everything.
    const nothing = rest.doc_ids?.length === 0;
    let told = false;
    try {
      await watcher?.ready;
      // A sequence of another kind of database, or of another selector's: it starts over.
      if (
        typeof since === 'string' &&
        since !== 'now' &&
        typeof (await this.ask(() => this.db.info())).update_seq === 'number'
      )
        since = 0;
      while (!signal.aborted) {
        const seen = watcher?.count ?? 0;
        const asked = matches || rest.descending ? size : Math.min(size, limit);
        const found = await this.ask(() =>
          this.db.changes({
            ...rest,
            since,
            include_docs: docs,
            limit: rest.descending ? undefined : asked,
            return_docs: true,
          }),
        );
        let results = nothing ? [] : found.results;
        const more = !rest.descending && !nothing && found.results.length >= asked;
        if (matches) results = results.filter((/** @type {any} */ change) => matches(change.doc));
        const cut = results.length > limit;
        if (cut) results = results.slice(0, limit);
        limit -= results.length;
        const at = cut || (limit === 0 && results.length) ? results.at(-1).seq : (found.last_seq ?? since);
        if (!rest.descending) since = at;
        if (docs && !include_docs) for (const change of results) delete change.doc;
        const pending = more ? await this.pendingAfter(since) : 0;
        if (results.length || !told) yield { results, last_seq: at, pending };
        if (results.length) idle.restart();
        told = !more;
        if (limit === 0) return;
        if (more) continue;
        if (watcher === null) return;
        while (!(await watcher.after(seen, idle, signal))) {
          if (signal.aborted) return;
          yield { results: [], last_seq: since, pending: 0 };
          if (idle.over) return;
        }
      }
    } finally {
      watcher?.release();
    }
  }

  /** About how many rows are left: PouchDB's sequences are counted through. @param {any} since */
  async pendingAfter(since) {
    const { update_seq } = await this.ask(() => this.db.info());
    return typeof since === 'number' && typeof update_seq === 'number' ? Math.max(1, update_seq - since) : 1;
  }

  // -- writing

  /**
   * @param {any[]} docs Inline attachments as base64 or Blobs.
   * @param {{ newEdits: boolean }} options
   * @returns {Promise<WriteResult[]>} One for each document, in order.
   */
  async bulkDocs(docs, { newEdits }) {
    /** @type {WriteResult[]} */
    const results = docs.map((doc) => {
      const error = malformed(doc, newEdits);
      return error ? refusal(doc, newEdits, error) : { ok: true, id: '', rev: '' };
    });
    const places = [...docs.keys()].filter((place) => !('error' in results[place]));
    const written = places.length
      ? await this.write(
          places.map((place) => docs[place]),
          newEdits,
        )
      : [];
    places.forEach((place, n) => {
      results[place] = written[n];
    });
    return results;
  }

  /** @param {Doc[]} docs @param {boolean} newEdits @returns {Promise<WriteResult[]>} */
  async write(docs, newEdits) {
    const batch = docs.map((doc) => storable(doc, newEdits));
    try {
      const rows = await this.db.bulkDocs(batch, { new_edits: newEdits });
      if (newEdits) {
        return rows.map((/** @type {any} */ row, /** @type {number} */ n) =>
          row.error
            ? refusal({ ...batch[n], _id: batch[n]._id ?? row.id }, true, asError(row))
            : { ok: true, id: row.id, rev: row.rev },
        );
      }
      // Without new edits PouchDB tells of failures only, and not reliably whose they are.
      if (rows.length) throw rows[0];
      return batch.map((doc) => ({ ok: true, id: doc._id, rev: doc._rev }));
    } catch (cause) {
      const error = asError(cause);
      // The trouble of the storage is everybody's; another is that of one document, for which PouchDB refuses the
      // whole batch.
      if (error.status >= 500) throw error;
      if (docs.length === 1) return [refusal(docs[0], newEdits, error)];
    }
    /** @type {WriteResult[]} */
    const results = [];
    for (const doc of docs) results.push(...(await this.write([doc], newEdits)));
    return results;
  }
}

/** @param {any} doc @param {boolean} newEdits @param {PeerPouchError} error @returns {WriteResult} */
export function refusal(doc, newEdits, error) {
  const id = typeof doc?._id === 'string' ? doc._id : '';
  return newEdits ? { id, error } : { id, rev: doc?._rev ?? '', error };
}

/** Winners first: living before deleted, then by revision. @param {Doc} a @param {Doc} b */
export function byWinning(a, b) {
  const dead = Number(a._deleted ?? false) - Number(b._deleted ?? false);
  return dead || generation(b._rev) - generation(a._rev) || (a._rev < b._rev ? 1 : -1);
}

/** @param {string[]} keys @param {number} size @param {(more: any) => Promise<any>} ask */
async function* keyedPages(keys, size, ask) {
  for (let at = 0; at < keys.length; at += size) {
    yield (await ask({ keys: keys.slice(at, at + size), descending: undefined })).rows;
  }
}

/**
 * @param {any[]} rows The first page.
 * @param {number} limit
 * @param {number} size
 * @param {(more: any) => Promise<any>} ask
 */
async function* rangePages(rows, limit, size, ask) {
  let wanted = Math.min(limit, size);
  for (let left = limit; rows.length > 0;) {
    yield rows;
    left -= rows.length;
    if (left <= 0 || rows.length < wanted) return;
    wanted = Math.min(left, size);
    // From the last id itself, and not one row after it: when its document was deleted meanwhile, that would lose the
    // next.
    const last = rows[rows.length - 1].id;
    rows = (await ask({ startkey: last, limit: wanted + 1 })).rows
      .filter((/** @type {any} */ row) => row.id !== last)
      .slice(0, wanted);
  }
}
