/**
 * A hub's database: the few things that are asked of it, over a PouchDB of any adapter, with errors under our names.
 *
 * A server's live feed is read here and not by PouchDB, whose own tells nothing of heartbeats: a connection that died
 * without a word would never be missed.
 */

import { PeerPouchError, STATUS } from '../errors.js';
import { within } from '../clock.js';

/** @typedef {import('../clock.js').Clock} Clock */
/** @typedef {{id: string, seq: any, deleted?: boolean, doc?: any, changes: {rev: string}[]}} Change */
/** @typedef {{results: Change[], last_seq: any}} Page */
/** @typedef {{since: any, selector: any, signal: AbortSignal}} FeedOptions */

/** Milliseconds. Below the 30 to 60 seconds after which proxies and address translators drop an idle connection. */
const HEARTBEAT = 25_000;
/** Milliseconds without so much as a heartbeat after which a feed counts as lost: three were missed. */
export const SILENCE = 80_000;

/** Rows of one page: of signals at their largest, 13 MB. */
const PAGE = 100;
/** Characters of an answer to the feed. A hub may be any database, with large documents of others. */
const MAX_ANSWER = 64 << 20;
/** Rows of one page of a listing: of shares at their largest, 8 MB. */
const LISTING = 500;

/**
 * An error of PouchDB's, or of `fetch`, under our names.
 *
 * @param {any} error
 * @returns {PeerPouchError}
 */
export function asError(error) {
  if (error instanceof PeerPouchError) return error;
  const reason = String(error?.reason ?? error?.message ?? error);
  if (typeof error?.status === 'number' && error.status >= 400) {
    const name = [error.error, error.name].find((each) => typeof each === 'string' && each in STATUS);
    const plain = { 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 409: 'conflict' };
    return new PeerPouchError(name ?? /** @type {any} */ (plain)[error.status] ??
      (error.status < 500 ? 'bad_request' : 'internal_server_error'), reason, { status: error.status, cause: error });
  }
  const gone = /database is (closed|destroyed)/.test(reason);
  return new PeerPouchError(gone ? 'database_closed' : 'connection_failed', reason, { cause: error });
}

/**
 * Names whatever the hub's database raises as what it is for the caller: the hub that can't be used. A hub that forbids
 * a write must not look like a peer that refuses.
 *
 * @template T
 * @param {string} what @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export async function hubErrors(what, work) {
  try {
    return await work;
  } catch (error) {
    const known = asError(error);
    if (known.error === 'hub_unreachable') throw known;
    throw new PeerPouchError('hub_unreachable', `The hub can't be used to ${what}: ${known.reason}`, { cause: error });
  }
}

export class HubDatabase {
  #pouch;
  #clock;

  /** @param {any} pouch @param {Clock} clock */
  constructor(pouch, clock) {
    this.#pouch = pouch;
    this.#clock = clock;
  }

  /** @returns {Promise<any>} The present sequence. */
  async sequence() {
    return (await this.#ask((pouch) => pouch.info())).update_seq;
  }

  /** The document, or null. @param {string} id */
  async get(id) {
    try {
      return await this.#ask((pouch) => pouch.get(id));
    } catch (error) {
      if (/** @type {PeerPouchError} */ (error).status === 404) return null;
      throw error;
    }
  }

  /** Gives the new revision. @param {any} document @returns {Promise<string>} */
  async put(document) {
    return (await this.#ask((pouch) => pouch.put(document))).rev;
  }

  /** @param {string} id @param {string} rev */
  async remove(id, rev) {
    await this.#ask((pouch) => pouch.remove(id, rev));
  }

  /** @param {any[]} documents @returns {Promise<{rev?: string, error?: PeerPouchError}[]>} */
  async bulk(documents) {
    const results = await this.#ask((pouch) => pouch.bulkDocs(documents));
    return results.map((/** @type {any} */ result) => (result.rev && !result.error ? { rev: result.rev } : { error: asError(result) }));
  }

  /**
   * The documents of a range of ids, page by page.
   *
   * @param {{first: string, last: string, limit: number, include_docs: boolean}} options
   * @returns {AsyncGenerator<{id: string, rev: string, doc?: any}>}
   */
  async* list({ first, last, limit, include_docs }) {
    let startkey = first;
    for (let skip = 0; limit > 0; skip = 1) {
      const wanted = Math.min(LISTING, limit);
      const options = { startkey, endkey: last, skip, limit: wanted, include_docs };
      const { rows } = await this.#ask((pouch) => pouch.allDocs(options));
      for (const row of rows) yield { id: row.id, rev: row.value?.rev, doc: row.doc };
      if (rows.length < wanted) return;
      startkey = rows[rows.length - 1].id;
      limit -= rows.length;
    }
  }

  /**
   * Changes after `since`, as they happen, until `signal` is aborted. Each page, empty ones too, shows that the hub is
   * there.
   *
   * @param {FeedOptions} options
   * @returns {AsyncGenerator<Page>}
   */
  async* feed(options) {
    const follow = typeof this.#pouch.fetch === 'function' ? this.#followServer(options) : this.#followLocal(options);
    try {
      yield* follow;
    } catch (error) {
      throw asError(error);
    }
  }

  /** @param {FeedOptions} options @returns {AsyncGenerator<Page>} */
  async* #followServer({ since, selector, signal }) {
    for (;;) {
      const query = new URLSearchParams({
        feed: 'longpoll',
        include_docs: 'true',
        heartbeat: String(HEARTBEAT),
        limit: String(PAGE),
        since: typeof since === 'object' ? JSON.stringify(since) : String(since),
        ...(selector && { filter: '_selector' }),
      });
      const headers = new Headers({ Accept: 'application/json', 'Content-Type': 'application/json' });
      const request = { method: selector ? 'POST' : 'GET', headers, body: selector ? JSON.stringify({ selector }) : undefined };
      const page = await this.#fetch(`_changes?${query}`, request, signal);
      if (!Array.isArray(page?.results)) throw new PeerPouchError('protocol_error', 'The hub\'s feed is malformed.');
      since = page.last_seq;
      yield page;
    }
  }

  /** @param {string} path @param {RequestInit} request @param {AbortSignal} signal @returns {Promise<any>} */
  async #fetch(path, request, signal) {
    const controller = new AbortController();
    const abort = () => controller.abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      const quiet = (/** @type {() => Promise<any>} */ work) => within(this.#clock, SILENCE, work, signal);
      const response = await quiet(() => this.#pouch.fetch(path, { ...request, signal: controller.signal }));
      const text = await readText(response.body, quiet);
      const value = JSON.parse(text);
      if (!response.ok) throw { ...value, status: response.status };
      return value;
    } finally {
      signal.removeEventListener('abort', abort);
      controller.abort();
    }
  }

  /** @param {FeedOptions} options @returns {AsyncGenerator<Page>} */
  async* #followLocal({ since, selector, signal }) {
    let wake = () => {};
    let woken = false;
    /** @type {unknown} */
    let failure;
    const bell = this.#pouch.changes({ live: true, since });
    const ring = () => { woken = true; wake(); };
    bell.on('change', ring).on('complete', ring).on('error', (/** @type {unknown} */ error) => { failure = error; ring(); });
    bell.catch(() => {});
    try {
      for (;;) {
        woken = false;
        const options = { since, limit: PAGE, include_docs: true, ...(selector && { selector }) };
        const page = await this.#ask((pouch) => pouch.changes(options));
        since = page.last_seq;
        yield page;
        if (page.results.length >= PAGE) continue;
        const waiting = new Promise((/** @type {(value: void) => void} */ resolve) => { wake = resolve; });
        // Looked at now and then all the same: an adapter may not hear of other tabs.
        if (!woken) {
          await within(this.#clock, HEARTBEAT, () => waiting, signal).catch((error) => {
            if (error.error !== 'timeout') throw error;
          });
        }
        if (failure) throw failure;
        signal.throwIfAborted();
      }
    } finally {
      bell.cancel();
    }
  }

  /** @param {(pouch: any) => Promise<any>} work @returns {Promise<any>} */
  async #ask(work) {
    try {
      return await work(this.#pouch);
    } catch (error) {
      throw asError(error);
    }
  }
}

/**
 * @param {any} body A stream of the platform's, or of Node's.
 * @param {(work: () => Promise<any>) => Promise<any>} quiet
 */
async function readText(body, quiet) {
  const reader = body.getReader?.();
  const iterator = reader ? undefined : body[Symbol.asyncIterator]();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await quiet(() => (reader ? reader.read() : iterator.next()));
    if (done) return text + decoder.decode();
    const more = decoder.decode(value, { stream: true });
    text += text ? more : more.trimStart(); // heartbeats come for hours
    if (text.length > MAX_ANSWER) throw new PeerPouchError('too_large', 'An answer of the hub\'s feed is too large.');
  }
}
