/**
 * The one byte string of a JSON value: RFC 8785 (JCS), with two limits.
 *
 * What is signed passes through databases that reorder keys and rewrite numbers; the canonical form undoes that. A
 * reader must go on with what {@link decode} gives for the canonical bytes, never with the document that it took them
 * of.
 */

import { PeerPouchError } from '../errors.js';
import { fromUtf8, utf8 } from './bytes.js';

/** Levels of arrays and objects. Far below what any JSON parser of a peer stops at. */
export const MAX_DEPTH = 64;

/** @param {string} reason @returns {never} */
function refuse(reason) {
  throw new PeerPouchError('doc_validation', reason);
}

/**
 * @param {unknown} value JSON: plain objects, arrays, strings, finite numbers, booleans, null.
 * @param {{exact?: boolean}} [options] With `exact`, as a signer does, refuse integers beyond 2^53 − 1 that would be
 *   written as digits: a peer whose integers have any size would take them for exact.
 * @returns {Uint8Array<ArrayBuffer>} UTF-8.
 * @throws {PeerPouchError} `doc_validation`
 */
export const encode = (value, { exact = true } = {}) => utf8(write(value, 0, exact));

/** The value of canonical bytes. @param {Uint8Array} data @returns {any} */
export const decode = (data) => JSON.parse(fromUtf8(data));

/** @param {unknown} value @param {number} depth @param {boolean} exact @returns {string} */
function write(value, depth, exact) {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return writeText(value);
  if (typeof value === 'number') return writeNumber(value, exact);
  if (typeof value !== 'object') refuse(`A value of type ${typeof value} is not JSON.`);
  if (depth >= MAX_DEPTH) refuse(`Nested deeper than ${MAX_DEPTH} levels.`);
  if (Array.isArray(value)) return `[${Array.from(value, (child) => write(child, depth + 1, exact)).join()}]`;
  const kind = Object.prototype.toString.call(value);
  if (kind !== '[object Object]') refuse(`A value of the kind ${kind.slice(8, -1)} is not JSON.`);
  const members = /** @type {Record<string, unknown>} */ (value);
  // The order of sort() is that of UTF-16 code units, which RFC 8785 asks for.
  const names = Object.keys(members).sort();
  return `{${names.map((name) => `${writeText(name)}:${write(members[name], depth + 1, exact)}`).join()}}`;
}

/** @param {string} text */
function writeText(text) {
  if (!text.isWellFormed()) refuse('A lone surrogate is not valid Unicode text.');
  return JSON.stringify(text);
}

/** @param {number} value @param {boolean} exact */
function writeNumber(value, exact) {
  if (!Number.isFinite(value)) refuse(`${value} is not a JSON number.`);
  // From 10^21 on the text has an exponent, so nobody takes it for an exact integer.
  if (exact && Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    refuse('An integer beyond 2^53 - 1 is not exact in JavaScript, and would be taken for exact elsewhere.');
  }
  return JSON.stringify(value);
}
