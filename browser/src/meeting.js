/** A hub with its pool of connections: everything that a page shares and opens at one meeting place. */

import { orAborted, systemClock, within } from './clock.js';
import { PeerPouchError } from './errors.js';
import { Openings } from './hub/admission.js';
import { HubClient } from './hub/client.js';
import { withoutCredentials } from './hub/names.js';
import { CONNECT_TIMEOUT } from './peers/limits.js';
import { Pool } from './peers/pool.js';
import { SharedDatabase } from './sharing.js';
import { WebRTC } from './transport/webrtc.js';
import { toText } from './trust/bytes.js';
import { Contacts } from './trust/contacts.js';
import { Identity, fingerprint } from './trust/identity.js';
import { disclose, enclose } from './trust/invites.js';
import { Turns } from './turns.js';

/** Milliseconds that `onRemote` has: time to ask a person, and less than the hub and the opener wait. */
const DECIDE_WITHIN = 25_000;

/**
 * Asked for this browser's address as the internet sees it, when a connection is made. It learns that address and the
 * time, and nothing of peers, shares or data. `iceServers: []` turns it off.
 */
const ICE_SERVERS = [{ urls: 'stun:stun.l.google.com:19302' }];

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

export class Meeting {
  #turns = new Turns();
  #openings = new Openings();
  /** @type {Map<string, number>} How often each key was shut out of each share, as far as it ever was. */
  #revoked = new Map();
  #isClosed = false;
  #leave = () => this.pool.farewellAtOnce();

  /**
   * Use {@link join}.
   *
   * @param {any} database
   * @param {HubClient} client
   * @param {Required<Pick<Options, 'identity' | 'contacts' | 'clock'>> & Options} options
   */
  constructor(database, client, options) {
    const { identity, contacts, clock, iceServers = ICE_SERVERS, iceTransportPolicy = 'all' } = options;
    const { RTCPeerConnection } = options;
    this.database = database;
    this.client = client;
    this.identity = identity;
    this.contacts = contacts;
    this.clock = clock;
    /** What the hub is called in a `dbname`. */
    this.label = client.label;
    /** @type {Map<string, OwnShare>} What this page shares here, by the share's id. */
    this.own = new Map();
    this.pool = new Pool({
      address: client.address,
      hub: client,
      clock,
      transport: new WebRTC({
        clock, iceServers, policy: iceTransportPolicy, ...(RTCPeerConnection && { RTCPeerConnection }),
      }),
      welcome: (asked) => this.#welcome(asked),
    });
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
    await this.pool.close();
    this.own.clear();
  }

  // Sharing

  /**
   * Share a database; sharing it again changes what is given here.
   *
   * @param {any} database A PouchDB of this page.
   * @param {{
   *   name?: string, info?: any, access?: any, peers?: (Uint8Array | string)[], onRemote?: (event: any) => unknown,
   * }} [options] `name`: for people, 1 to 200 characters. `info`: any JSON of at most 8 KiB, for everybody who reads the
   *   hub. `access`: `'read-write'` (the default), `'read-only'`, `{ read, write, select, validate }`, or a function that
   *   gives one of them, or null to refuse, for a peer. `peers`: who may come: keys, fingerprints, names of contacts; `[]`
   *   for the invited only. `onRemote`: called for everybody who opens the share, before any connection is made; its
   *   event's `preventDefault(reason)` refuses.
   * @returns {Promise<OwnShare>} Rejects with `bad_request` or `hub_unreachable`.
   */
  async shareDatabase(database, { name = database.name, info = null, access, peers, onRemote } = {}) {
    this.#checkOpen();
    const { Access, Door, Invitations, OwnShare } = await import('./serving.js');
    const door = new Door(name, {
      access,
      peers,
      onRemote,
      invitations: new Invitations(database, this.clock),
      contacts: this.contacts,
      parse: Access.parse,
    });
    const uuid = await database.id();
    return this.#turns.take(async () => {
      const id = await this.client.shareId(uuid);
      const share = new OwnShare({ id, name, info, database, door, meeting: this });
      const before = this.own.get(id);
      this.own.set(id, share); // served before it is published: whoever finds it can open it
      try {
        await this.client.publish({ uuid, name, info, decide: this.pool.decide });
      } catch (error) {
        if (before) this.own.set(id, before);
        else this.own.delete(id);
        throw error;
      }
      // Those who were let in by other rules ask again, and go on if the new ones let them.
      if (before) this.pool.revoke(id);
      return share;
    });
  }

  /**
   * Share a database no more: withdraw it, and close what is connected for it.
   *
   * @param {any} database What was given to {@link shareDatabase}, or what that gave.
   */
  async unshareDatabase(database) {
    this.#checkOpen();
    await this.#turns.take(async () => {
      const share = [...this.own.values()].find((own) => own === database || own.database === database);
      if (!share) throw new PeerPouchError('share_not_found', 'That database is not shared by this page at this hub.');
      this.own.delete(share.id);
      this.pool.revoke(share.id);
      await this.client.withdraw(share.id);
    });
  }

  /**
   * End what is under way for a key that was shut out of a share, and let it not in if it is just being decided on.
   *
   * @param {string} id
   * @param {Uint8Array} key
   */
  shutOut(id, key) {
    const who = `${id} ${toText(key)}`;
    this.#revoked.set(who, (this.#revoked.get(who) ?? 0) + 1);
    this.pool.revoke(id, key);
  }

  /**
   * The hub's address as an invite carries it.
   *
   * @param {boolean} credentials
   */
  addressForOthers(credentials) {
    return credentials ? this.database.name : withoutCredentials(this.database.name);
  }

  /** @type {import('./peers/pool.js').Welcome} */
  async #welcome({ peer, share, info, signal }) {
    const own = this.own.get(share);
    if (!own) throw new PeerPouchError('share_not_found', 'No such share is here.');
    const { key, session } = peer;
    const contact = await this.contacts.nameOf(key).catch(() => null); // damaged contacts do not close the door
    const remote = { key, session, fingerprint: await fingerprint(key), contact };
    const told = disclose(info);
    const who = `${share} ${toText(key)}`;
    const revoked = this.#revoked.get(who);
    // Asked again whenever it matters: there are waits from here until the peer is let in.
    const serves = () => this.own.get(share) === own && this.#revoked.get(who) === revoked;
    const decide = async () => {
      const grant = await own.door.decide(remote, share, told.info, told.token);
      return own.door.accessOf(grant);
    };
    const inTime = () => within(this.clock, DECIDE_WITHIN, decide, signal);
    const access = await this.#openings.enter(toText(key), inTime).catch((error) => {
      if (error.error !== 'timeout') throw error;
      throw new PeerPouchError('forbidden', 'The other side did not decide in time.');
    });
    if (!serves()) throw new PeerPouchError('share_not_found', 'No such share is here, or not for you any more.');
    const { handler, revoke } = own.app(access, remote);
    return { info: own.info, handler, revoke, serves };
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
    const share = await orAborted(this.client.find(shareId), signal);
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
    const lease = await this.pool.open(shareId, { info: enclose(info, invite ?? null), timeout, signal });
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
    const found = this.pool.connectionFor(key, shareId);
    return (await found?.live()?.stats()) ?? null;
  }

  #checkOpen() {
    if (this.#isClosed) throw new PeerPouchError('database_closed', 'The hub was closed.');
  }
}
