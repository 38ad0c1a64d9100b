/**
 * What somebody may do with a shared database: a pure policy, asked by the gate.
 *
 * Everything that can be done is an action, and administration is none of them: it stays with the page that shares.
 */

import { PeerPouchError } from '../errors.js';
import { lazily } from '../lazy.js';
import { isObject } from '../values.js';

/**
 * `describe`: what tells of the database but not of its documents' content, for whoever may read or write. `own`:
 * what touches nothing but the visitor's own, its `_local` documents.
 *
 * @typedef {'describe' | 'read' | 'query' | 'write' | 'own'} Action
 */

/**
 * Judges a document that a visitor writes; refuses by giving `false` or throwing. `leaves` are those of the document's
 * leaves that the visitor may see, `peer` is who writes.
 *
 * @typedef {(doc: Record<string, any>, leaves: Record<string, any>[], peer: any) => any} Validate
 */

/**
 * @typedef {object} AccessOptions
 * @property {boolean} [read] Documents, attachments, changes and queries; by default true.
 * @property {boolean} [write] Documents and attachments, but not design documents; by default true.
 * @property {Record<string, any>} [select] A Mango selector of the documents that are shared: others are as if they
 *   were not there, and what is written must match too.
 * @property {Validate} [validate]
 * @property {unknown[]} [peers] Who may come: public keys, fingerprints, names of contacts. Without it: anybody.
 * @property {boolean | string[]} [queries] Whether queries are answered; or the views that may be asked, `ddoc/view`,
 *   and `_find` for Mango.
 */

const REFUSALS = {
  describe: 'This database is not shared with you.',
  read: 'This database is not shared for reading.',
  query: 'This database is not shared for queries; replicate it, and query the copy.',
  write: 'This database is shared for reading only.',
  own: 'This database is not shared with you.',
};

const NAMED = /** @type {Record<string, AccessOptions>} */ ({ 'read-write': {}, 'read-only': { write: false } });
const KNOWN = ['read', 'write', 'select', 'validate', 'peers', 'queries'];

/** What only shares need that are limited by a selector. */
const limiting = lazily(() => import('./limiting.js'));

/** @param {string} reason @returns {never} */
function refuse(reason) {
  throw new PeerPouchError('forbidden', reason);
}

export class Access {
  /**
   * Use {@link parse}.
   *
   * @param {AccessOptions} options
   * @param {import('./limiting.js').Limit} [limit] What `select` leaves of a database.
   * @throws {PeerPouchError} `bad_request` for malformed ones. An option that is not known is one, too: a misspelt limit
   *   must not open the door.
   */
  constructor(options, limit) {
    for (const name of Object.keys(options)) {
      if (!KNOWN.includes(name)) throw new PeerPouchError('bad_request', `An access has no ${JSON.stringify(name)}.`);
    }
    const { read = true, write = true, select, validate, peers, queries = true } = options;
    for (const value of [read, write]) {
      if (typeof value !== 'boolean') throw new PeerPouchError('bad_request', 'read and write are true or false.');
    }
    if (validate !== undefined && typeof validate !== 'function') {
      throw new PeerPouchError('bad_request', 'validate is a function.');
    }
    if ((peers !== undefined && !Array.isArray(peers)) || !(typeof queries === 'boolean' || Array.isArray(queries))) {
      throw new PeerPouchError('bad_request', 'peers and queries of an access are lists.');
    }
    this.read = read;
    this.write = write;
    /** A copy that nobody changes afterwards. */
    this.select = select === undefined ? undefined : structuredClone(select);
    this.limit = limit;
    this.validate = validate;
    this.peers = peers === undefined ? undefined : [...peers];
    this.queries = queries;
  }

  /**
   * @param {Access | string | AccessOptions | undefined} value `'read-write'` (the default), `'read-only'`, or
   *   options.
   * @returns {Promise<Access>} Rejects with `bad_request` or `invalid_selector`.
   */
  static async parse(value = 'read-write') {
    if (value instanceof Access) return value;
    const options = typeof value === 'string' && Object.hasOwn(NAMED, value) ? NAMED[value] : value;
    if (!isObject(options)) {
      throw new PeerPouchError(
        'bad_request',
        `${JSON.stringify(value)} is not an access: give 'read-write', 'read-only' or an object.`,
      );
    }
    if (options.select === undefined) return new Access(options);
    const { limitTo } = await limiting();
    return new Access(options, limitTo(options.select));
  }

  /** @param {Action} action */
  allows(action) {
    if (action === 'read') return this.read;
    if (action === 'query') return this.read && this.queries !== false;
    if (action === 'write') return this.write;
    return this.read || this.write;
  }

  /** Throws `forbidden`, with a reason for the visitor, if this may not be done. @param {Action} action */
  require(action) {
    if (!this.allows(action)) refuse(REFUSALS[action]);
  }

  /** The same for a view, `ddoc/view`, or `_find`. @param {string} name */
  requireQuery(name) {
    this.require('query');
    if (Array.isArray(this.queries) && !this.queries.includes(name)) refuse(REFUSALS.query);
  }

  /** Why a document with this id may not be written. @param {unknown} id @returns {PeerPouchError | null} */
  refusal(id) {
    if (typeof id === 'string' && id.startsWith('_design/')) {
      return new PeerPouchError('forbidden', 'Only the owner of a database may write design documents.');
    }
    return this.write ? null : new PeerPouchError('forbidden', REFUSALS.write);
  }

  /**
   * Equal for equal policies. What a visitor remembers of its replications is kept under it, so that a widened policy
   * starts over: documents that were passed by under the old one are looked at again.
   */
  get fingerprint() {
    // All that can be told of a function after a reload is its name.
    return ordered({ read: this.read, write: this.write, select: this.select, validate: this.validate?.name });
  }
}

/** JSON in one order of fields. @param {any} value @returns {string} */
export function ordered(value) {
  return JSON.stringify(value, (_, part) =>
    isObject(part)
      ? Object.fromEntries(
          Object.keys(part)
            .sort()
            .map((name) => [name, part[name]]),
        )
      : part,
  );
}
