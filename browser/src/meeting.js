/** A hub with its pool of connections: everything that a page shares and opens at one meeting place. */

import { orAborted, systemClock } from './clock.js';
import { PeerPouchError } from './errors.js';
import { HubClient } from './hub/client.js';
import { withoutCredentials } from './hub/names.js';
import { lazily } from './lazy.js';
import { CONNECT_TIMEOUT } from './peers/limits.js';
import { SharedDatabase } from './sharing.js';
import { Contacts } from './trust/contacts.js';
import { Identity, fingerprint } from './trust/identity.js';
import { enclose } from './trust/invites.js';

/**
 * @typedef {import('./peers/lease.js').Lease} Lease
 * @typedef {import('./trust/invites.js').Invite} Invite
 * @typedef {import('./owning.js').OwnShare} OwnShare
 *
 * @typedef {{
 *   identity?: Identity, contacts?: Contacts, iceServers?: RTCIceServer[] | (() => Promise<RTCIceServer[]>),
 *   iceTransportPolicy?: RTCIceTransportPolicy, clock?: import('./clock.js').Clock,
 *   RTCPeerConnection?: typeof RTCPeerConnection,
 * }} Options `identity`, `contacts`: by default those that the browser keeps. `iceTransportPolicy`: `relay` connects by TURN
 *   servers only, which hides one's address from peers.
 */

/** What makes connections. */
const connecting = lazily(() => import('./connecting.js'));

/** A share will be opened: what that needs is loaded while the hub is asked. */
export const prepare = () => void connecting().catch(() => {}); // who needs it is told

export class Meeting {
  #options;
  /** The pool, which who only looks what is shared does not need. */
  #connect = lazily(async () => {
    const { makePool } = await connecting();
    this.#checkOpen();
    this.pool = makePool(this.client, (asked) => this.#welcome(asked), this.#options);
    return this.pool;
  });
  /** What only a page needs that shares something. */
  #host = lazily(async () => {
    const loading = this.#connect().then((pool) => pool.reception());
    const [{ Host }, reception] = await Promise.all([import('./hosting.js'), loading]);
    return new Host(this, reception);
  });
  #isClosed = false;
  #leave = () => this.pool?.farewellAtOnce();

  /**
   * Use {@link join}.
   *
   * @param {any} database
   * @param {HubClient} client
   * @param {Required<Pick<Options, 'identity' | 'contacts' | 'clock'>> & Options} options
   */
  constructor(database, client, options) {
    const { identity, contacts, clock } = options;
    this.#options = options;
    this.database = database;
    this.client = client;
    this.identity = identity;
    this.contacts = contacts;
    this.clock = clock;
    /** What the hub is called in a `dbname`. */
    this.label = client.label;
    /** @type {Map<string, OwnShare>} What this page shares here, by the share's id. */
    this.own = new Map();
    /** @type {import('./peers/pool.js').Pool | null} Once something was opened or shared. */
    this.pool = null;
    globalThis.addEventListener?.('pagehide', this.#leave);
  }

  /**
   * Come to a hub, as a session of its own: two tabs see and open each other's shares.
   *
   * @param {any} database A PouchDB, which is not closed with the meeting.
   * @param {Options} [options]
   */
  static async join(database, options = {}) {
    const { clock = systemClock, contacts = Contacts.load() } = options;
    const identity = options.identity ?? (await Identity.load());
    const client = await HubClient.join(database, { identity, contacts, clock });
    return new Meeting(database, client, { ...options, identity, contacts, clock });
  }

  /** Withdraw what is shared, close all connections, and free everything. Harmless when closed. */
  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    globalThis.removeEventListener?.('pagehide', this.#leave);
    await this.client.close();
    await this.pool?.close();
    this.own.clear();
  }

  // Sharing: see `hosting.js`

  /**
   * See {@link import('./hosting.js').Host.share}.
   *
   * @param {any} database
   * @param {import('./hosting.js').ShareOptions} [options]
   */
  async shareDatabase(database, options) {
    this.#checkOpen();
    return (await this.#host()).share(database, options);
  }

  /**
   * See {@link import('./hosting.js').Host.unshare}.
   *
   * @param {any} database
   */
  async unshareDatabase(database) {
    this.#checkOpen();
    return (await this.#host()).unshare(database);
  }

  /** @type {import('./peers/pool.js').Welcome} */
  async #welcome(asked) {
    return (await this.#host()).welcome(asked);
  }

  // Finding and opening

  /**
   * The shares of others (and of one's own other tabs) that can be opened now.
   *
   * @param {{ onChange?: (share: SharedDatabase) => unknown }} [options] `onChange`: called, after this has returned, for
   *   every share that is new, changed or has gone (`deleted` is then true), until `cancel()` of the list.
   * @returns {Promise<SharedDatabase[] & { cancel: () => void }>} Rejects with `hub_unreachable`.
   */
  async getSharedDatabases({ onChange } = {}) {
    this.#checkOpen();
    const tell = onChange && (async (/** @type {import('./hub/client.js').Listed} */ share) => {
      await onChange(await this.#describe(share));
    });
    const found = await this.client.shares({ onChange: tell });
    const { cancel } = found;
    return Object.assign(await Promise.all(found.map((share) => this.#describe(share))), { cancel });
  }

  /** @param {import('./hub/client.js').Listed} share */
  async #describe(share) {
    return new SharedDatabase(share, await fingerprint(share.key), this);
  }

  /**
   * Open a share by its id: see `SharedDatabase.open`.
   *
   * @param {string} shareId
   * @param {{ info?: any, timeout?: number, confirm?: boolean, invite?: Invite }} [options]
   */
  async openShare(shareId, options = {}) {
    const lease = await this.lease(shareId, options);
    const PouchDB = this.database.constructor;
    return new PouchDB(`webrtc://${shareId}?hub=${encodeURIComponent(this.label)}`, { lease });
  }

  /**
   * A use of a share, which its owner let us in to.
   *
   * @param {string} shareId
   * @param {{ info?: any, timeout?: number, confirm?: boolean, invite?: Invite, signal?: AbortSignal }} [options] `invite`: the
   *   owner's key must be the one that it names, and its token goes with the offer.
   * @returns {Promise<Lease>}
   */
  async lease(shareId, { info = null, timeout = CONNECT_TIMEOUT, confirm = false, invite, signal } = {}) {
    this.#checkOpen();
    const [share, pool] = await orAborted(Promise.all([this.client.find(shareId), this.#connect()]), signal);
    const print = await fingerprint(share.key);
    if (invite && !invite.isFor(print)) {
      throw new PeerPouchError('identity_changed',
        `The owner's key of ${share.name} has the fingerprint ${print}, and the invite is of ${invite.fingerprint}. ` +
        'Ask for another invite, over a way that you trust.');
    }
    if (share.trust === 'changed' && !invite && !confirm) {
      throw new PeerPouchError('identity_changed',
        `The share ${share.name} was first opened under another key than ${print}. Compare this fingerprint with its ` +
        'owner over another way, and confirm it only if it is the same.');
    }
    const lease = await pool.open(shareId, { info: enclose(info, invite ?? null), timeout, signal });
    try {
      await this.contacts.remember(share.name, share.key, {
        scope: this.label, now: this.clock.now(), confirmed: confirm || Boolean(invite),
      });
    } catch (error) {
      lease.release();
      throw error;
    }
    return lease;
  }

  /**
   * What is known of the connection to the owner of a share that is open; null while there is none.
   *
   * @param {Uint8Array} key
   * @param {string} shareId
   */
  async stats(key, shareId) {
    const found = this.pool?.connectionFor(key, shareId);
    return (await found?.live()?.stats()) ?? null;
  }

  #checkOpen() {
    if (this.#isClosed) throw new PeerPouchError('database_closed', 'The hub was closed.');
  }
}
