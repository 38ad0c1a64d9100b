/** Shares of a page's own. */

import { createApp } from './couchapi/app.js';
import { PeerPouchError } from './errors.js';
import { formatName } from './hub/names.js';
import { Invite } from './trust/invites.js';

/** @typedef {import('./hosting.js').Host} Host */

/** A database that this page shares. */
export class OwnShare {
  #host;
  #onSent;
  #door;

  /**
   * @param {{
   *   id: string, name: string, info: any, database: any, door: import('./hub/door.js').Door, host: Host,
   *   onSent?: (progress: any) => void,
   * }} parts
   */
  constructor({ id, name, info, database, door, host, onSent }) {
    this.#onSent = onSent;
    this.#host = host;
    this.#door = door;
    this.id = id;
    this.name = name;
    this.info = info;
    this.database = database;
    /** What others give to `new PouchDB()`. */
    this.dbname = formatName(id, host.meeting.label);
    /** Of one's own key, for others to compare. */
    this.fingerprint = host.meeting.identity.fingerprint;
  }

  get door() {
    return this.#door;
  }

  set door(door) {
    this.#door = door;
  }

  /**
   * Other rules from now on, as `shareDatabase` takes them; open connections keep to them at once. Requests under way end,
   * after which a live replication goes on under the new rules: from the beginning, if it may see more now.
   *
   * @param {any} [access]
   * @param {{ peers?: (Uint8Array | string)[], onRemote?: (event: any) => unknown }} [rules]
   * @returns {Promise<void>} Rejects with `share_not_found` when it is shared no more, and with `bad_request` or
   *   `invalid_selector` for rules that are none; then the old ones stay.
   */
  setAccess(access, { peers, onRemote } = {}) {
    return this.#host.change(this, { access, peers, onRemote });
  }

  /**
   * What serves the database to one peer.
   *
   * @param {import('./access/access.js').Access} access
   * @param {import('./hub/door.js').RemotePeer} peer
   */
  app(access, peer) {
    const onSent = (/** @type {any} */ progress) => {
      try {
        this.#onSent?.({ peer, ...progress });
      } catch (error) { // of the page; the reader is not to suffer from it
        console.error('onSent failed:', error);
      }
    };
    return createApp(this.database, { access, peer, name: this.name, clock: this.#host.meeting.clock, onSent });
  }

  /**
   * Make an invite: its text is all that somebody needs to open this share. A share that says nothing else about who may
   * come, is then for the invited alone.
   *
   * @param {{ once?: boolean, expires?: number, access?: any, hub?: string, credentials?: boolean }} [options] `once`: for
   *   the first key alone that uses it. `expires`: milliseconds. `access`: what it gives, if not what the share gives.
   *   `hub`: the hub's address, where the invited know it by another one. `credentials`: whether the name and password of
   *   the hub's URL are part of it.
   * @returns {Promise<Invite>}
   */
  async invite({ once = false, expires, access, hub, credentials = false } = {}) {
    const parts = {
      hub: hub ?? this.#host.addressForOthers(credentials),
      shareId: this.id,
      fingerprint: this.fingerprint,
      name: this.name,
    };
    // Made once without a token, so that what is wrong with it shows before anything is kept.
    await Invite.make(parts);
    const token = await this.#door.invitations.add({ once, expires: expires ?? null, access: access ?? null });
    return Invite.make({ ...parts, token });
  }

  /**
   * Make an invite useless for those who are not connected.
   *
   * @param {Invite | string} invite
   */
  async takeBack(invite) {
    const { token } = invite instanceof Invite ? invite : await Invite.parse(invite);
    if (!token) throw new PeerPouchError('not_found', 'This invite has no token.');
    await this.#door.invitations.takeBack(token);
  }

  /**
   * Share with a key no more: end what is under way for it, and refuse it from now on, after a reload too.
   *
   * @param {Uint8Array} key
   */
  async revoke(key) {
    await this.#door.invitations.revoke(key);
    this.#host.shutOut(this.id, key);
  }

  /**
   * Take a revocation back.
   *
   * @param {Uint8Array} key
   */
  async reinstate(key) {
    await this.#door.invitations.revoke(key, false);
  }
}
