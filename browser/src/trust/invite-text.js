/**
 * Invites as text, and what an owner gets of them. What a page has of an invite is in `invites.js`; this is loaded when it
 * makes or reads one.
 */

import { PeerPouchError } from '../errors.js';
import { isObject } from '../values.js';
import { concat, digest, equal, fromText, fromUtf8, isBase32, toText, utf8 } from './bytes.js';
import { readFingerprint } from './identity.js';
import { INVITE, TOKEN_SIZE } from './invites.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./invites.js').Parts} Parts */

const PREFIX = 'peerpouch:1:';
const SHARE_ID_LENGTH = 26;
const CHECKSUM = 4;

/** Characters: what a QR code holds (version 40, error correction L, 2,953 bytes). */
const MAX_LENGTH = 2800;

/** @param {string} reason */
const bad = (reason) => new PeerPouchError('bad_request', reason);

/** @param {Bytes} payload */
const checksum = async (payload) => (await digest('invite', payload)).subarray(0, CHECKSUM);

/** See {@link import('./invites.js').Invite.make}. @param {Parts} parts */
export async function write(parts) {
  check(parts);
  const { hub, shareId, fingerprint, token, name } = parts;
  const value = { h: hub, s: shareId, f: fingerprint, t: token ? toText(token) : undefined, n: name ?? undefined };
  const payload = utf8(JSON.stringify(value));
  const text = PREFIX + toText(concat(await checksum(payload), payload));
  if (text.length > MAX_LENGTH) throw bad(`The invite would be longer than ${MAX_LENGTH} characters.`);
  return text;
}

/** See {@link import('./invites.js').Invite.parse}. @param {string} text @returns {Promise<{parts: Parts, plain: string}>} */
export async function read(text) {
  const plain = String(text).trim().replace(/^https?:[^#]*#/, '');
  if (!plain.startsWith(PREFIX)) throw bad(`This is not an invite: invites begin with ${PREFIX}`);
  let value;
  try {
    const data = fromText(plain.slice(PREFIX.length), { limit: MAX_LENGTH });
    const payload = data.subarray(CHECKSUM);
    if (!equal(data.subarray(0, CHECKSUM), await checksum(payload))) throw new Error();
    value = JSON.parse(fromUtf8(payload));
    if (!isObject(value)) throw new Error();
  } catch {
    throw bad('The invite is damaged: was all of it copied?');
  }
  const token = value.t === undefined || value.t === null ? null : fromText(value.t, { size: TOKEN_SIZE });
  const parts = { hub: value.h, shareId: value.s, fingerprint: value.f, token, name: value.n };
  check(parts);
  return { parts, plain };
}

/** @param {Parts} parts */
function check({ hub, shareId, fingerprint, token, name }) {
  if (typeof hub !== 'string' || !hub) throw bad('An invite names a hub.');
  if (!isBase32(shareId, SHARE_ID_LENGTH)) throw bad('An invite names a share by its id.');
  if (typeof fingerprint !== 'string' || readFingerprint(fingerprint) !== fingerprint) {
    throw bad('An invite has the owner\'s fingerprint.');
  }
  if (token && token.length !== TOKEN_SIZE) throw bad(`An invite's token has ${TOKEN_SIZE} bytes.`);
  if (name !== undefined && name !== null && typeof name !== 'string') throw bad('An invite\'s name is text.');
  if (!hub.isWellFormed() || !(name ?? '').isWellFormed()) throw bad('An invite\'s texts are valid Unicode.');
}

/**
 * What {@link import('./invites.js').enclose} made: the info for people, and the token.
 *
 * @param {any} info
 * @returns {{ info: any, token: Uint8Array | null }}
 * @throws {PeerPouchError} `invalid_signal` if the token is malformed.
 */
export function disclose(info) {
  if (!isObject(info) || !Object.hasOwn(info, INVITE)) return { info: info ?? null, token: null };
  try {
    return { info: info.info ?? null, token: fromText(info[INVITE], { size: TOKEN_SIZE }) };
  } catch {
    throw new PeerPouchError('invalid_signal', 'The token of the invite is malformed.');
  }
}
