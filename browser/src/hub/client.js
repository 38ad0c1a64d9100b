/**
 * A hub, to this page: shares published and found, offers sent and answered.
 *
 * Every client is a session of its own, with fresh keys: what was sealed to the last one is lost on the next. So two
 * tabs of one browser are two addresses, and can share with each other.
 */

import { systemClock, within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { equal } from '../trust/bytes.js';
import { Contacts } from '../trust/contacts.js';
import { HubSession } from '../trust/proofs.js';
import { Caller } from './caller.js';
import { hubDatabase } from './database.js';
import { Directory } from './directory.js';
import { Feed } from './feed.js';
import { withoutCredentials } from './names.js';
import * as shares from './shares.js';
import * as signals from './signals.js';

/** @typedef {import('../clock.js').Clock} Clock */
/** @typedef {import('./database.js').Change} Change */
/** @typedef {import('../trust/identity.js').Identity} Identity */
/** @typedef {import('./answerer.js').Decide} Decide */
/** @typedef {import('./owner.js').Owner} Owner */
/**
 * A share as a hub lists it, with what is known of its owner.
 *
 * @typedef {import('./shares.js').Share & {contact: string | null, trust: import('../trust/contacts.js').Trust}} Listed
 */
/**
 * @typedef {object} Options
 * @property {Identity} identity In whose name.
 * @property {Contacts} [contacts] To name and judge others; by default none are known.
 * @property {Clock} [clock]
 * @property {number} [lease] Seconds that a share lives without renewal; it is renewed three times as often.
 * @property {number} [decideWithin] Milliseconds that `decide` has.
 * @property {() => number} [random] From 0 to 1, for jitter; never for keys.
 */

/** Milliseconds that closing spends on taking shares back; a hub that is gone must not keep a page. */
const CLOSE_WITHIN = 5000;

export class HubClient {
  #identity;
  #contacts;
  #clock;
  #feed;
  #directory;
  #loadOwner;
  /** @type {Owner | undefined} */
  #owner;
  #caller;
  #closed = false;
  #online = () => this.#feed.doubt();
  /** A page that comes back from where browsers keep those that were left, finds its shares gone and publishes again. */
  #leave = () => this.#owner?.publisher.farewell();

  /**
   * Use {@link join}: keys take a moment to make.
   *
   * @param {any} pouch @param {import('./database.js').HubDatabase} database @param {HubSession} session
   * @param {Options} options
   */
  constructor(pouch, database, session, options) {
    const { identity, contacts = new Contacts(), clock = systemClock, random = Math.random } = options;
    const { key, replyTo } = session;
    this.#identity = identity;
    this.#contacts = contacts;
    this.#clock = clock;
    this.#feed = new Feed(database, clock, feedSelector(key.id, replyTo), random);
    this.#directory = new Directory(database, clock, this.#feed, key.id);
    // Who only opens shares never loads what owners need.
    this.#loadOwner = async () => {
      const { Owner } = await import('./owner.js');
      // A public hub tidies up by itself.
      const all = { ...options, identity, contacts, clock, random };
      this.#owner ??= new Owner(database, key, all, !session.isAskedFor);
      return this.#owner;
    };
    this.#caller = new Caller(database, clock, this.#feed, this.#directory, identity, key.id, replyTo);
    this.#feed.listen((change) => this.#changed(change));
    this.#feed.onReconnected = () => this.#owner?.publisher.renewNow();
    globalThis.addEventListener?.('online', this.#online);
    globalThis.addEventListener?.('pagehide', this.#leave);
    /** This session's own address. */
    this.address = Object.freeze({ key: identity.key, session: key.id });
    /** What the hub is called in a `dbname`, and what names are unique in. */
    this.label = withoutCredentials(pouch.name);
  }

  /**
   * A new session at a hub.
   *
   * @param {any} pouch The hub: a PouchDB, which is not closed with the client.
   * @param {Options} options
   * @param {HubSession} [session] Fresh unless given; tests know its key.
   */
  static async join(pouch, options, session) {
    session ??= await HubSession.make();
    const database = await hubDatabase(pouch, options.clock ?? systemClock, session);
    return new HubClient(pouch, database, session, options);
  }

  /** A peer was lost, perhaps with this machine's network: see whether the hub's feed still stands. */
  doubt() {
    this.#feed.doubt();
  }

  /** How many share and signal documents of this hub were refused so far. */
  get invalidDocuments() {
    return this.#directory.invalid + (this.#owner?.answerer.refusedSignals ?? 0);
  }

  /** The id under which this identity shares a database. @param {string} uuid */
  async shareId(uuid) {
    const { key } = this.#identity;
    return shares.shareId(key, await shares.databaseDigest(key, uuid));
  }

  /**
   * Share a database, or change the name, info and `decide` of one that is shared.
   *
   * @param {object} share
   * @param {string} share.uuid What identifies the database; it does not leave this page.
   * @param {string} share.name For people: 1 to 200 characters, no controls.
   * @param {any} [share.info] Any JSON of at most 8 KiB.
   * @param {Decide} share.decide Decides on every opening.
   * @returns {Promise<{id: string, withdraw: () => Promise<void>}>} Rejects with `bad_request` if name or info is not
   *   allowed, `hub_unreachable` if the hub can't be read or written.
   */
  async publish({ uuid, name, info = null, decide }) {
    this.#checkOpen();
    const { key } = this.#identity;
    const digest = await shares.databaseDigest(key, uuid);
    const id = await shares.shareId(key, digest);
    await this.#feed.start();
    const owner = await this.#loadOwner();
    this.#checkOpen(); // it may have been closed meanwhile
    await owner.publish(id, digest, name, info, decide);
    return { id, withdraw: () => this.withdraw(id) };
  }

  /**
   * Take a share back; harmless if it is not shared. Connections are not the hub's to close. Rejects with
   * `hub_unreachable` if the hub can't be written: the lease then runs out, and nobody is let in.
   *
   * @param {string} shareId
   */
  async withdraw(shareId) {
    this.#owner?.answerer.forget(shareId);
    await this.#owner?.publisher.withdraw(shareId);
  }

  /** What this session shares. */
  published() {
    return this.#owner?.publisher.all() ?? [];
  }

  /**
   * The living shares of this hub, except this session's own.
   *
   * @param {{onChange?: (share: Listed) => void | Promise<void>}} [options] `onChange` is called, after this has
   *   returned, for every share that is new, says something else, or was withdrawn or ran out (`deleted` is then true),
   *   one call at a time, until `cancel()` of the list.
   * @returns {Promise<Listed[] & {cancel: () => void}>} Rejects with `hub_unreachable` if the hub can't be read.
   */
  async shares({ onChange } = {}) {
    this.#checkOpen();
    const tell = onChange && (async (/** @type {shares.Share} */ share) => {
      await onChange(this.#describe(share, await this.#book()));
    });
    const { found, cancel } = await this.#directory.shares(tell);
    const book = await this.#book();
    return Object.assign(found.map((share) => this.#describe(share, book)), { cancel });
  }

  /**
   * A share that can be opened, the own session's too.
   *
   * @param {string} shareId
   * @returns {Promise<Listed>} Rejects with `share_not_found`, `clock_skew` or `hub_unreachable`.
   */
  async find(shareId) {
    this.#checkOpen();
    return this.#describe(await this.#caller.find(shareId), await this.#book());
  }

  /**
   * Send an offer's body to the share's owner, and wait for the answer's body.
   *
   * @param {string} shareId @param {any} body Any JSON.
   * @param {{timeout: number, signal?: AbortSignal}} options Milliseconds; what gives it up.
   * @returns {Promise<any>} Rejects with `share_not_found`; `forbidden` and what else the owner refuses with;
   *   `peer_unreachable` without an answer in time; `hub_unreachable`, `invalid_signal`, `clock_skew`.
   */
  async signal(shareId, body, options) {
    this.#checkOpen();
    return this.#caller.call(shareId, body, options);
  }

  /** Withdraw what is shared, as far as the hub is there, and end everything. Harmless when closed. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    globalThis.removeEventListener?.('online', this.#online);
    globalThis.removeEventListener?.('pagehide', this.#leave);
    this.#owner?.answerer.close();
    this.#owner?.collector?.close();
    this.#directory.close();
    const withdraw = async () => {
      await Promise.all(this.published().map(({ id }) => this.withdraw(id)));
    };
    await within(this.#clock, CLOSE_WITHIN, withdraw).catch((error) =>
      console.debug('peerpouch: not every share could be withdrawn; they run out:', error));
    this.#owner?.publisher.close();
    await this.#caller.close();
    await this.#feed.stop();
  }

  /** @param {Change} change */
  async #changed(change) {
    if (change.id.startsWith(shares.PREFIX)) {
      await this.#owner?.publisher.changed(change);
      await this.#directory.changed(change);
      this.#caller.shareChanged(change.id.slice(shares.PREFIX.length));
    } else if (change.id.startsWith(signals.PREFIX)) {
      await this.#owner?.answerer.changed(change);
      await this.#caller.signalChanged(change);
    }
  }

  /** @returns {Promise<import('../trust/contacts.js').Book>} */
  #book() {
    return this.#contacts.book().catch((error) => { // the listing goes on; opening says what is wrong
      console.error('peerpouch: the contacts can not be read:', error);
      return new Contacts().book();
    });
  }

  /** @param {shares.Share} share @param {import('../trust/contacts.js').Book} book @returns {Listed} */
  #describe(share, book) {
    const own = equal(share.key, this.#identity.key);
    const trust = own ? 'seen' : book.judge(share.name, share.key, this.label);
    return { ...share, contact: book.nameOf(share.key), trust };
  }

  #checkOpen() {
    if (this.#closed) throw new PeerPouchError('hub_unreachable', 'The hub was closed.');
  }
}

/** The Mango selector of a session's feed: all shares, the signals for it, and the answers to its own.
 * @param {string} session @param {string} replyTo */
export const feedSelector = (session, replyTo) => ({
  $or: [
    { _id: { $gte: shares.PREFIX, $lte: shares.LAST } },
    { _id: { $gte: signals.firstId(session), $lte: signals.lastId(session) } },
    { reply_to: { $eq: replyTo } },
  ],
});
