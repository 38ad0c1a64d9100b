/**
 * Deletes what others left behind in a hub: signals that nobody reads any more, and shares whose owner is gone.
 *
 * It trusts no clock: a document is deleted only if its revision stayed the same for long enough while we looked on, by
 * our own monotonic clock. Where the hub does not allow it, it leaves that to others; a public hub does it by itself.
 * What was deleted is purged by Python processes and by the hub's operator: PouchDB can't.
 */

import { sleep } from '../clock.js';
import { TOLERANCE } from './leases.js';
import * as shares from './shares.js';
import { PREFIX } from './signals.js';

/** Milliseconds between passes: two of them bracket the time after which a signal is dead. */
const PASS_EVERY = 600_000;
/** Looked at in one pass, of each kind; what is beyond gets its turn when these are gone. */
const MAX_DOCUMENTS = 1000;
/** Documents deleted in one request. */
const BATCH = 100;

export class Collector {
  #database;
  #clock;
  /**
   * Since when each document has had its revision, as far as we know.
   *
   * @type {Map<string, {rev: string, since: number}>}
   */
  #seen = new Map();
  #ending = new AbortController();
  /** How many documents were deleted so far. */
  deleted = 0;

  /** @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock */
  constructor(database, clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Pass after pass, until it is closed. */
  async run() {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      // Tidying is never worth more than a line in the console.
      await this.look().catch((error) => console.debug('peerpouch: the hub could not be tidied:', error));
      await sleep(this.#clock, PASS_EVERY, signal).catch(() => {});
    }
  }

  close() {
    this.#ending.abort();
  }

  /** One pass. */
  async look() {
    const monotonic = this.#clock.monotonic();
    /** @type {Map<string, {rev: string, since: number}>} */
    const seen = new Map();
    const dead = [];
    for (const first of [PREFIX, shares.PREFIX]) {
      const range = { first, last: `${first}\ufff0`, limit: MAX_DOCUMENTS, include_docs: first !== PREFIX };
      for await (const { id, rev, doc } of this.#database.list(range)) {
        const before = this.#seen.get(id);
        const since = before?.rev === rev ? before.since : monotonic;
        seen.set(id, { rev, since });
        if (await isDead(doc, monotonic - since)) dead.push({ _id: id, _rev: rev, _deleted: true });
      }
    }
    this.#seen = seen;
    for (let at = 0; at < dead.length; at += BATCH) {
      const results = await this.#database.bulk(dead.slice(at, at + BATCH));
      this.deleted += results.filter(({ rev }) => rev).length;
    }
  }
}

/** @param {any} doc A share's document, or undefined for a signal. @param {number} unchanged Milliseconds. */
async function isDead(doc, unchanged) {
  if (unchanged < TOLERANCE) return false;
  if (!doc) return true;
  const share = await shares.fromDocument(doc).catch(() => null); // what is no share is not ours to judge
  return share !== null && unchanged > 1000 * share.lease + TOLERANCE;
}
