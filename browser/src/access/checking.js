/** Documents as visitors write them: what makes one unwritable whatever else is there, and what of one is stored. */

import { MAX_DEPTH, nestsWithin } from '../depth.js';
import { PeerPouchError } from '../errors.js';
import { isObject } from '../values.js';

/** @typedef {Record<string, any>} Doc */

const REVISION = /^[1-9]\d{0,15}-[!#-+\-.-[\]-~]{1,255}$/;
const HASH = /^[!#-+\-.-[\]-~]{1,255}$/;

/** Fields with an underscore that a document may have when it is written; others are refused, as by CouchDB. */
const OWN_FIELDS = new Set(['_id', '_rev', '_deleted', '_attachments', '_revisions']);
/** What only some ways of reading add, and clients send back. CouchDB ignores them. */
const ADDED = new Set(['_conflicts', '_deleted_conflicts', '_local_seq', '_revs_info']);

/** @param {string} error @param {string} reason */
const failure = (error, reason) => new PeerPouchError(error, reason);

/** @param {unknown} rev @returns {string} @throws {PeerPouchError} `bad_request` */
export function checkRev(rev) {
  if (typeof rev === 'string' && REVISION.test(rev)) return rev;
  throw failure('bad_request', 'Invalid rev format');
}

/**
 * Asked before anything else is done with a document: almost all that is done with one recurses.
 *
 * @param {unknown} doc
 * @returns {PeerPouchError | null}
 */
export function tooDeep(doc) {
  return nestsWithin(doc, MAX_DEPTH) ? null : failure('doc_validation', `Nested deeper than ${MAX_DEPTH} levels.`);
}

/**
 * What makes a document unwritable whatever else is there.
 *
 * @param {any} doc
 * @param {boolean} newEdits
 * @returns {PeerPouchError | null}
 */
export function malformed(doc, newEdits) {
  if (!isObject(doc)) return failure('bad_request', 'Document must be a JSON object');
  if (doc._id !== undefined && (typeof doc._id !== 'string' || doc._id === '')) {
    return failure('illegal_docid', 'A document id must be a non-empty string.');
  }
  if (/^_(?!design\/.|local\/.)/.test(doc._id ?? '')) {
    return failure('illegal_docid', 'Only reserved document ids may start with underscore.');
  }
  for (const name of Object.keys(doc)) {
    if (name.startsWith('_') && !OWN_FIELDS.has(name) && !ADDED.has(name)) {
      return failure('doc_validation', `Bad special document member: ${name}`);
    }
  }
  if (doc._deleted !== undefined && typeof doc._deleted !== 'boolean') return failure('doc_validation', 'Bad _deleted');
  if (doc._rev !== undefined && !(typeof doc._rev === 'string' && REVISION.test(doc._rev))) {
    return failure('bad_request', 'Invalid rev format');
  }
  return malformedHistory(doc, newEdits) ?? malformedAttachments(doc._attachments);
}

/** @param {Doc} doc @param {boolean} newEdits */
function malformedHistory(doc, newEdits) {
  const history = doc._revisions;
  if (!newEdits && (doc._id === undefined || (doc._rev === undefined && history === undefined))) {
    return failure('bad_request', 'With new_edits=false a document needs an id and a revision.');
  }
  if (history === undefined || newEdits) return null;
  const fits =
    isObject(history) &&
    Number.isSafeInteger(history.start) &&
    Array.isArray(history.ids) &&
    history.ids.length > 0 &&
    history.ids.length <= history.start &&
    history.ids.every((/** @type {unknown} */ id) => typeof id === 'string' && HASH.test(id)) &&
    (doc._rev === undefined || doc._rev === `${history.start}-${history.ids[0]}`);
  return fits ? null : failure('bad_request', '_revisions is malformed.');
}

/** @param {any} entries */
function malformedAttachments(entries) {
  if (entries === undefined) return null;
  if (!isObject(entries)) return failure('doc_validation', '_attachments must be an object.');
  for (const [name, entry] of Object.entries(entries)) {
    if (name === '' || name.startsWith('_')) return failure('doc_validation', 'Attachment name is not allowed.');
    if (!isObject(entry)) return failure('doc_validation', `The attachment ${JSON.stringify(name)} is not an object.`);
    if (entry.data === undefined && !entry.stub) {
      return failure('doc_validation', `The attachment ${JSON.stringify(name)} has neither data nor stub.`);
    }
    // With anything else PouchDB fails where nobody hears of it, and never answers.
    if (entry.data !== undefined && !isContent(entry.data)) {
      return failure('doc_validation', `The data of the attachment ${JSON.stringify(name)} is not base64.`);
    }
  }
  return null;
}

/** Base64, or what `toPouch` made of bytes. @param {unknown} data */
const isContent = (data) => typeof data === 'string' || data instanceof Blob || data instanceof Uint8Array;

/**
 * An attachment that brings its content is no stub, whatever it says: PouchDB would go by the stub's digest, which may be
 * that of a document that its writer may not see.
 *
 * @param {Doc} entry
 */
function complete(entry) {
  if (entry.data === undefined) return entry;
  const { stub, digest, ...kept } = entry;
  return kept;
}

/** What is to be stored: without what only reading adds. @param {Doc} doc @param {boolean} newEdits */
export function storable(doc, newEdits) {
  const kept = Object.fromEntries(Object.entries(doc).filter(([name]) => !ADDED.has(name)));
  if (kept._attachments) {
    kept._attachments = Object.fromEntries(
      Object.entries(kept._attachments).map(([name, entry]) => [name, complete(entry)]),
    );
  }
  if (newEdits) delete kept._revisions;
  else kept._rev ??= `${doc._revisions.start}-${doc._revisions.ids[0]}`;
  return kept;
}
