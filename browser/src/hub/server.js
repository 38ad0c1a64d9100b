/**
 * A hub at a server: CouchDB, PouchDB's server, `peerpouch serve`, or another peer's share.
 *
 * It is asked by the PouchDB's own `fetch`, which adds its credentials, but not by PouchDB's methods: those show
 * nothing of a feed's heartbeats, so that a connection that died without a word would never be missed; they have no
 * time limits; and a public hub wants proofs with each request.
 */

import { within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { pages } from './database.js';
import { asError } from './errors.js';

/** @typedef {import('./database.js').Page} Page */
/** @typedef {import('./database.js').FeedOptions} FeedOptions */
/** @typedef {{method?: string, body?: any, query?: Record<string, unknown>}} Question */

/** Milliseconds. Below the 30 to 60 seconds after which proxies and address translators drop an idle connection. */
const HEARTBEAT = 25_000;
/** Milliseconds without so much as a heartbeat after which a feed counts as lost: three were missed. */
const SILENCE = 80_000;
/** Milliseconds for any other answer. */
const ANSWER_WITHIN = 30_000;
/** Rows of one page of the feed: of signals at their largest, 13 MB. */
const PAGE = 100;
/**
 * Characters of a page, or of a row of a feed without end. A hub may be any database, with large documents of others.
 */
const MAX_ANSWER = 64 << 20;

export class ServerDatabase {
  #pouch;
  #clock;
  #session;
  /** What the server says of itself. @type {Promise<any> | undefined} */
  #welcome;

  /**
   * @param {any} pouch
   * @param {import('../clock.js').Clock} clock
   * @param {import('../trust/proofs.js').HubSession} session
   */
  constructor(pouch, clock, session) {
    this.#pouch = pouch;
    this.#clock = clock;
    this.#session = session;
  }

  async sequence() {
    return (await this.#ask('')).update_seq;
  }

  /** @param {string} id */
  async get(id) {
    try {
      return await this.#ask(encodeURIComponent(id));
    } catch (error) {
      if (/** @type {any} */ (error).status === 404) return null;
      throw error;
    }
  }

  /** Asked in a way that is no error where there is none: browsers show those to people. @param {string} id */
  async look(id) {
    const question = { method: 'POST', query: { include_docs: true }, body: { keys: [id] } };
    const { rows } = await this.#ask('_all_docs', question);
    return rows[0]?.doc ?? null;
  }

  /** @param {any} document @returns {Promise<string>} */
  async put(document) {
    return (await this.#ask(encodeURIComponent(document._id), { method: 'PUT', body: document })).rev;
  }

  /** @param {string} id @param {string} rev */
  async remove(id, rev) {
    await this.#ask(encodeURIComponent(id), { method: 'DELETE', query: { rev } });
  }

  /** @param {string} id @param {string} rev */
  removeAtOnce(id, rev) {
    const headers = new Headers({ Accept: 'application/json' });
    this.#session.proveAgain(headers);
    const path = `${encodeURIComponent(id)}?${new URLSearchParams({ rev })}`;
    // With `keepalive` the browser sends it after the page has gone. What fails runs out.
    this.#pouch.fetch(path, { method: 'DELETE', headers, keepalive: true }).catch(() => {});
  }

  /** @param {any[]} docs @returns {Promise<import('./database.js').Written[]>} */
  async bulk(docs) {
    const results = await this.#ask('_bulk_docs', { method: 'POST', body: { docs } });
    return results.map((/** @type {any} */ { rev, error, reason }) =>
      (error ? { error: new PeerPouchError(error, reason ?? error) } : { rev }));
  }

  /** @param {import('./database.js').Range} range */
  list(range) {
    return pages(range, ({ startkey, endkey, ...rest }) => {
      const query = { ...rest, startkey: JSON.stringify(startkey), endkey: JSON.stringify(endkey) };
      return this.#ask('_all_docs', { query });
    });
  }

  /**
   * A public hub counts requests, so its feed is one request without end. Others are asked anew after each page:
   * servers and proxies that compress or collect hold back what has no end.
   *
   * @param {FeedOptions} options
   * @returns {AsyncGenerator<Page>}
   */
  async* feed({ since, selector, signal }) {
    const controller = new AbortController();
    const quiet = (/** @type {() => Promise<any>} */ work) => within(this.#clock, SILENCE, work, signal);
    try {
      await this.#ask(''); // the answer to the feed may take long, and whether the hub is there should be known now
      if (!(await this.#selects())) selector = null;
      yield { results: [], last_seq: since };
      for (;;) {
        const feed = this.#session.isAskedFor ? 'continuous' : 'longpoll';
        const query = {
          feed,
          include_docs: true,
          heartbeat: HEARTBEAT,
          since: typeof since === 'object' ? JSON.stringify(since) : since,
          ...(feed === 'longpoll' && { limit: PAGE }),
          ...(selector && { filter: '_selector' }),
        };
        const question = { query, ...(selector && { method: 'POST', body: { selector } }) };
        const response = await quiet(() => this.#send('_changes', question, controller.signal));
        const body = texts(response.body, quiet);
        if (feed === 'continuous') return yield* lines(body, since);
        const page = JSON.parse(await whole(body));
        if (!Array.isArray(page.results)) throw new PeerPouchError('protocol_error', 'The hub\'s feed is malformed.');
        since = page.last_seq;
        yield page;
      }
    } catch (error) {
      throw asError(error);
    } finally {
      controller.abort();
    }
  }

  /** Whether it can be asked for a feed with a selector: PouchDB's server ends with an uncaught error when it is. */
  async #selects() {
    this.#welcome ??= this.#ask('/').catch(() => ({}));
    return !('express-pouchdb' in Object(await this.#welcome));
  }

  /** The JSON of an answer. @param {string} path @param {Question} [question] @returns {Promise<any>} */
  async #ask(path, question = {}) {
    try {
      return await within(this.#clock, ANSWER_WITHIN, async (signal) =>
        (await this.#send(path, question, signal)).json());
    } catch (error) {
      const late = /** @type {any} */ (error).error === 'timeout';
      throw asError(late ? new Error(`The hub did not answer within ${ANSWER_WITHIN / 1000} seconds.`) : error);
    }
  }

  /**
   * A good answer; whatever a public hub wants to be shown is shown to it.
   *
   * @param {string} path @param {Question} question @param {AbortSignal} signal
   * @returns {Promise<Response>}
   */
  async #send(path, { method = 'GET', body, query = {} }, signal) {
    const text = new URLSearchParams(/** @type {any} */ (query)).toString();
    const url = text ? `${path}?${text}` : path;
    for (let tries = 0; ; tries++) {
      const headers = new Headers({ Accept: 'application/json' });
      if (body) headers.set('Content-Type', 'application/json');
      // Nothing else of the server is shown proofs.
      if (path[0] !== '/') await this.#session.prove(headers, this.#clock.monotonic());
      const response = await this.#pouch.fetch(url, { method, headers, body: body && JSON.stringify(body), signal });
      const told = path[0] !== '/' && this.#session.learn(response.headers, this.#clock.monotonic());
      if (response.ok) return response;
      const error = await response.json().catch(() => ({ reason: response.statusText }));
      if (response.status === 401 && told && tries === 0) continue;
      throw { ...error, status: response.status };
    }
  }
}

/**
 * The pages of a feed without end.
 *
 * @param {AsyncGenerator<string>} body
 * @param {any} since
 * @returns {AsyncGenerator<Page>}
 */
async function* lines(body, since) {
  let rest = '';
  for await (const chunk of body) {
    const ended = (rest + chunk).split('\n');
    rest = /** @type {string} */ (ended.pop());
    if (rest.length > MAX_ANSWER) throw TOO_LARGE();
    const rows = ended.filter((line) => line.trim()).map((line) => JSON.parse(line));
    const last = rows[rows.length - 1];
    since = last?.seq ?? last?.last_seq ?? since;
    yield { results: rows.filter((row) => typeof row?.id === 'string'), last_seq: since };
  }
}

/** A whole body, without the heartbeats that came before it for hours. @param {AsyncGenerator<string>} body */
async function whole(body) {
  let text = '';
  for await (const chunk of body) {
    text += text ? chunk : chunk.trimStart();
    if (text.length > MAX_ANSWER) throw TOO_LARGE();
  }
  return text;
}

const TOO_LARGE = () => new PeerPouchError('too_large', 'An answer of the hub\'s feed is too large.');

/**
 * The text of a body, piece by piece.
 *
 * @param {any} body A stream of the platform's, or of Node's.
 * @param {(work: () => Promise<any>) => Promise<any>} quiet Bounds each wait.
 * @returns {AsyncGenerator<string>}
 */
async function* texts(body, quiet) {
  const reader = body.getReader?.();
  const iterator = reader ? undefined : body[Symbol.asyncIterator]();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await quiet(() => (reader ? reader.read() : iterator.next()));
    if (done) return;
    yield decoder.decode(value, { stream: true });
  }
}
