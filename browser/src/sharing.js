/** Shares of others, as a page sees them. */

import { formatName } from './hub/names.js';

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
      void download.over.then(() => remote.close());
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
