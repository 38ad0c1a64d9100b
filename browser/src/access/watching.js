/**
 * Waiting for a database to change: one live feed of PouchDB's for all who wait, which says only that there is
 * something new. What it is, everybody reads by himself, in pages, so nothing piles up for a slow reader.
 */

import { PeerPouchError } from '../errors.js';

/** @typedef {{ now(): number, monotonic(): number, timer(ms: number, fn: () => void): () => void }} Clock */

/** How long a live feed may be silent: a heartbeat or an end. Milliseconds. */
export class Idle {
  /** @param {Clock} clock @param {{ heartbeat?: number | null, timeout?: number | null }} [limits] */
  constructor(clock, { heartbeat = null, timeout = null } = {}) {
    this.clock = clock;
    this.heartbeat = heartbeat ?? Infinity;
    this.timeout = timeout ?? Infinity;
    this.began = this.beaten = clock.monotonic();
  }

  /** Say that the feed gave something. */
  restart() {
    this.began = this.beaten = this.clock.monotonic();
  }

  beat() {
    this.beaten = this.clock.monotonic();
  }

  get left() {
    const now = this.clock.monotonic();
    return Math.max(0, Math.min(this.beaten + this.heartbeat, this.began + this.timeout) - now);
  }

  get over() {
    return this.clock.monotonic() >= this.began + this.timeout;
  }
}

/** @type {WeakMap<object, Watcher>} */
const watchers = new WeakMap();

class Watcher {
  /** @param {any} db A PouchDB. */
  constructor(db) {
    this.db = db;
    this.users = 0;
    /** Grows with every change. */
    this.count = 0;
    /** @type {Set<() => void>} */
    this.waiting = new Set();
    this.ended = false;
    /** @type {any} */
    this.feed = null;
    /** From here on no change is missed. */
    this.ready = this.start();
    this.ready.catch(() => {});
  }

  async start() {
    const { update_seq } = await this.db.info();
    if (this.users === 0) return;
    this.feed = this.db.changes({ live: true, since: update_seq, return_docs: false });
    this.feed.on('change', () => {
      this.count++;
      this.wake();
    });
    const end = () => {
      this.ended = true;
      this.wake();
    };
    this.feed.on('error', end).on('complete', end);
    this.feed.catch(() => {});
  }

  wake() {
    for (const wake of [...this.waiting]) wake();
  }

  /**
   * Waits for a change after `seen`, a {@link count} of before. `false`: it is time for a heartbeat, or for the end, or
   * the signal was aborted.
   *
   * @param {number} seen @param {Idle} idle @param {AbortSignal} signal @returns {Promise<boolean>}
   */
  async after(seen, idle, signal) {
    if (this.ended) throw new PeerPouchError('database_closed', 'The database was closed.');
    if (this.count !== seen) return true;
    if (signal.aborted) return false;
    const changed = await new Promise((/** @type {(changed: boolean) => void} */ resolve) => {
      const wake = () => end(true);
      const abort = () => end(false);
      const cancel = idle.left === Infinity ? () => {} : idle.clock.timer(idle.left, () => end(false));
      const end = (/** @type {boolean} */ value) => {
        cancel();
        this.waiting.delete(wake);
        signal.removeEventListener('abort', abort);
        resolve(value);
      };
      this.waiting.add(wake);
      signal.addEventListener('abort', abort);
    });
    if (changed && this.ended) throw new PeerPouchError('database_closed', 'The database was closed.');
    if (!changed) idle.beat();
    return changed;
  }

  release() {
    if (--this.users > 0) return;
    this.feed?.cancel();
    if (watchers.get(this.db) === this) watchers.delete(this.db);
  }
}

/** What tells of the changes of a PouchDB; `release` it in the end. @param {any} db */
export function watch(db) {
  let watcher = watchers.get(db);
  if (watcher === undefined || watcher.ended) {
    watcher = new Watcher(db);
    watchers.set(db, watcher);
  }
  watcher.users++;
  return watcher;
}
