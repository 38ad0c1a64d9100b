/** How deep what comes from others may nest: almost all that is done with it recurses. */

import { PeerPouchError } from './errors.js';

/**
 * Levels of arrays and objects that a document may have: as many as in Python. A browser's IndexedDB takes some 3,500; with
 * more, PouchDB's whole database fails from then on, and its owner can't read it any more.
 */
export const MAX_DEPTH = 500;

/** Levels that an answer has around its documents. */
const AROUND = 8;

/** @param {unknown} value @param {number} left Levels that it may have. @returns {boolean} */
export function nestsWithin(value, left) {
  // Bytes of an attachment are objects too, and have nothing inside.
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return true;
  if (left === 0) return false;
  for (const name in value) {
    if (!nestsWithin(/** @type {any} */ (value)[name], left - 1)) return false;
  }
  return true;
}

/**
 * The same response, whose JSON is not given when it nests too deep: a replication would put it into a local database.
 *
 * @template {Response} R
 * @param {R} response
 * @returns {R}
 */
export function checkedDepth(response) {
  const parse = response.json.bind(response);
  response.json = async () => {
    const value = await parse();
    if (nestsWithin(value, MAX_DEPTH + AROUND)) return value;
    const reason = `The share has a document that nests deeper than ${MAX_DEPTH} levels, which no database here survives.`;
    throw new PeerPouchError('protocol_error', reason);
  };
  return response;
}
