/**
 * The invites of one database, and the keys that were shut out of it: kept with the database, tokens as hashes.
 *
 * They are the `_local` document that the Python side uses too; it is never replicated, and no visitor reaches it:
 *
 *     _local/peerpouch-invites  {"invites": [{"hash", "once", "expires": ms or null, "access": {…} or null,
 *                                             "key": … or null, "made": ms}, …], "revoked": ["<whole key>", …]}
 */

import { PeerPouchError } from '../errors.js';
import { Turns } from '../turns.js';
import { concat, equal, hex, randomBytes, sha256, toText, utf8 } from './bytes.js';
import { TOKEN_SIZE } from './invites.js';

/** @typedef {import('../clock.js').Clock} Clock */
/**
 * @typedef {object} Entry
 * @property {string} hash
 * @property {boolean} once
 * @property {number | null} expires
 * @property {any} access
 * @property {string | null} key
 * @property {number} made
 */

export const DOC_ID = '_local/peerpouch-invites';

/** Each is some 250 bytes of a document that is read at every opening. */
const MAX_INVITES = 1000;
const MAX_REVOKED = 1000;
/** Tries of a change that other tabs' changes get in the way of. */
const ATTEMPTS = 8;

const UNKNOWN = 'This invite is not valid any more: it was withdrawn, or has run out. Ask for another one.';
const TAKEN = 'This invite was made for one person, and somebody else has used it already. Ask for another one.';

/** A token has 128 random bits, so its hash needs neither salt nor work. @param {Uint8Array} token */
const hashOf = async (token) => hex(await sha256(concat(utf8('peerpouch token 1\0'), token)));

/** @param {Entry} entry @param {number} now */
const isOver = (entry, now) => entry.expires !== null && entry.expires !== undefined && now >= entry.expires;

/** @param {any} doc @returns {Entry[]} */
const invitesOf = (doc) => (Array.isArray(doc.invites) ? doc.invites : []);

/** All are compared, each in constant time, so that the time tells nothing. @param {any} doc @param {string} hash */
function find(doc, hash) {
  const wanted = utf8(hash);
  return invitesOf(doc).reduce((/** @type {Entry | null} */ found, entry) =>
    (equal(utf8(String(entry.hash)), wanted) ? entry : found), null);
}

export class Invitations {
  #database;
  #clock;
  #turns = new Turns();

  /** @param {any} database The owner's PouchDB. @param {Clock} clock When invites run out. */
  constructor(database, clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Whether there ever was an invite: then the database is for the invited. */
  async any() {
    return invitesOf(await this.#read()).length > 0;
  }

  /**
   * Make a token.
   *
   * @param {{once?: boolean, expires?: number | null, access?: any}} [options] `once`: for the first key alone that
   *   uses
   *   it; `expires`: milliseconds; `access`: what it gives, JSON, or null for what the share gives.
   * @returns {Promise<Uint8Array<ArrayBuffer>>} 16 bytes.
   * @throws {PeerPouchError} `bad_request`
   */
  async add({ once = false, expires = null, access = null } = {}) {
    if (expires !== null && !(expires > 0)) {
      throw new PeerPouchError('bad_request', 'An invite is valid for more than no time.');
    }
    const token = randomBytes(TOKEN_SIZE);
    const now = Math.round(this.#clock.now());
    const until = expires === null || expires === Infinity ? null : now + Math.round(expires);
    const entry = { hash: await hashOf(token), once, expires: until, access, key: null, made: now };
    await this.#change((doc) => {
      // One that ran out stays while there is room: the share must not open up to everybody when the last is gone.
      doc.invites = [...invitesOf(doc), entry];
      if (doc.invites.length > MAX_INVITES) {
        const expired = doc.invites.findIndex((/** @type {Entry} */ each) => isOver(each, now));
        if (expired < 0) throw new PeerPouchError('bad_request', `There are ${MAX_INVITES} invites already.`);
        doc.invites.splice(expired, 1);
      }
      return true;
    });
    return token;
  }

  /**
   * What a token gives to a key; null for what the share gives. A token for one binds itself to the key, durably,
   * before this returns.
   *
   * @param {Uint8Array} token @param {Uint8Array} key
   * @throws {PeerPouchError} `forbidden` if it is unknown, has run out, or is bound to another key.
   */
  async redeem(token, key) {
    const hash = await hashOf(token);
    const text = toText(key);
    let access = null;
    await this.#change((doc) => {
      const entry = find(doc, hash);
      if (!entry || isOver(entry, this.#clock.now())) throw new PeerPouchError('forbidden', UNKNOWN);
      const bound = entry.key ?? null;
      if (bound !== null && bound !== text) throw new PeerPouchError('forbidden', TAKEN);
      access = entry.access ?? null;
      if (!entry.once || bound !== null) return false;
      entry.key = text;
      return true;
    });
    return access;
  }

  /** Make a token useless; throws `not_found` if there is no such one. @param {Uint8Array} token */
  async takeBack(token) {
    const hash = await hashOf(token);
    await this.#change((doc) => {
      const entry = find(doc, hash);
      if (!entry) throw new PeerPouchError('not_found', 'There is no such invite.');
      entry.expires = 0;
      return true;
    });
  }

  /** Whether a key was shut out. @param {Uint8Array} key @returns {Promise<boolean>} */
  async isRevoked(key) {
    return ((await this.#read()).revoked ?? []).includes(toText(key));
  }

  /** Shut a key out, or let it in again. @param {Uint8Array} key @param {boolean} [revoked] */
  async revoke(key, revoked = true) {
    const text = toText(key);
    await this.#change((doc) => {
      const others = (doc.revoked ?? []).filter((/** @type {string} */ each) => each !== text);
      if (revoked && others.length >= MAX_REVOKED) {
        throw new PeerPouchError('bad_request',
          `${MAX_REVOKED} keys are shut out already: share with named peers instead.`);
      }
      doc.revoked = revoked ? [...others, text] : others;
      return true;
    });
  }

  async #read() {
    try {
      return await this.#database.get(DOC_ID);
    } catch (error) {
      if (/** @type {any} */ (error).status !== 404) throw error;
      return { _id: DOC_ID };
    }
  }

  /**
   * One after another within a tab, since not every adapter checks revisions of `_local` documents against writes at
   * the same moment; among tabs the revision decides.
   *
   * @param {(doc: any) => boolean} update Changes the document in place; whether it is to be written.
   */
  #change(update) {
    return this.#turns.take(() => this.#try(update));
  }

  /** @param {(doc: any) => boolean} update */
  async #try(update) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const doc = await this.#read();
      if (!update(doc)) return;
      try {
        await this.#database.put(doc);
        return;
      } catch (error) {
        if (/** @type {any} */ (error).status !== 409) throw error;
      }
    }
    throw new PeerPouchError('conflict', 'The invites are being changed by others all the time.');
  }
}
