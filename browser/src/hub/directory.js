/**
 * The shares of a hub: listed, and followed while somebody watches.
 *
 * Each document is verified once per revision. What is not a valid share is never listed, only counted. A watcher is
 * told of differences between what it was told last and what is true now, so what it is behind by is bounded by the
 * number of shares, and steps that cancel each other out are never told.
 */

import { sleep } from '../clock.js';
import { hubErrors } from './errors.js';
import { Leases, MAX_SHARES } from './leases.js';
import * as shares from './shares.js';

/** @typedef {import('./shares.js').Share} Share */
/** @typedef {import('./leases.js').Verdict} Verdict */
/** @typedef {(share: Share) => void | Promise<void>} OnChange */

/** Milliseconds between looks for shares that ran out unnoticed, while somebody watches. */
const SWEEP_EVERY = 10_000;
/** Documents that a listing looks at, valid or not: whoever fills a hub with rubbish costs its readers no more. */
export const MAX_ROWS = 4 * MAX_SHARES;

/** Tells one `onChange` what differs from what it was told. */
class Watcher {
  #directory;
  #onChange;
  /** @type {Map<string, Share>} */
  #known;
  /** @type {Set<string>} */
  #pending = new Set();
  #telling = false;
  #cancelled = false;

  /** @param {Directory} directory @param {OnChange} onChange @param {Share[]} known */
  constructor(directory, onChange, known) {
    this.#directory = directory;
    this.#onChange = onChange;
    this.#known = new Map(known.map((share) => [share.id, share]));
  }

  /**
   * These shares may have changed; by default all that were told, which may have run out.
   *
   * @param {Iterable<string>} ids
   */
  touch(ids = this.#known.keys()) {
    for (const id of ids) this.#pending.add(id);
    if (!this.#telling) void this.#tell();
  }

  cancel() {
    this.#cancelled = true;
    this.#directory.unwatch(this);
  }

  async #tell() {
    this.#telling = true;
    await null; // never before the list itself has been returned
    for (const id of this.#pending) {
      if (this.#cancelled) break;
      this.#pending.delete(id);
      const news = this.#news(id);
      if (!news) continue;
      try {
        await this.#onChange(news);
      } catch (error) { // the caller's; the watching goes on
        console.error('peerpouch: onChange failed', error);
      }
    }
    this.#telling = false;
  }

  /** @param {string} id @returns {Share | undefined} */
  #news(id) {
    const old = this.#known.get(id);
    const now = this.#directory.listed(id);
    if (!now) {
      this.#known.delete(id);
      return old && { ...old, deleted: true };
    }
    this.#known.set(id, now);
    return old && shares.said(old) === shares.said(now) ? undefined : now;
  }
}

export class Directory {
  #database;
  #clock;
  #feed;
  #session;
  #leases = new Leases();
  /**
   * The revision of documents that were verified, valid or not; at most MAX_ROWS, the oldest goes.
   *
   * @type {Map<string, string>}
   */
  #verified = new Map();
  /**
   * For each reading under way, the shares of which the feed told meanwhile: what was read may be older.
   *
   * @type {Set<Set<string>>}
   */
  #touched = new Set();
  /** @type {Set<Watcher>} */
  #watchers = new Set();
  #ending = new AbortController();
  #sweeping = false;
  /** How many documents were refused since the start. */
  invalid = 0;

  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock
   * @param {import('./feed.js').Feed} feed The hub's feed.
   * @param {string} session The own session, whose shares are not listed.
   */
  constructor(database, clock, feed, session) {
    this.#database = database;
    this.#clock = clock;
    this.#feed = feed;
    this.#session = session;
  }

  /**
   * The living shares of others, read from the hub now; with `onChange`, it is called for every one that is new, says
   * something else or has gone from then on.
   *
   * @param {OnChange} [onChange]
   * @returns {Promise<{found: Share[], cancel: () => void}>}
   */
  async shares(onChange) {
    if (onChange) await this.#feed.start();
    await this.#read();
    const found = this.#leases.alive(this.#times()).filter((share) => share.session !== this.#session);
    if (!onChange) return { found, cancel() {} };
    const watcher = new Watcher(this, onChange, found);
    this.#watchers.add(watcher);
    if (!this.#sweeping) {
      this.#sweeping = true;
      this.#sweep().catch(() => {});
    }
    return { found, cancel: () => watcher.cancel() };
  }

  /**
   * A share, alive or not, the own session's too, read from the hub now; null if the hub has no valid one.
   *
   * @param {string} shareId
   * @returns {Promise<{share: Share, verdict: Verdict} | null>}
   */
  async find(shareId) {
    if (!shares.isShareId(shareId)) return null;
    await this.#while(async (touched) => {
      const document = await hubErrors('find a share', this.#database.get(shares.PREFIX + shareId));
      if (document) await this.#observe(document, { touched, wanted: true });
      else if (!touched.has(shareId)) this.#forget(shareId);
    });
    const share = this.#leases.get(shareId);
    const verdict = this.#leases.judge(shareId, this.#times());
    return share && verdict ? { share, verdict } : null;
  }

  /** The time to put into an offer, in milliseconds. @param {Share} share */
  offerTime(share) {
    return this.#leases.ownersTime(share, this.#times());
  }

  /** What was last seen of a share, alive or not. @param {string} shareId */
  get(shareId) {
    return this.#leases.get(shareId);
  }

  /** A share that is alive and not the own session's. @param {string} shareId */
  listed(shareId) {
    const share = this.#leases.get(shareId);
    return share && share.session !== this.#session && this.#leases.judge(shareId, this.#times()) === 'alive'
      ? share : undefined;
  }

  /** Note a change of a share in the hub. @param {import('./database.js').Change} change */
  async changed({ id, deleted, doc }) {
    const shareId = id.slice(shares.PREFIX.length);
    for (const touched of this.#touched) touched.add(shareId);
    if (deleted || !doc) this.#forget(shareId);
    else await this.#observe(doc);
    for (const watcher of this.#watchers) watcher.touch([shareId]);
  }

  /** @param {Watcher} watcher */
  unwatch(watcher) {
    this.#watchers.delete(watcher);
  }

  /** End all watching. */
  close() {
    this.#ending.abort();
    for (const watcher of this.#watchers) watcher.cancel();
  }

  #times() {
    return { monotonic: this.#clock.monotonic(), now: this.#clock.now() };
  }

  /** @param {(touched: Set<string>) => Promise<void>} work */
  async #while(work) {
    const touched = new Set();
    this.#touched.add(touched);
    try {
      await work(touched);
    } finally {
      this.#touched.delete(touched);
    }
  }

  #read() {
    return this.#while(async (touched) => {
      this.#leases.dropExpired(this.#clock.monotonic());
      const absent = this.#leases.ids();
      let rows = 0;
      const range = { first: shares.PREFIX, last: shares.LAST, limit: MAX_ROWS, include_docs: true };
      await hubErrors('list its shares', (async () => {
        for await (const { id, doc } of this.#database.list(range)) {
          rows++;
          absent.delete(id.slice(shares.PREFIX.length));
          if (doc) await this.#observe(doc, { touched });
        }
      })());
      if (rows >= MAX_ROWS) return; // not all were seen, so none is known to be absent
      for (const shareId of absent) if (!touched.has(shareId)) this.#forget(shareId);
    });
  }

  /**
   * Verify a document and note what it says, unless the feed told of the share meanwhile.
   *
   * @param {any} document @param {{touched?: Set<string>, wanted?: boolean}} [options]
   */
  async #observe(document, { touched, wanted = false } = {}) {
    const id = String(document._id).slice(shares.PREFIX.length);
    const rev = String(document._rev);
    if (touched?.has(id) || (this.#verified.get(id) === rev && (this.#leases.get(id) || !wanted))) return;
    let share;
    try {
      share = await shares.fromDocument(document);
    } catch (error) {
      if (/** @type {any} */ (error).error !== 'invalid_signal') throw error;
      this.invalid++;
      console.debug(`peerpouch: the document share:${id} is no valid share:`, /** @type {any} */ (error).reason);
    }
    if (touched?.has(id)) return;
    this.#verified.delete(id);
    if (this.#verified.size >= MAX_ROWS) {
      this.#verified.delete(/** @type {string} */ (this.#verified.keys().next().value));
    }
    this.#verified.set(id, rev);
    if (share) this.#leases.observe(share, this.#clock.monotonic(), wanted);
    else this.#leases.forget(id);
  }

  /** @param {string} shareId */
  #forget(shareId) {
    this.#verified.delete(shareId);
    this.#leases.forget(shareId);
  }

  async #sweep() {
    for (;;) {
      await sleep(this.#clock, SWEEP_EVERY, this.#ending.signal);
      for (const watcher of this.#watchers) watcher.touch();
    }
  }
}
