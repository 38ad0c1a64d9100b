/**
 * The PouchDB adapter `webrtc`: PouchDB's own http adapter, with a `fetch` that goes over the channel to a share's owner.
 *
 * So every method of PouchDB works on a share as on a CouchDB server, and goes on to with its next releases: what this
 * builds on is PouchDB's documented option `fetch`.
 */

import { checkedDepth } from './depth.js';
import { PeerPouchError } from './errors.js';
import { parseName } from './hub/names.js';
import { lazily } from './lazy.js';

/**
 * @typedef {import('./peers/lease.js').Lease} Lease
 * @typedef {{ info?: any, timeout?: number, confirm?: boolean }} OpenOptions As `share.open` takes them.
 * @typedef {(dbname: string, options: OpenOptions) => Promise<Lease>} Open
 */

/** PouchDB for Node takes attachments by `buffer()`, which its own fetch has and the standard does not. */
const IN_NODE = Boolean(/** @type {any} */ (globalThis).process?.versions?.node);

/** @param {Response} response */
const withBuffer = (response) =>
  Object.assign(response, {
    buffer: async () => /** @type {any} */ (globalThis).Buffer.from(await response.arrayBuffer()),
  });

/** What only downloads need. */
const downloading = lazily(() => import('./download.js'));

/** How many databases were opened; it makes their origins differ. */
let opened = 0;

/**
 * @param {any} PouchDB
 * @param {Open} open What opens a share by its name.
 */
export function addAdapter(PouchDB, open) {
  /** @this {any} @param {any} options @param {(error: unknown, api?: any) => void} callback */
  function WebrtcPouch(options, callback) {
    const Http = PouchDB.adapters.https ?? PouchDB.adapters.http;
    const dbname = `webrtc://${options.name}`;
    const { shareId } = parseName(dbname);
    // PouchDB remembers of an origin what it can, also when it could not for once; so each database has its own.
    const name = `https://${shareId}-${(opened += 1)}.peer/${shareId}`;
    const share = new Opening(() => (options.lease ? Promise.resolve(options.lease) : open(dbname, options)));

    /** @param {string} url @param {RequestInit} [init] */
    const fetch = async (url, init) => {
      const path = url.slice(name.length);
      if (!url.startsWith(name) || !/^(?:$|[/?])/.test(path)) {
        throw new PeerPouchError('not_found', 'A share is one database, and has nothing beside it.');
      }
      const response = checkedDepth(await (await share.lease()).fetch(path, init));
      return IN_NODE ? withBuffer(response) : response;
    };

    // Without its setup, which would create a database that is missing.
    Http.call(this, { ...options, name, fetch, skip_setup: true }, callback);
    /** What checkpoints are kept under: the same for every opening, in every page. */
    this.id = answering(async () => `peerpouch:${shareId}`);
    this._close = (/** @type {() => void} */ done) => {
      share.close();
      done();
    };
    /** What is known of the connection; null while there is none. */
    this.stats = async () => share.current?.stats() ?? null;
    /** What the owner told when it let us in; null before that. */
    Object.defineProperty(this, 'remoteInfo', { get: () => share.current?.info ?? null });
    /** An attachment as a stream, which goes on where it broke off: see `download.js`. */
    this.download = async (/** @type {string} */ id, /** @type {string} */ attachment, /** @type {any} */ more) => {
      const [lease, { download }] = await Promise.all([share.lease(), downloading()]);
      return download((path, init) => lease.fetch(path, init), id, attachment, more);
    };
  }
  WebrtcPouch.valid = () => true;
  WebrtcPouch.use_prefix = false;
  PouchDB.adapter('webrtc', WebrtcPouch, false);
}

/** A lease that is got when it is first needed, and after a failure with the next need. */
class Opening {
  /** @param {() => Promise<Lease>} open */
  constructor(open) {
    this.open = open;
    /** @type {Lease | null} */
    this.current = null;
    /** @type {Promise<Lease> | null} */
    this.pending = null;
    this.isClosed = false;
  }

  async lease() {
    if (this.isClosed) throw new PeerPouchError('database_closed', 'The database was closed.');
    this.pending ??= this.open().then(
      (lease) => {
        this.current = lease;
        if (this.isClosed) lease.release();
        return lease;
      },
      (error) => {
        this.pending = null;
        throw error;
      },
    );
    return this.pending;
  }

  close() {
    this.isClosed = true;
    this.current?.release();
  }
}

/**
 * A function that gives a promise, and also calls back if it was given a callback.
 *
 * @param {(...args: any[]) => Promise<any>} work
 */
export function answering(work) {
  /** @this {any} @param {any[]} args */
  return function (...args) {
    const last = args.at(-1);
    if (typeof last !== 'function') return work.apply(this, args);
    const promise = work.apply(this, args.slice(0, -1));
    promise.then(
      (result) => last(null, result),
      (error) => last(error),
    );
    return promise;
  };
}
