/**
 * A database as it looks through a selector: other documents are as if they were not there. {@link Selection} judges;
 * what is then read of the documents is judged once more, since it may have changed meanwhile.
 */

import { PeerPouchError } from '../errors.js';
import { checkRev } from './checking.js';
import { PAGE, ancestry, generation, inParts, refusal } from './documents.js';
import { answers } from './selection.js';
import { watch } from './watching.js';

/** @typedef {import('./documents.js').Doc} Doc */

export const HIDDEN = "A document with this id can't be written by you.";
const UNMATCHED = 'This document is not one of those that are shared with you.';

/** @param {string} [reason] */
const missing = (reason = 'missing') => new PeerPouchError('not_found', reason);

/**
 * Adds `_conflicts` and `_deleted_conflicts`, of what is visible.
 *
 * @param {Doc} doc
 * @param {Doc[]} leaves
 * @param {any} options
 */
function withConflicts(doc, leaves, { conflicts, deleted_conflicts }) {
  const others = leaves.filter((leaf) => leaf._rev !== leaves[0]._rev);
  const live = others.filter((leaf) => !leaf._deleted).map((leaf) => leaf._rev);
  const gone = others.filter((leaf) => leaf._deleted).map((leaf) => leaf._rev);
  if (conflicts && live.length) doc._conflicts = live;
  if (deleted_conflicts && gone.length) doc._deleted_conflicts = gone;
  return doc;
}

/** @param {Doc} leaf @returns {Doc} */
function plain({ _revisions, ...doc }) {
  return doc;
}

export class LimitedDocuments {
  /**
   * @param {import('./documents.js').LocalDocuments} documents
   * @param {import('./selection.js').Selection} selection
   */
  constructor(documents, selection) {
    this.documents = documents;
    this.selection = selection;
  }

  async info() {
    await this.selection.refresh();
    const { selection } = this;
    return {
      ...(await this.documents.info()),
      doc_count: selection.live.length,
      doc_del_count: selection.deletions,
      update_seq: selection.formatSeq(selection.counter),
      incarnation: selection.origin,
    };
  }

  /**
   * The visible leaves of a document, the winner first. Refresh before.
   *
   * @param {string} id
   * @returns {Promise<Doc[]>}
   */
  async leaves(id) {
    // A hidden document costs what an absent one does.
    if (!this.selection.members.has(id)) return [];
    return this.selection.visible(await this.documents.leaves(id), true);
  }

  /** @param {string} id @param {any} [options] @returns {Promise<Doc>} */
  async get(id, options = {}) {
    await this.selection.refresh();
    const leaves = await this.leaves(id);
    const leaf = chosen(leaves, options.rev, options.latest);
    const doc = withConflicts(options.revs ? { ...leaf } : plain(leaf), leaves, options);
    if (options.revs_info) {
      doc._revs_info = ancestry(leaf).map((rev, n) => ({
        rev,
        status: n > 0 ? 'missing' : leaf._deleted ? 'deleted' : 'available',
      }));
    }
    if (options.local_seq) doc._local_seq = this.selection.formatSeq(this.selection.members.get(id)?.n ?? 0);
    return doc;
  }

  /**
   * @param {string} id
   * @param {string[] | 'all'} revs
   * @param {{ latest?: boolean }} [options]
   * @returns {Promise<import('./documents.js').RevisionResult[]>}
   */
  async openRevs(id, revs, { latest = false } = {}) {
    await this.selection.refresh();
    return this.cited(id, revs, latest);
  }

  /** @param {string} id @param {string[] | 'all'} revs @param {boolean} latest */
  async cited(id, revs, latest) {
    const leaves = await this.leaves(id);
    if (revs === 'all') return leaves.map((doc) => ({ id, rev: doc._rev, doc }));
    const found = new Map();
    for (const rev of revs) {
      const targets = leaves.filter((leaf) => answers(leaf, rev, latest));
      for (const doc of targets) found.set(doc._rev, { id, rev: doc._rev, doc });
      if (!targets.length) found.set(rev, { id, rev, error: missing() });
    }
    return [...found.values()];
  }

  /**
   * @param {import('./documents.js').RevisionRequest[]} requests
   * @param {{ latest?: boolean }} options
   * @returns {AsyncGenerator<import('./documents.js').RevisionResult[]>}
   */
  async *bulkGet(requests, { latest = false }) {
    await this.selection.refresh();
    yield* inParts(requests, async ({ id, rev, atts_since }) => {
      const found = await this.cited(id, rev === undefined ? 'all' : [rev], latest);
      return found.length ? found.map((result) => ({ ...result, atts_since })) : [{ id, rev, error: missing() }];
    });
  }

  /** @param {Record<string, string[]>} revs */
  async revsDiff(revs) {
    await this.selection.refresh();
    /** @type {Record<string, { missing: string[], possible_ancestors?: string[] }>} */
    const result = {};
    for (const [id, asked] of Object.entries(revs)) {
      const leaves = await this.leaves(id);
      const known = new Set(leaves.flatMap(ancestry));
      const lacking = [...new Set(asked)].filter((rev) => !known.has(rev));
      if (!lacking.length) continue;
      const newest = Math.max(...lacking.map(generation));
      const ancestors = leaves.map((leaf) => leaf._rev).filter((rev) => generation(rev) < newest);
      result[id] = { missing: lacking, ...(ancestors.length ? { possible_ancestors: ancestors } : {}) };
    }
    return result;
  }

  /** @param {string} id @param {string} name @param {string} [rev] */
  async attachment(id, name, rev) {
    await this.selection.refresh();
    const leaf = chosen(await this.leaves(id), rev);
    if (!Object.hasOwn(leaf._attachments ?? {}, name)) throw missing('Document is missing attachment');
    return this.documents.content(leaf, name);
  }

  /** @param {Doc} doc @param {string} name */
  content(doc, name) {
    return this.documents.content(doc, name);
  }

  /** @param {Doc} doc @param {string[]} [since] */
  inlined(doc, since) {
    return this.documents.inlined(doc, since);
  }

  /** @param {any} options @returns {Promise<import('./documents.js').Listing>} */
  async listing(options) {
    const { selection } = this;
    await selection.refresh();
    const { keys, skip = 0, limit = Infinity, descending = false, update_seq = false } = options;
    let ids = keys ?? inRange(selection.live, options);
    const total = selection.live.length;
    if (descending) ids = [...ids].reverse();
    ids = ids.slice(skip, skip + limit);
    return {
      total,
      offset: keys || options.startkey !== undefined ? null : Math.min(skip, total),
      update_seq: update_seq ? selection.formatSeq(selection.counter) : undefined,
      pages: this.pages(ids, Boolean(keys), options),
    };
  }

  /** @param {string[]} ids @param {boolean} keyed @param {any} options @returns {AsyncGenerator<any[]>} */
  async *pages(ids, keyed, options) {
    for (let at = 0; at < ids.length; at += PAGE) {
      const rows = [];
      const part = ids.slice(at, at + PAGE);
      const found = await Promise.all(part.map((id) => this.leaves(id)));
      for (const [n, id] of part.entries()) {
        const leaves = found[n];
        const winner = leaves[0];
        if (!winner) {
          if (keyed) rows.push({ key: id, error: 'not_found' });
        } else if (winner._deleted) {
          if (keyed)
            rows.push({
              id,
              key: id,
              value: { rev: winner._rev, deleted: true },
              ...(options.include_docs ? { doc: null } : {}),
            });
        } else {
          const doc = options.include_docs ? { doc: withConflicts(plain(winner), leaves, options) } : {};
          rows.push({ id, key: id, value: { rev: winner._rev }, ...doc });
        }
      }
      yield rows;
    }
  }

  /**
   * See {@link import('./documents.js').LocalDocuments.changes}.
   *
   * @param {any} options
   * @returns {AsyncGenerator<import('./documents.js').Page>}
   */
  async *changes({ since, limit = Infinity, live = false, descending = false, signal, idle, ...options }) {
    if (options.filter || options.view) {
      // It would be given documents as they are, and by its parameters somebody could ask about what they can't see.
      throw new PeerPouchError(
        'forbidden',
        'Only a part of this database is shared with you: filter it by ids or a selector.',
      );
    }
    const { selection } = this;
    const watcher = live ? watch(this.documents.db) : null;
    try {
      await watcher?.ready;
      let seen = watcher?.count ?? 0;
      await selection.refresh();
      let at = selection.parseSeq(since);
      if (descending) {
        const rows = selection.after(at, Infinity).reverse();
        for (let n = 0; (n < rows.length || n === 0) && limit > 0; n += PAGE) {
          const part = rows.slice(n, n + PAGE);
          const results = (await this.rows(part, options)).slice(0, limit);
          limit -= results.length;
          yield { results, last_seq: selection.formatSeq(part.at(-1)?.n ?? at), pending: 0 };
        }
        return;
      }
      for (let told = false; !signal.aborted;) {
        const rows = selection.after(at, PAGE);
        let results = await this.rows(rows, options);
        if (results.length >= limit) {
          results = results.slice(0, limit);
          at = parseInt(results[results.length - 1].seq, 10);
        } else at = rows.length === PAGE ? rows[PAGE - 1].n : Math.max(at, selection.counter);
        limit -= results.length;
        const pending = selection.after(at, Infinity).length;
        if (results.length || !told) yield { results, last_seq: selection.formatSeq(at), pending };
        if (results.length) idle.restart();
        told = true;
        if (limit <= 0) return;
        if (pending) continue;
        if (watcher === null) return;
        while (!(await watcher.after(seen, idle, signal))) {
          if (signal.aborted) return;
          yield { results: [], last_seq: selection.formatSeq(at), pending: 0 };
          if (idle.over) return;
        }
        seen = watcher.count;
        await selection.refresh();
      }
    } finally {
      watcher?.release();
    }
  }

  /** @param {{ n: number, id: string }[]} rows @param {any} options */
  async rows(rows, { doc_ids, include_docs, matches, style, conflicts }) {
    const results = [];
    const wanted = doc_ids ? rows.filter(({ id }) => doc_ids.includes(id)) : rows;
    const found = await Promise.all(wanted.map(({ id }) => this.leaves(id)));
    for (const [place, { n, id }] of wanted.entries()) {
      const leaves = found[place];
      const winner = leaves[0];
      if (!winner || (matches && !matches(plain(winner)))) continue;
      const revs = style === 'all_docs' ? leaves : [winner];
      /** @type {Doc} */
      const change = { seq: this.selection.formatSeq(n), id, changes: revs.map(({ _rev }) => ({ rev: _rev })) };
      if (winner._deleted) change.deleted = true;
      if (include_docs) change.doc = withConflicts(plain(winner), leaves, { conflicts });
      results.push(change);
    }
    return results;
  }

  /**
   * Writing: what is written matches, unless it is a deletion; the leaf that it extends is visible, and where it
   * extends none of a document that is there, so is the winner; a stub stands for an attachment of a visible leaf.
   *
   * @param {any[]} docs Each id once.
   * @param {{ newEdits: boolean }} options
   */
  async bulkDocs(docs, { newEdits }) {
    await this.selection.refresh();
    const refusals = await Promise.all(
      docs.map(async (doc) => {
        const error = typeof doc?._id === 'string' ? await this.refusal(doc, newEdits) : unmatched(doc, this.selection);
        return error && refusal(doc, newEdits, error);
      }),
    );
    const passed = docs.filter((_, place) => !refusals[place]);
    const written = await this.documents.bulkDocs(passed, { newEdits });
    const results = refusals.map(
      (result) => result ?? /** @type {import('./documents.js').WriteResult} */ (written.shift()),
    );
    // Whoever deleted what nobody had seen shall see its own deletion, or it could never write that id again.
    const gone = docs.filter((doc, place) => doc?._deleted && 'ok' in results[place]).map((doc) => doc._id);
    if (gone.length) await this.selection.record(gone);
    return results;
  }

  /** @param {Doc} doc @param {boolean} newEdits @returns {Promise<PeerPouchError | null>} */
  async refusal(doc, newEdits) {
    const leaves = await this.documents.leaves(doc._id);
    const visible = this.selection.visible(leaves, this.selection.members.has(doc._id));
    if (leaves.length && !visible.length) return new PeerPouchError('forbidden', HIDDEN);
    for (const [name, entry] of Object.entries(doc._attachments ?? {})) {
      const here = visible.flatMap((leaf) => leaf._attachments?.[name] ?? []);
      if (entry?.data === undefined && !here.some(({ digest }) => digest === entry?.digest)) {
        return new PeerPouchError(
          'missing_stub',
          `There is no attachment ${JSON.stringify(name)} that the stub could stand for.`,
        );
      }
    }
    const shown = new Set(visible.map((leaf) => leaf._rev));
    if (leaves.length && newEdits) {
      const parent = doc._rev ?? (leaves[0]._deleted ? leaves[0]._rev : undefined);
      if (!shown.has(parent)) return new PeerPouchError('conflict', 'Document update conflict');
    } else if (leaves.length) {
      const path = new Set(ancestry(doc));
      const extended = leaves.filter((leaf) => path.has(leaf._rev));
      if (!(extended.length ? extended : [leaves[0]]).every((leaf) => shown.has(leaf._rev)))
        return new PeerPouchError('forbidden', HIDDEN);
    }
    return unmatched(doc, this.selection);
  }
}

/** @param {any} doc @param {import('./selection.js').Selection} selection */
function unmatched(doc, selection) {
  return doc && !doc._deleted && !selection.matches(doc) ? new PeerPouchError('forbidden', UNMATCHED) : null;
}

/** @param {Doc[]} leaves @param {string} [rev] @param {boolean} [latest] @returns {Doc} */
function chosen(leaves, rev, latest = false) {
  if (rev === undefined) {
    if (!leaves.length) throw missing();
    if (leaves[0]._deleted) throw missing('deleted');
    return leaves[0];
  }
  checkRev(rev);
  const leaf = leaves.find((each) => answers(each, rev, latest));
  if (!leaf) throw missing();
  return leaf;
}

/** @param {string[]} ids Sorted. @param {any} options */
function inRange(ids, { startkey, endkey, inclusive_end = true, descending = false }) {
  const [low, high] = descending ? [endkey, startkey] : [startkey, endkey];
  return ids.filter((id) => {
    if (low !== undefined && (id < low || (id === low && descending && !inclusive_end))) return false;
    return high === undefined || id < high || (id === high && (descending || inclusive_end));
  });
}
