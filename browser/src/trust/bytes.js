/**
 * Bytes as text, hashes with labels, and what the browser must have for all of that.
 *
 * Two encodings, each with exactly one text for a byte string, so that a text can be compared and signed: base64url
 * without padding (RFC 4648, section 5), and base32 in Crockford's alphabet for what people read aloud and for ids.
 */

import { PeerPouchError } from '../errors.js';

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @param {string} text @returns {Bytes} */
export const utf8 = (text) => encoder.encode(text);

/** The text of UTF-8; throws TypeError for what is none.
 * @param {Uint8Array} data */
export const fromUtf8 = (data) => decoder.decode(data);

/**
 * The browser's cryptography.
 *
 * @returns {SubtleCrypto}
 * @throws {PeerPouchError} `not_implemented`, with what to do, where pages have none.
 */
export function subtle() {
  const found = globalThis.crypto?.subtle;
  if (!found) {
    throw new PeerPouchError('not_implemented',
      'This page has no cryptography, because its address is not secure: open it by https://, or from localhost.');
  }
  return found;
}

/**
 * Runs what needs Ed25519 or X25519, and says so clearly where the browser has none.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function needsCurves(work) {
  try {
    return await work();
  } catch (error) {
    if (/** @type {Error} */ (error)?.name !== 'NotSupportedError') throw error;
    throw new PeerPouchError('not_implemented', 'This browser has no Ed25519 and X25519 keys. Chrome and Edge from ' +
      'version 137, Firefox from 130 and Safari from 18 have them: update it, or use another one.', { cause: error });
  }
}

/** @param {number} size @returns {Bytes} */
export const randomBytes = (size) => crypto.getRandomValues(new Uint8Array(size));

/** @param {Uint8Array[]} parts @returns {Bytes} */
export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts) {
    joined.set(part, place);
    place += part.length;
  }
  return joined;
}

/** Two digits for each byte, in lower case. @param {Uint8Array} data */
export const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Whether two byte strings are equal, in a time that tells only whether their lengths are.
 * @param {Uint8Array} a @param {Uint8Array} b */
export function equal(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let place = 0; place < a.length; place++) difference |= a[place] ^ b[place];
  return difference === 0;
}

/** Base64url without padding.
 * @param {Uint8Array} data */
export function toText(data) {
  let text = '';
  // In parts, since a call takes only so many arguments.
  for (let place = 0; place < data.length; place += 8192) {
    text += String.fromCharCode(...data.subarray(place, place + 8192));
  }
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/**
 * The inverse of {@link toText}: only the one text that it makes is taken.
 *
 * @param {unknown} text What came from outside.
 * @param {{size?: number, limit?: number}} [options] The exact bytes wanted; the most characters looked at: a text
 *   decides nothing about memory before it was measured.
 * @returns {Bytes}
 * @throws {PeerPouchError} `bad_request`
 */
export function fromText(text, { size, limit = 2 ** 20 } = {}) {
  if (typeof text === 'string' && text.length <= limit && /^[\w-]*$/.test(text) && text.length % 4 !== 1) {
    const data = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
    // Spare bits that are not zero would make several texts for the same bytes.
    if ((size === undefined || data.length === size) && toText(data) === text) return data;
  }
  throw new PeerPouchError('bad_request', size === undefined
    ? 'Expected base64url text.' : `Expected ${size} bytes as base64url text.`);
}

/** The first `5 * length` bits, most significant first, five to a character.
 * @param {Uint8Array} data @param {number} length */
export function toBase32(data, length) {
  let text = '';
  for (let bit = 0; bit < 5 * length; bit += 5) {
    const pair = (data[bit >> 3] << 8) | (data[(bit >> 3) + 1] ?? 0);
    text += ALPHABET[(pair >> (11 - (bit & 7))) & 31];
  }
  return text;
}

/** Whether `text` is one that {@link toBase32} makes, exactly.
 * @param {unknown} text @param {number} length @returns {text is string} */
export const isBase32 = (text, length) =>
  typeof text === 'string' && text.length === length && /^[0-9a-hjkmnp-tv-z]*$/.test(text);

/**
 * What somebody typed, in the exact form: any case, with spaces and hyphens, o for 0, i and l for 1.
 *
 * @param {unknown} text @param {number} length
 * @throws {PeerPouchError} `bad_request`
 */
export function readBase32(text, length) {
  const plain = typeof text === 'string' && text.length <= 4 * length
    ? text.replace(/[\s-]/g, '').toLowerCase().replaceAll('o', '0').replace(/[il]/g, '1') : '';
  if (!isBase32(plain, length)) {
    throw new PeerPouchError('bad_request', `Expected ${length} letters and digits, in groups if you like.`);
  }
  return plain;
}

/** The prefix of everything that is signed, hashed or derived. No purpose has a zero byte, so no label begins another.
 * @param {string} use @param {string} purpose */
export const label = (use, purpose) => utf8(`peerpouch-v1:${use}:${purpose}\0`);

/** SHA-256. @param {Uint8Array} data @returns {Promise<Bytes>} */
export const sha256 = async (data) =>
  new Uint8Array(await subtle().digest('SHA-256', /** @type {Bytes} */ (data)));

/**
 * H of the protocol: SHA-256 of the label for `purpose` and the parts, one after the other. They carry no lengths:
 * every part but the last must have a fixed one.
 *
 * @param {string} purpose @param {Uint8Array[]} parts
 */
export const digest = (purpose, ...parts) => sha256(concat(label('hash', purpose), ...parts));
