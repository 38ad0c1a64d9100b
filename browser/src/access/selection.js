/**
 * The documents of a database that a selector lets through, kept as an index beside them. The rules are those of
 * Python's access/selection.py:
 *
 * - a leaf with content is visible if it matches the selector; a deleted leaf, stripped, if its document is a *member*;
 *   no revision that is not a leaf ever is;
 * - a document becomes a member when one of its leaves is found to match, and stays one for ever, so that whoever got
 * it
 *   gets its deletion too, and nobody else learns of it.
 *
 * Membership is stored before anything is served. What is visible is numbered by itself, 1, 2, 3 and so on, a new
 * number whenever the visible leaves of a document change: a visitor's sequences are these numbers, so neither they nor
 * their gaps tell of hidden writes.
 *
 * It is stored as `_local` documents, which do not replicate. Each row of a chunk is `[id, number, leaves]`, later ones
 * supersede earlier ones, so a chunk that was written without its head (the tab was closed) does no harm:
 *
 *     _local/peerpouch-selection-<hash>              {"epoch", "generation", "upto"}
 *     _local/peerpouch-selection-<hash>-<generation>-<n>   {"rows": […]}
 *
 * Two tabs that share the same find each other's writes by their conflicts, and start over from what is stored.
 */

import { PeerPouchError } from '../errors.js';
import { hex, sha256, utf8 } from '../trust/bytes.js';
import { ordered } from './access.js';
import { PAGE, ancestry, byWinning } from './documents.js';
import { compileSelector } from './selector.js';

/** @typedef {import('./documents.js').Doc} Doc */
/** @typedef {[id: string, n: number, leaves: string]} Row */
/** @typedef {{ n: number, leaves: string }} Member `n` is 0, and `leaves` empty, where nothing is visible. */

/** Rows of a chunk, about 25 kB, which are written anew with each change. */
const CHUNK = 250;

/** Another tab that updates the same index makes an update start over; each of them brings it further. */
const TRIES = 8;

/** Changes after which it is noted how far the index is, also where no row of it changed. */
const UNSAVED = 1000;

/** Fields that only some ways of reading add, so that a selector must not see them. */
const ADDED = ['_revisions', '_conflicts', '_deleted_conflicts', '_revs_info', '_local_seq'];

/** Of a deleted leaf nothing but id, revision, deletion and history. @param {Doc} leaf @returns {Doc} */
function strip({ _id, _rev, _revisions }) {
  return { _id, _rev, _deleted: true, ...(_revisions ? { _revisions } : {}) };
}

export class Selection {
  loaded = false;
  /** All members. About 200 bytes each: a hundred thousand fit a page well. @type {Map<string, Member>} */
  members = new Map();
  /** Numbers in their order, with those that were superseded. @type {{ n: number, id: string }[]} */
  numbers = [];
  /** @type {string[] | null} */
  sorted = null;
  counter = 0;
  deletions = 0;
  /** The owner's sequence up to which the index is. @type {any} */
  upto = 0;
  unsaved = 0;
  rows = 0;
  /** @type {Doc} */
  head = {};
  /** @type {Doc} */
  chunk = {};

  /** @param {import('./documents.js').LocalDocuments} documents @param {Record<string, any>} select */
  constructor(documents, select) {
    this.documents = documents;
    this.test = compileSelector(select);
    this.name = sha256(utf8(`peerpouch selection 1\0${ordered(select)}`)).then(
      (hash) => `_local/peerpouch-selection-${hex(hash).slice(0, 32)}`,
    );
    /** @type {Promise<unknown>} */
    this.tail = Promise.resolve();
    /** @type {Promise<void> | null} */
    this.next = null;
  }

  /** Make it start over from what is stored. */
  forget() {
    this.loaded = false;
    this.members = new Map();
    this.numbers = [];
    this.sorted = null;
    this.counter = this.deletions = this.unsaved = this.rows = 0;
  }

  /** Whether the selector matches a leaf. One that it fails on does not match. @param {Doc} doc */
  matches(doc) {
    try {
      return this.test(Object.fromEntries(Object.entries(doc).filter(([name]) => !ADDED.includes(name))));
    } catch (error) {
      if (error instanceof PeerPouchError) return false;
      throw error;
    }
  }

  /**
   * The visible ones of a document's leaves, the winner first.
   *
   * @param {Doc[]} leaves
   * @param {boolean} member
   * @returns {Doc[]}
   */
  visible(leaves, member) {
    return leaves
      .flatMap((leaf) => {
        if (!leaf._deleted) return this.matches(leaf) ? [leaf] : [];
        return member ? [strip(leaf)] : [];
      })
      .sort(byWinning);
  }

  /** Take in everything that was written before this call. */
  refresh() {
    // Who asks while an update waits for its turn is served by that one: it begins later than the question.
    this.next ??= this.locked(() => {
      this.next = null;
      return this.advance([]);
    });
    return this.next;
  }

  /** Make members of documents that a visitor deleted, which match nothing. @param {string[]} ids */
  record(ids) {
    return this.locked(() => this.advance(ids));
  }

  /** One after another. @param {() => Promise<void>} work @returns {Promise<void>} */
  locked(work) {
    const done = this.tail.then(work);
    this.tail = done.catch(() => {});
    return done;
  }

  /** @param {string[]} also Documents that become members in any case. */
  async advance(also) {
    for (let n = 0; n < TRIES; n++) {
      try {
        if (!this.loaded) await this.load();
        await this.catchUp();
        await this.save(
          await this.judged(
            also.filter((id) => !this.members.has(id)),
            true,
          ),
          this.upto,
        );
        return;
      } catch (error) {
        // What is in memory may be ahead of what is stored.
        this.forget();
        if (/** @type {PeerPouchError} */ (error).status !== 409) throw error;
      }
    }
    throw new PeerPouchError('database_busy', "The share's index is being changed by other tabs all the time.");
  }

  async load() {
    this.forget();
    const name = await this.name;
    const db = this.documents.db;
    const read = (/** @type {string} */ id) =>
      this.documents.get(id).catch((/** @type {PeerPouchError} */ error) => {
        if (error.status === 404) return null;
        throw error;
      });
    const head = await read(name);
    if (head === null) {
      const epoch = hex(crypto.getRandomValues(new Uint8Array(8)));
      this.head = { _id: name, epoch, generation: 0, upto: 0 };
      this.head._rev = (await this.documents.ask(() => db.put(this.head))).rev;
    } else this.head = head;
    this.upto = this.head.upto;
    for (let n = 0; ; n++) {
      const id = `${name}-${this.head.generation}-${n}`;
      const chunk = await read(id);
      this.chunk = chunk ?? { _id: id, rows: [] };
      for (const [member, number, leaves] of this.chunk.rows) this.take(member, number, leaves);
      if (chunk === null || chunk.rows.length < CHUNK) break;
    }
    this.numbers.sort((a, b) => a.n - b.n);
    this.loaded = true;
  }

  /** @param {string} id @param {number} n @param {string} leaves */
  take(id, n, leaves) {
    const before = this.members.get(id);
    if (before?.leaves.startsWith('1')) this.deletions--;
    if (leaves.startsWith('1')) this.deletions++;
    this.members.set(id, { n, leaves });
    this.counter = Math.max(this.counter, n);
    if (n > 0) this.numbers.push({ n, id });
    this.rows++;
    this.sorted = null;
    // Superseded numbers take no more room than the others.
    if (this.loaded && this.numbers.length > 2 * this.members.size + CHUNK)
      this.numbers = this.numbers.filter((row) => this.isCurrent(row));
  }

  /** @param {{ n: number, id: string }} row */
  isCurrent({ n, id }) {
    return this.members.get(id)?.n === n;
  }

  async catchUp() {
    for (;;) {
      const { results, last_seq } = await this.documents.ask(() =>
        this.documents.db.changes({
          since: this.upto,
          style: 'all_docs',
          include_docs: true,
          limit: PAGE,
          return_docs: true,
        }),
      );
      if (results.length === 0) return;
      await this.save(await this.judged(results, false), last_seq);
      if (results.length < PAGE) return;
    }
  }

  /**
   * The rows that change. Nothing of them is told to anybody until they are stored: a number that was told, and then
   * given to another change because the tab was closed in between, would make a visitor miss that one.
   *
   * @param {any[]} changes Or ids. @param {boolean} also Whether they become members in any case. @returns
   *   {Promise<Row[]>}
   */
  async judged(changes, also) {
    /** @type {Row[]} */
    const rows = [];
    let counter = this.counter;
    for (const change of changes) {
      const id = change.id ?? change;
      const leaves = change.changes?.length === 1 ? [change.doc] : await this.documents.leaves(id);
      const before = this.members.get(id);
      if (!before && !also && !leaves.some((leaf) => !leaf._deleted && this.matches(leaf))) continue;
      const visible = this.visible(leaves, true);
      const summary = visible.length ? (visible[0]._deleted ? '1' : '0') + visible.map((leaf) => leaf._rev).join() : '';
      if (before?.leaves !== summary) rows.push([id, summary ? ++counter : 0, summary]);
    }
    return rows;
  }

  /** @param {Row[]} rows @param {any} upto */
  async save(rows, upto) {
    const put = async (/** @type {Doc} */ doc) => {
      doc._rev = (await this.documents.ask(() => this.documents.db.put(doc))).rev;
    };
    if (upto !== this.upto) this.unsaved += PAGE;
    if (rows.length === 0 && this.unsaved < UNSAVED) {
      this.upto = upto;
      return;
    }
    for (let at = 0; at < rows.length;) {
      const room = CHUNK - this.chunk.rows.length;
      this.chunk.rows.push(...rows.slice(at, at + room));
      at += room;
      await put(this.chunk);
      if (this.chunk.rows.length >= CHUNK)
        this.chunk = {
          _id: this.chunk._id.replace(/\d+$/, (/** @type {string} */ n) => String(Number(n) + 1)),
          rows: [],
        };
    }
    for (const [id, n, leaves] of rows) this.take(id, n, leaves);
    this.upto = this.head.upto = upto;
    if (this.rows > 2 * this.members.size + CHUNK) await this.rewrite(put);
    await put(this.head);
    this.unsaved = 0;
  }

  /** Write the rows anew without what was superseded. @param {(doc: Doc) => Promise<void>} put */
  async rewrite(put) {
    const name = await this.name;
    const last = Number(/\d+$/.exec(this.chunk._id)?.[0]);
    const old = this.head.generation;
    this.head.generation = old + 1;
    const rows = [...this.members].map(([id, { n, leaves }]) => [id, n, leaves]);
    this.rows = rows.length;
    for (let n = 0; n === 0 || n * CHUNK <= rows.length; n++) {
      const id = `${name}-${this.head.generation}-${n}`;
      // What another tab left there when it was closed in the middle is of no use.
      const left = await this.documents.get(id).catch(() => null);
      this.chunk = { _id: id, rows: rows.slice(n * CHUNK, (n + 1) * CHUNK), ...(left ? { _rev: left._rev } : {}) };
      await put(this.chunk);
    }
    await put(this.head);
    for (let n = 0; n <= last; n++) {
      const chunk = await this.documents.get(`${name}-${old}-${n}`).catch(() => null);
      if (chunk) await this.documents.db.remove(chunk).catch(() => {});
    }
  }

  // -- asking it; after a refresh

  /** What the sequences have in common: other ones are not of this index. @returns {string} */
  get origin() {
    return this.head.epoch;
  }

  /** @param {number} number */
  formatSeq(number) {
    return `${number}-${this.origin}`;
  }

  /**
   * The number that a visitor's sequence stands for; one of another index, or of a lost future, starts over.
   *
   * @param {any} since
   * @returns {number}
   */
  parseSeq(since) {
    if (since === 'now') return this.counter;
    const match = /^(\d{1,15})(?:-([0-9a-f]+))?$/.exec(String(since));
    if (match === null) throw new PeerPouchError('bad_request', "since must be a sequence or 'now'.");
    const number = Number(match[1]);
    if (match[2] === undefined) return number;
    return match[2] === this.origin && number <= this.counter ? number : 0;
  }

  /** Current numbers after one, in their order. @param {number} number @param {number} most */
  after(number, most) {
    let low = 0;
    for (let high = this.numbers.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.numbers[middle].n > number) high = middle;
      else low = middle + 1;
    }
    const found = [];
    for (; low < this.numbers.length && found.length < most; low++) {
      if (this.isCurrent(this.numbers[low])) found.push(this.numbers[low]);
    }
    return found;
  }

  /** Ids with a visible leaf that is not deleted, sorted. */
  get live() {
    this.sorted ??= [...this.members]
      .filter(([, { leaves }]) => leaves.startsWith('0'))
      .map(([id]) => id)
      .sort();
    return this.sorted;
  }
}

/** @type {WeakMap<object, Map<string, Selection>>} */
const selections = new WeakMap();

/**
 * What a selector lets through; one object for all visitors.
 *
 * @param {import('./documents.js').LocalDocuments} documents
 * @param {Record<string, any>} select
 */
export function selectionOf(documents, select) {
  const known = selections.get(documents.db) ?? new Map();
  selections.set(documents.db, known);
  const key = ordered(select);
  const selection = known.get(key) ?? new Selection(documents, select);
  known.set(key, selection);
  return selection;
}

/** Whether a leaf is, or descends from, a revision. @param {Doc} leaf @param {string} rev @param {boolean} latest */
export const answers = (leaf, rev, latest) => leaf._rev === rev || (latest && ancestry(leaf).includes(rev));
