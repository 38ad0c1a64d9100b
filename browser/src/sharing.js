/** Shares as a page sees them: its own, and those of others. */

import { PeerPouchError } from './errors.js';
import { formatName } from './hub/names.js';
import { Invite } from './trust/invites.js';

/**
 * @typedef {import('./meeting.js').Meeting} Meeting
 * @typedef {import('./hub/client.js').Listed} Listed
 */

/** Somebody's share, as a hub lists it; its signature was verified. */
export class SharedDatabase {
  #meeting;

  /**
   * @param {Listed} share
   * @param {string} fingerprint
   * @param {Meeting} meeting
   */
  constructor(share, fingerprint, meeting) {
    this.#meeting = meeting;
    /** The same as long as its owner and its database are. */
    this.id = share.id;
    /** For people, as its owner calls it. */
    this.name = share.name;
    /** Any JSON of its owner's. */
    this.info = share.info;
    /** The owner's key. */
    this.key = share.key;
    /** Of that key: compare it with what the owner shows. */
    this.fingerprint = fingerprint;
    /** The user's own name for that key, or null. */
    this.contact = share.contact;
    /** `contact`, `seen`, `new` or `changed`: what is known of that key. */
    this.trust = share.trust;
    /** What `new PouchDB()` takes. */
    this.dbname = formatName(share.id, meeting.label);
    /** Whether this tells that the share was withdrawn, or that its owner has gone. */
    this.deleted = share.deleted;
  }

  /**
   * Connect to the owner, who may refuse.
   *
   * @param {{ info?: any, timeout?: number, confirm?: boolean }} [options] `info`: any JSON for the owner's `onRemote`.
   *   `timeout`: milliseconds, for connecting now and after a loss. `confirm`: open it also if its name was first opened
   *   under another key, and remember this key.
   * @returns {Promise<any>} A PouchDB. Rejects with `identity_changed`, `share_not_found`, `forbidden`, `peer_unreachable`,
   *   `hub_unreachable`, `invalid_signal` or `clock_skew`.
   */
  open(options) {
    return this.#meeting.openShare(this.id, options);
  }

  /**
   * One attachment as a stream, with a connection that is kept as long as it takes.
   *
   * @param {string} id
   * @param {string} attachment
   * @param {import('./download.js').DownloadOptions & { info?: any, confirm?: boolean }} [options]
   */
  async download(id, attachment, options = {}) {
    const { info, confirm, ...rest } = options;
    const remote = await this.open({ info, confirm });
    try {
      const download = await remote.download(id, attachment, rest);
      const [body, done] = watched(download.body);
      download.body = body;
      void done.finally(() => remote.close());
      return download;
    } catch (error) {
      await remote.close();
      throw error;
    }
  }

  /** What is known of the connection to the owner; null while there is none. */
  stats() {
    return this.#meeting.stats(this.key, this.id);
  }
}

/**
 * The same stream, and when it has ended.
 *
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {[ReadableStream<Uint8Array>, Promise<void>]}
 */
function watched(stream) {
  const reader = stream.getReader();
  const body = new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  return [body, reader.closed.catch(() => {})];
}

/** A database that this page shares. */
export class OwnShare {
  #meeting;
  #door;

  /**
   * @param {{ id: string, name: string, info: any, database: any, door: any, meeting: Meeting }} parts
   */
  constructor({ id, name, info, database, door, meeting }) {
    this.#meeting = meeting;
    this.#door = door;
    this.id = id;
    this.name = name;
    this.info = info;
    this.database = database;
    /** What others give to `new PouchDB()`. */
    this.dbname = formatName(id, meeting.label);
    /** Of one's own key, for others to compare. */
    this.fingerprint = meeting.identity.fingerprint;
  }

  get door() {
    return this.#door;
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
      hub: hub ?? this.#meeting.addressForOthers(credentials),
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
    this.#meeting.pool.revoke(this.id, key);
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
