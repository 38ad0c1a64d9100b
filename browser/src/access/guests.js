/**
 * The `_local` documents of visitors: each one's own, apart from the page's and from every other visitor's.
 *
 * A replicator writes its checkpoints as `_local` documents on both sides, so a visitor must be able to write some,
 * also where it may write nothing else. All of one visitor's are kept inside one `_local` document of the database, so
 * that a visitor costs a bounded amount:
 *
 *     _local/peerpouch-guest-<32 digits>   {"docs": [{"id": …, "n": 3, "doc": {…}}, …]}   least recently written first
 *     _local/peerpouch-guests              {"guests": ["<32 digits>", …]}                 in the order of their arrival
 */

import { PeerPouchError } from '../errors.js';
import { hex, sha256, utf8 } from '../trust/bytes.js';
import { isObject } from '../values.js';

/** Documents of one visitor: a replication keeps one on each side; a different filter is a different replication. */
const MAX_DOCS = 32;

/**
 * Characters of all of a visitor's documents as JSON. CouchDB's replicator keeps 50 sessions in one, which makes 17
 * thousand.
 */
const MAX_SIZE = 64 * 1024;

/**
 * Visitors remembered, so 64 MB at most, however many keys somebody makes. The first to come is the first to go, and
 * loses nothing.
 */
const MAX_GUESTS = 1000;

/** Tries of a change that another tab gets in the way of. */
const ATTEMPTS = 8;

const LEDGER = '_local/peerpouch-guests';
const GUEST = '_local/peerpouch-guest-';

/** @typedef {{ id: string, n: number, doc: Record<string, any> }} Entry */

/** @param {Entry} entry */
const shown = (entry) => ({ ...entry.doc, _id: entry.id, _rev: `0-${entry.n}` });

export class GuestDocs {
  /**
   * @param {import('./documents.js').LocalDocuments} documents
   * @param {string} visitor What the visitor and its policy are known by.
   */
  constructor(documents, visitor) {
    this.documents = documents;
    this.guest = sha256(utf8(`peerpouch guest 1\0${visitor}`)).then((hash) => hex(hash).slice(0, 32));
  }

  /** @param {string} id @returns {Promise<Record<string, any>>} */
  async get(id) {
    const entry = (await this.all()).find((each) => each._id === id);
    if (!entry) throw new PeerPouchError('not_found', 'missing');
    return entry;
  }

  /** @returns {Promise<Record<string, any>[]>} */
  async all() {
    const doc = await this.read(GUEST + (await this.guest));
    return (doc?.docs ?? []).map(shown);
  }

  /** Write, or with `_deleted` delete; the least recently written make room. @param {Record<string, any>} doc */
  async put(doc) {
    const body = bodyOf(doc);
    let number = 0;
    const isNew = await this.change(GUEST + (await this.guest), 'docs', (/** @type {Entry[]} */ entries) => {
      const old = entries.find((entry) => entry.id === doc._id);
      if ((old && `0-${old.n}`) !== doc._rev) throw new PeerPouchError('conflict', 'Document update conflict');
      number = doc._deleted ? 0 : (old?.n ?? 0) + 1;
      const kept = entries.filter((entry) => entry.id !== doc._id);
      return doc._deleted ? kept : bounded([...kept, { id: doc._id, n: number, doc: body }]);
    });
    if (isNew) await this.arrive();
    return /** @type {const} */ ({ ok: true, id: doc._id, rev: `0-${number}` });
  }

  /** Enter the ledger, and see off whom there is no more room for. */
  async arrive() {
    const guest = await this.guest;
    /** @type {string[]} */
    let gone = [];
    await this.change(LEDGER, 'guests', (/** @type {string[]} */ guests) => {
      const present = [...guests.filter((each) => each !== guest), guest];
      gone = present.slice(0, -MAX_GUESTS);
      return present.slice(-MAX_GUESTS);
    });
    for (const each of gone) {
      const left = await this.read(GUEST + each);
      if (left) await this.documents.ask(() => this.documents.db.remove(left));
    }
  }

  /** @param {string} id @returns {Promise<Record<string, any> | null>} */
  read(id) {
    return this.documents.get(id).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
  }

  /**
   * Replace a list in a document; whether the document was made for it.
   *
   * @param {string} id
   * @param {string} field
   * @param {(list: any[]) => any[]} change
   */
  async change(id, field, change) {
    for (let attempt = 1; ; attempt++) {
      const doc = await this.read(id);
      const list = change(Array.isArray(doc?.[field]) ? [...doc[field]] : []);
      try {
        await this.documents.ask(() => this.documents.db.put({ ...doc, _id: id, [field]: list }));
        return doc === null;
      } catch (error) {
        if (/** @type {PeerPouchError} */ (error).status !== 409 || attempt === ATTEMPTS) throw error;
      }
    }
  }
}

/** @param {Record<string, any>} doc */
function bodyOf(doc) {
  if (!isObject(doc) || doc._id.length === '_local/'.length)
    throw new PeerPouchError('illegal_docid', 'A _local document needs a name.');
  for (const name of Object.keys(doc)) {
    if (name.startsWith('_') && !['_id', '_rev', '_deleted', '_revisions'].includes(name)) {
      throw new PeerPouchError('doc_validation', `A _local document can't have the field ${name}.`);
    }
  }
  const body = Object.fromEntries(Object.entries(doc).filter(([name]) => !name.startsWith('_')));
  if (JSON.stringify(body).length > MAX_SIZE / 2 || doc._id.length > 1024) {
    throw new PeerPouchError('too_large', `A _local document of a visitor has at most ${MAX_SIZE / 2} bytes.`);
  }
  return body;
}

/** The most recently written that there is room for. @param {Entry[]} entries */
function bounded(entries) {
  const kept = entries.slice(-MAX_DOCS);
  while (JSON.stringify(kept).length > MAX_SIZE) kept.shift();
  return kept;
}
