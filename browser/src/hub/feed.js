/**
 * The one live feed of a hub client, however many shares are watched and signals awaited.
 *
 * It starts at the hub's present sequence, and after a loss goes on from the last one that it saw. The selector is
 * evaluated at the hub where the hub can; listeners look at ids anyway, so a hub that ignores or refuses it only costs
 * more.
 */

import { backoff, sleep } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { asError, hubErrors } from './errors.js';

/** @typedef {import('./database.js').Change} Change */
/** @typedef {(change: Change) => void | Promise<void>} Listener */

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 60_000;
/** Milliseconds from one opening of the feed until a doubt opens it anew: of many peers that are lost each is one. */
const DOUBT_PAUSE = 5000;

/** What a hub answers that does not know selectors in feeds: CouchDB 1, PouchDB's server, and what imitates them. */
const NO_SELECTOR = new Set([400, 404, 405, 501]);

export class Feed {
  #database;
  #clock;
  #selector;
  #random;
  /** @type {Listener[]} */
  #listeners = [];
  #ending = new AbortController();
  /** Ends the present connection, or the present wait between two. */
  #present = new AbortController();
  #opened = -Infinity;
  /** @type {any} */
  #since;
  /** @type {Promise<void> | undefined} */
  #started;
  /** @type {Promise<void> | undefined} */
  #running;

  /** Why there is no connection at the moment; null while there is one. @type {PeerPouchError | null} */
  error = null;
  /** Called whenever the hub was lost and is there again. */
  onReconnected = () => {};

  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock
   * @param {any} selector What is of interest.
   * @param {() => number} random From 0 to 1, for jitter.
   */
  constructor(database, clock, selector, random) {
    this.#database = database;
    this.#clock = clock;
    this.#selector = selector;
    this.#random = random;
  }

  /** Have `listener` called with every change, one after another, in order. @param {Listener} listener */
  listen(listener) {
    this.#listeners.push(listener);
  }

  /** From now on, no change is missed. Rejects with `hub_unreachable` if the hub can't be read now. */
  start() {
    this.#started ??= this.#start().catch((error) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  /**
   * Something suggests that the feed is lost, or that the hub is there again: open it anew, and at once.
   *
   * A connection whose machine changed its network only falls silent, which a missing heartbeat shows late; and whoever
   * lost a peer by that looks for it through this feed.
   */
  doubt() {
    if (this.#clock.monotonic() - this.#opened >= (this.error ? FIRST_WAIT : DOUBT_PAUSE)) this.#present.abort();
  }

  /** End the feed. It can't be started again. */
  async stop() {
    this.#ending.abort();
    this.#present.abort();
    await this.#running;
  }

  async #start() {
    this.#since = await hubErrors('follow its changes', this.#database.sequence());
    this.#running = this.#run();
  }

  async #run() {
    for (let attempt = 0; !this.#ending.signal.aborted; attempt++) {
      const { signal } = this.#present = new AbortController();
      this.#opened = this.#clock.monotonic();
      try {
        for await (const page of this.#database.feed({ since: this.#since, selector: this.#selector, signal })) {
          attempt = 0;
          if (this.error) {
            this.error = null;
            this.onReconnected();
          }
          await this.#take(page);
        }
        this.error = new PeerPouchError('hub_unreachable', 'The hub ended the feed.');
      } catch (error) {
        if (signal.aborted) continue;
        this.error = asError(error);
        if (this.error.error === 'database_closed') return;
        if (this.#selector && NO_SELECTOR.has(this.error.status)) {
          this.#selector = null; // filtered here from now on
          continue;
        }
      }
      const ms = backoff(attempt, { first: FIRST_WAIT, most: LONGEST_WAIT, random: this.#random });
      await sleep(this.#clock, ms, signal).catch(() => {});
    }
  }

  /** @param {import('./database.js').Page} page */
  async #take({ results, last_seq }) {
    for (const change of results) {
      for (const listener of this.#listeners) {
        try {
          await listener(change);
        } catch (error) { // one bad document must not end the feed for all others
          console.error('peerpouch: a change of the hub could not be handled', change.id, error);
        }
      }
      if (this.#ending.signal.aborted) return;
    }
    this.#since = last_seq;
  }
}
