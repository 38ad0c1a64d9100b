/**
 * The gate: a database as somebody else may see it. Every method says what kind of action it is, and refuses what the
 * access does not allow; `_local` documents are the visitor's own, whatever the access.
 *
 * PouchDB has no transactions, so a write is judged just before it is made: those of visitors one after another, and
 * the page's own may come in between. What they can do then is no more than what a replica that was offline does: a
 * conflict.
 */

import { PeerPouchError } from '../errors.js';
import { lazily } from '../lazy.js';
import { tooDeep } from './checking.js';
import { LocalDocuments, asError, refusal } from './documents.js';
import { GuestDocs } from './guests.js';

/** @typedef {import('./documents.js').Doc} Doc */
/** @typedef {import('./documents.js').WriteResult} WriteResult */

/** What only queries need. */
const finding = lazily(() => import('./finding.js'));

/** @param {unknown} id @returns {id is string} */
const isLocal = (id) => typeof id === 'string' && id.startsWith('_local/');

/** Writes of visitors to one database, one after another. @type {WeakMap<object, Promise<unknown>>} */
const turns = new WeakMap();

/** @template T @param {object} db @param {() => Promise<T>} work @returns {Promise<T>} */
function inTurn(db, work) {
  const done = (turns.get(db) ?? Promise.resolve()).then(work);
  turns.set(
    db,
    done.catch(() => {}),
  );
  return done;
}

export class GatedDatabase {
  /**
   * @param {any} db The page's PouchDB.
   * @param {import('./access.js').Access} access
   * @param {{ visitor: string, peer?: any }} who What the visitor's `_local` documents are kept under, and what
   *   `validate`
   *   is told of it.
   */
  constructor(db, access, { visitor, peer }) {
    this.documents = new LocalDocuments(db);
    this.access = access;
    this.peer = peer;
    /** @type {LocalDocuments | import('./limited.js').LimitedDocuments} */
    this.inner = access.select
      ? /** @type {import('./limiting.js').Limit} */ (access.limit)(this.documents)
      : this.documents;
    this.guests = new GuestDocs(this.documents, `${visitor}\0${access.fingerprint}`);
    this.visit = new AbortController();
    /** @type {PeerPouchError | null} */
    this.ended = null;
  }

  /**
   * End the visit: live feeds stop, and whatever is asked later is refused with this reason.
   *
   * @param {string} [reason]
   */
  revoke(reason = 'This database is no longer shared with you.') {
    this.ended ??= new PeerPouchError('forbidden', reason);
    this.visit.abort();
  }

  /** @param {import('./access.js').Action} action */
  require(action) {
    if (this.ended) throw this.ended;
    this.access.require(action);
  }

  /**
   * The same before each part of an answer that is streamed.
   *
   * @template T
   * @param {import('./access.js').Action} action
   * @param {AsyncGenerator<T>} pages
   * @returns {AsyncGenerator<T>}
   */
  async *checked(action, pages) {
    for await (const page of pages) {
      this.require(action);
      yield page;
    }
    // A feed that was stopped by revoke() must not look as if it had come to its end.
    this.require(action);
  }

  async info() {
    this.require('describe');
    return this.inner.info();
  }

  // -- reading

  /** @param {string} id @param {any} [options] @returns {Promise<Doc>} */
  async get(id, options) {
    this.require(isLocal(id) ? 'own' : 'read');
    return isLocal(id) ? this.guests.get(id) : this.inner.get(id, options);
  }

  /** @param {string} id @param {string[] | 'all'} revs @param {any} options */
  async openRevs(id, revs, options) {
    this.require('read');
    if (isLocal(id)) throw new PeerPouchError('not_found', 'missing');
    return this.inner.openRevs(id, revs, options);
  }

  /**
   * @param {import('./documents.js').RevisionRequest[]} requests
   * @param {any} options
   * @returns {AsyncGenerator<import('./documents.js').RevisionResult[]>}
   */
  async *bulkGet(requests, options) {
    this.require('read');
    const found = this.checked(
      'read',
      this.inner.bulkGet(
        requests.filter(({ id }) => !isLocal(id)),
        options,
      ),
    );
    try {
      for (const { id, rev } of requests) {
        if (isLocal(id)) yield [{ id, rev, error: new PeerPouchError('not_found', 'missing') }];
        else yield (await found.next()).value;
      }
    } finally {
      await found.return(undefined);
    }
  }

  /** @param {Record<string, string[]>} revs */
  async revsDiff(revs) {
    this.require('describe');
    return this.inner.revsDiff(Object.fromEntries(Object.entries(revs).filter(([id]) => !isLocal(id))));
  }

  /** What is wrong with a listing, before anything of it is read. @param {any} options */
  checkListing(options) {
    this.require('read');
    if (options.keys?.some(isLocal))
      throw new PeerPouchError('forbidden', '_local documents are not listed; get them one by one.');
  }

  /** @param {any} options */
  async listing(options) {
    this.checkListing(options);
    const found = await this.inner.listing(options);
    return { ...found, pages: this.checked('read', found.pages) };
  }

  async locals() {
    this.require('own');
    return this.guests.all();
  }

  /** @param {any} options */
  changes(options) {
    this.require('read');
    // A function of a design document runs in this page, for a feed as for a query.
    if (options.filter) this.access.requireQuery(options.view ?? options.filter);
    return this.checked(
      'read',
      this.inner.changes({ ...options, signal: AbortSignal.any([this.visit.signal, options.signal]) }),
    );
  }

  /** @param {string} id @param {string} name @param {string} [rev] */
  async attachment(id, name, rev) {
    this.require('read');
    if (isLocal(id)) throw new PeerPouchError('not_found', 'missing');
    return this.inner.attachment(id, name, rev);
  }

  /** An attachment of a document that this gave. @param {Doc} doc @param {string} name */
  async content(doc, name) {
    this.require('read');
    return this.inner.content(doc, name);
  }

  /** @param {Doc} doc @param {string[]} [since] */
  async inlined(doc, since) {
    this.require('read');
    return this.inner.inlined(doc, since);
  }

  /** @param {any} query */
  async find(query) {
    this.access.requireQuery('_find');
    const { find } = await finding();
    this.require('query');
    return find(this.inner, query, () => this.require('query'));
  }

  /** What is wrong with a query, before anything of it is read. @param {string} view `ddoc/view` */
  checkQuery(view) {
    this.require('query');
    this.access.requireQuery(view);
    if (this.access.select) {
      // Its rows and reductions are made of all documents, hidden ones too.
      throw new PeerPouchError(
        'forbidden',
        'Only a part of this database is shared with you: replicate it, and query the copy.',
      );
    }
  }

  /** @param {string} view `ddoc/view` @param {any} options */
  async query(view, options) {
    this.checkQuery(view);
    return this.documents.ask(() => this.documents.db.query(view, options));
  }

  // -- writing

  /**
   * @param {any[]} docs
   * @param {{ newEdits?: boolean }} [options]
   * @returns {Promise<WriteResult[]>} One for each, in order.
   */
  async bulkDocs(docs, { newEdits = true } = {}) {
    this.require('own');
    /** @type {WriteResult[]} */
    const results = [];
    /** @type {number[]} */
    const passed = [];
    for (const [place, doc] of docs.entries()) {
      const refused = tooDeep(doc) ?? (isLocal(doc?._id) ? null : this.access.refusal(doc?._id));
      if (!refused && isLocal(doc?._id))
        results[place] = await this.guests.put(doc).catch((error) => refusal(doc, newEdits, asError(error)));
      else if (refused) results[place] = refusal(doc, newEdits, refused);
      else passed.push(place);
    }
    for (const places of rounds(passed, docs, this.access.select || this.access.validate ? 100 : Infinity)) {
      const written = await inTurn(this.documents.db, () => {
        this.require('write');
        return this.write(
          places.map((place) => docs[place]),
          newEdits,
        );
      });
      places.forEach((place, n) => {
        results[place] = written[n];
      });
    }
    return results;
  }

  /** @param {any[]} docs @param {boolean} newEdits @returns {Promise<WriteResult[]>} */
  async write(docs, newEdits) {
    const { validate } = this.access;
    if (!validate) return this.inner.bulkDocs(docs, { newEdits });
    const refusals = await Promise.all(docs.map((doc) => this.judge(doc)));
    const written = await this.inner.bulkDocs(
      docs.filter((_, n) => !refusals[n]),
      { newEdits },
    );
    return docs.map((doc, n) => {
      const error = refusals[n];
      return error ? refusal(doc, newEdits, error) : /** @type {WriteResult} */ (written.shift());
    });
  }

  /** The owner's own judgement. @param {any} doc @returns {Promise<PeerPouchError | null>} */
  async judge(doc) {
    try {
      const leaves = typeof doc?._id === 'string' ? await this.inner.leaves(doc._id) : [];
      // Copies: what the function does to them must not change what is stored.
      const shown = structuredClone(withStubs(doc));
      const verdict = await this.access.validate?.(shown, structuredClone(leaves), this.peer);
      return verdict === false ? new PeerPouchError('forbidden', 'The owner does not accept this document.') : null;
    } catch (cause) {
      const { error, reason, forbidden, unauthorized } = /** @type {any} */ (cause ?? {});
      if (error === 'forbidden' || error === 'unauthorized') return new PeerPouchError(error, String(reason));
      // What CouchDB's own validation functions throw.
      if (typeof forbidden === 'string') return new PeerPouchError('forbidden', forbidden);
      if (typeof unauthorized === 'string') return new PeerPouchError('unauthorized', unauthorized);
      console.error('peerpouch: validate failed for a document of a visitor', cause);
      return new PeerPouchError('forbidden', 'The document could not be judged.');
    }
  }
}

/** A document as `validate` sees it: attachments without their content. @param {any} doc */
function withStubs(doc) {
  if (!doc?._attachments) return doc;
  const entries = Object.entries(doc._attachments).map(([name, entry]) => [
    name,
    { ...entry, data: undefined, stub: true },
  ]);
  return { ...doc, _attachments: Object.fromEntries(entries) };
}

/**
 * Parts in which each id is once, so that what is judged before a part is written is true for all of it.
 *
 * @param {number[]} places
 * @param {any[]} docs
 * @param {number} size
 */
function* rounds(places, docs, size) {
  if (size === Infinity) {
    if (places.length) yield places;
    return;
  }
  for (let waiting = places; waiting.length > 0;) {
    const seen = new Set();
    /** @type {number[]} */
    const now = [];
    /** @type {number[]} */
    const later = [];
    for (const place of waiting) {
      const id = docs[place]?._id;
      (now.length >= size || (id !== undefined && seen.has(id)) ? later : now).push(place);
      seen.add(id);
    }
    yield now;
    waiting = later;
  }
}
