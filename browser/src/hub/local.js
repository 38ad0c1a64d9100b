/** A hub that is a PouchDB of this browser or process: for the tabs that share it. */

import { within } from '../clock.js';
import { pages } from './database.js';
import { asError } from './errors.js';

/** @typedef {import('./database.js').Page} Page */

/** Rows of one page of the feed: of signals at their largest, 13 MB. */
const PAGE = 100;
/** Milliseconds after which the feed looks without having been called: an adapter may not hear of other tabs. */
const LOOK_EVERY = 25_000;

export class LocalDatabase {
  #pouch;
  #clock;

  /** @param {any} pouch @param {import('../clock.js').Clock} clock */
  constructor(pouch, clock) {
    this.#pouch = pouch;
    this.#clock = clock;
  }

  async sequence() {
    return (await this.#ask((pouch) => pouch.info())).update_seq;
  }

  /** @param {string} id */
  async get(id) {
    try {
      return await this.#ask((pouch) => pouch.get(id));
    } catch (error) {
      if (/** @type {any} */ (error).status === 404) return null;
      throw error;
    }
  }

  /** @param {string} id */
  look(id) {
    return this.get(id);
  }

  /** @param {any} document @returns {Promise<string>} */
  async put(document) {
    return (await this.#ask((pouch) => pouch.put(document))).rev;
  }

  /** @param {string} id @param {string} rev */
  async remove(id, rev) {
    await this.#ask((pouch) => pouch.remove(id, rev));
  }

  /** @param {string} id @param {string} rev */
  removeAtOnce(id, rev) {
    this.remove(id, rev).catch(() => {}); // it runs out
  }

  /** @param {any[]} documents @returns {Promise<import('./database.js').Written[]>} */
  async bulk(documents) {
    const results = await this.#ask((pouch) => pouch.bulkDocs(documents));
    return results.map((/** @type {any} */ result) =>
      (result.error ? { error: asError(result) } : { rev: result.rev }));
  }

  /** @param {import('./database.js').Range} range */
  list(range) {
    return pages(range, (options) => this.#ask((pouch) => pouch.allDocs(options)));
  }

  /** @param {import('./database.js').FeedOptions} options @returns {AsyncGenerator<Page>} */
  async* feed({ since, selector, signal }) {
    let wake = () => {};
    let woken = false;
    /** @type {unknown} */
    let failure;
    const ring = () => { woken = true; wake(); };
    const bell = this.#pouch.changes({ live: true, since });
    bell.on('change', ring).on('complete', ring).on('error', (/** @type {unknown} */ error) => {
      failure = error;
      ring();
    });
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
        if (!woken) {
          await within(this.#clock, LOOK_EVERY, () => waiting, signal).catch((error) => {
            if (error.error !== 'timeout') throw error;
          });
        }
        if (failure) throw asError(failure);
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
