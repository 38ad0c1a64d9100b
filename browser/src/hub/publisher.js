/**
 * Publishing shares, keeping their leases alive, and withdrawing them.
 *
 * A share has one document, whichever of its owner's sessions serves it. Publishing takes the document over, so an
 * owner that restarts takes its own place back at once. A session whose document was taken over by another living
 * session of the same key stands by: it renews nothing, and publishes again when the other withdraws or runs out. So
 * two tabs that share one database are one share, served by the later of them, and by the other when that one has gone.
 */

import { backoff, orAborted, sleep } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { Turns } from '../turns.js';
import { toDocument } from './announcing.js';
import { hubErrors } from './errors.js';
import { Leases } from './leases.js';
import * as shares from './shares.js';

/** @typedef {import('./database.js').Change} Change */
/**
 * A share of this session.
 *
 * @typedef {object} Publication
 * @property {string} id
 * @property {Uint8Array} database The digest of key and uuid.
 * @property {string} name @property {any} info As published.
 * @property {boolean} serving Whether the hub's document is this session's; otherwise another session of the same key
 *   serves it.
 * @property {string | undefined} rev The revision last written or seen.
 */

/** Milliseconds; a third of the lease. */
const RENEW_EVERY = 30_000;
/** Milliseconds between a change that concerns a share of ours and our reaction: whoever deletes it again and again makes
 * us write once a second, not more. */
const CALM = 1000;
const FIRST_WAIT = 1000;
/** How often a write that meets another's is tried anew. They meet only when two sessions take over at one moment. */
const ATTEMPTS = 5;

/** @param {any} error */
const isConflict = (error) => error.status === 409 || error.status === 404;

export class Publisher {
  #database;
  #clock;
  #identity;
  #session;
  #random;
  #lease;
  #every;
  /** @type {Map<string, Publication>} */
  #publications = new Map();
  #others = new Leases();
  #renewal = 0;
  #turns = new Turns(); // publishing, renewing and withdrawing one after another
  /** Shares whose document somebody changed. @type {Set<string>} */
  #disturbed = new Set();
  #wake = () => {};
  #ending = new AbortController();
  #running = false;

  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock
   * @param {import('../trust/identity.js').Identity} identity @param {import('../trust/sealing.js').SessionKey} session
   * @param {() => number} random @param {number} lease Seconds.
   */
  constructor(database, clock, identity, session, random, lease) {
    this.#database = database;
    this.#clock = clock;
    this.#identity = identity;
    this.#session = session;
    this.#random = random;
    this.#lease = lease;
    this.#every = Math.min(RENEW_EVERY, 1000 * lease / 3);
  }

  /** A share of ours. @param {string} shareId */
  get(shareId) {
    return this.#publications.get(shareId);
  }

  /** All shares of ours. */
  all() {
    return [...this.#publications.values()];
  }

  /**
   * Publish a share, or its new name and info if it is published already.
   *
   * @param {string} id @param {Uint8Array} database @param {string} name @param {any} info
   * @returns {Promise<Publication>} Rejects with `hub_unreachable` if the hub can't be written.
   */
  async publish(id, database, name, info) {
    const publication = await this.#turns.take(async () => {
      /** @type {Publication} */
      const made = { id, database, name, info, serving: false, rev: undefined };
      await hubErrors('publish a share', (async () => this.#takeOver(made, await this.#current(id)))());
      this.#publications.set(id, made);
      return made;
    });
    if (!this.#running) {
      this.#running = true;
      this.#run().catch(() => {});
    }
    return publication;
  }

  /** Take a share back. One that another session serves stays that one's. @param {string} shareId */
  withdraw(shareId) {
    return this.#turns.take(async () => {
      const publication = this.#publications.get(shareId);
      if (!publication) return;
      this.#publications.delete(shareId);
      this.#others.forget(shareId);
      await hubErrors('withdraw a share', this.#takeBack(publication));
    });
  }

  /** @param {Publication} publication */
  async #takeBack(publication) {
    for (let attempt = 0; attempt < ATTEMPTS && publication.serving && publication.rev; attempt++) {
      try {
        await this.#database.remove(shares.PREFIX + publication.id, publication.rev);
        return;
      } catch (error) {
        if (!isConflict(error)) throw error;
        const document = await this.#current(publication.id);
        publication.rev = document?._rev;
        publication.serving = document && await this.#isMine(document);
      }
    }
  }

  /** The page is being left: take back what is shared, as far as that works without waiting. */
  farewell() {
    for (const { id, rev, serving } of this.all()) {
      if (serving && rev) this.#database.removeAtOnce(shares.PREFIX + id, rev);
    }
  }

  /** Stop renewing. What was not withdrawn runs out. */
  close() {
    this.#ending.abort();
  }

  /** Renew every share now: the hub is back. */
  renewNow() {
    for (const id of this.#publications.keys()) this.#disturb(id);
  }

  /** Note a change of the hub: somebody may have replaced or deleted a share of ours. @param {Change} change */
  async changed({ id, deleted, doc }) {
    const publication = this.#publications.get(id.slice(shares.PREFIX.length));
    if (!publication) return;
    if (deleted || !doc || (publication.serving && !(await this.#isMine(doc)))) this.#disturb(publication.id);
  }

  /** @param {string} id */
  #disturb(id) {
    this.#disturbed.add(id);
    this.#wake();
  }

  async #run() {
    const { signal } = this.#ending;
    let attempt = 0;
    let due = this.#clock.monotonic() + this.#pause();
    for (;;) {
      const disturbed = await this.#disturbedBefore(due, signal);
      try {
        await this.#turns.take(async () => {
          if (disturbed) return this.#settleDisturbed();
          await this.#renew(this.all());
          due = this.#clock.monotonic() + this.#pause();
        });
        attempt = 0;
      } catch (error) {
        signal.throwIfAborted();
        if (/** @type {any} */ (error).error === 'database_closed') return;
        console.debug('peerpouch: shares could not be renewed:', error);
        due = this.#clock.monotonic() +
          backoff(attempt++, { first: FIRST_WAIT, most: this.#every, random: this.#random });
        if (disturbed) await this.#waitUntil(due, signal);
      }
    }
  }

  /** Milliseconds to the next renewal: up to a tenth early by chance, so that a thousand owners do not all renew in the
   * same second. */
  #pause() {
    return this.#every * (1 - this.#random() / 10);
  }

  /** Wait until a share was disturbed, or until it is time to renew; whether it was the former.
   * @param {number} due @param {AbortSignal} signal */
  async #disturbedBefore(due, signal) {
    if (!this.#disturbed.size) {
      let cancel = () => {};
      const woken = new Promise((/** @type {(value: void) => void} */ resolve) => {
        this.#wake = resolve;
        cancel = this.#clock.timer(Math.max(0, due - this.#clock.monotonic()), resolve);
      });
      await orAborted(woken, signal).finally(cancel);
    }
    if (this.#clock.monotonic() >= due || !this.#disturbed.size) return false;
    await sleep(this.#clock, CALM, signal);
    return true;
  }

  /** @param {number} time @param {AbortSignal} signal */
  #waitUntil(time, signal) {
    return sleep(this.#clock, time - this.#clock.monotonic(), signal);
  }

  async #settleDisturbed() {
    const disturbed = this.#disturbed;
    this.#disturbed = new Set();
    try {
      await this.#renew(this.all().filter(({ id }) => disturbed.has(id)));
    } catch (error) {
      for (const id of disturbed) this.#disturbed.add(id);
      throw error;
    }
  }

  /** @param {Publication[]} publications */
  async #renew(publications) {
    const serving = publications.filter((publication) => publication.serving);
    const waiting = publications.filter((publication) => !publication.serving);
    let failed;
    if (serving.length) {
      const documents = [];
      for (const publication of serving) documents.push(await this.#document(publication));
      const results = await this.#database.bulk(documents);
      for (const [place, publication] of serving.entries()) {
        const { rev, error } = results[place] ?? {};
        if (rev) publication.rev = rev;
        else if (isConflict(error)) waiting.push(publication);
        else failed = error ?? new PeerPouchError('protocol_error', 'The hub did not say what became of a renewal.');
      }
    }
    for (const publication of waiting) await this.#settle(publication);
    if (failed) throw failed;
  }

  /** The document is not what we wrote last: stand by if another session of ours lives there, else take over.
   * @param {Publication} publication */
  async #settle(publication) {
    const document = await this.#current(publication.id);
    publication.serving = false;
    if (document && !(await this.#isMine(document)) && await this.#lives(document)) return;
    await this.#takeOver(publication, document);
  }

  /** @param {any} document */
  async #lives(document) {
    const share = await shares.fromDocument(document).catch(() => null);
    if (!share) return false;
    const known = this.#others.get(share.id);
    if (known?.session === share.session && share.renewal < known.renewal) return false; // an older one, played back
    const monotonic = this.#clock.monotonic();
    this.#others.observe(share, monotonic);
    return this.#others.judge(share.id, { monotonic, now: this.#clock.now() }) !== 'expired';
  }

  /** @param {Publication} publication @param {any} document What is there. */
  async #takeOver(publication, document) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      publication.rev = document?._rev;
      try {
        publication.rev = await this.#database.put(await this.#document(publication));
        publication.serving = true;
        return;
      } catch (error) {
        if (/** @type {any} */ (error).status !== 409) throw error;
        document = await this.#current(publication.id);
      }
    }
    throw new PeerPouchError('hub_unreachable',
      'The share\'s document is being replaced by somebody else again and again.');
  }

  /** @param {string} shareId */
  #current(shareId) {
    return this.#database.look(shares.PREFIX + shareId);
  }

  /** Whether it is this session's, and not altered by somebody. @param {any} document */
  async #isMine(document) {
    const share = await shares.fromDocument(document).catch(() => null);
    return share?.session === this.#session.id;
  }

  /** @param {Publication} publication */
  async #document({ database, name, info, rev }) {
    const document = await toDocument(this.#identity, this.#session, { database, name, info, lease: this.#lease,
      renewal: ++this.#renewal, now: Math.round(this.#clock.now()) });
    return rev ? { ...document, _rev: rev } : document;
  }
}
