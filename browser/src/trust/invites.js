/**
 * Invites: one string with all that is needed to open a share.
 *
 * `peerpouch:1:` and base64url of a checksum and a JSON payload with hub, share, the owner's fingerprint, and perhaps a
 * token and a name. The checksum finds a string that was cut, and protects nothing; the fingerprint does. An invite
 * with a token, or with the hub's credentials, is a secret: in a link it belongs behind the `#`, which no server is
 * sent.
 */

import { PeerPouchError } from '../errors.js';
import { concat, digest, equal, fromText, fromUtf8, isBase32, toText, utf8 } from './bytes.js';
import { readFingerprint } from './identity.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

export const PREFIX = 'peerpouch:1:';
export const TOKEN_SIZE = 16;
const SHARE_ID_LENGTH = 26;
const CHECKSUM = 4;

/** Characters: what a QR code holds (version 40, error correction L, 2,953 bytes). */
const MAX_LENGTH = 2800;

/** @typedef {{hub: string, shareId: string, fingerprint: string, token?: Bytes | null, name?: string | null}} Parts */

/** @param {string} reason */
const bad = (reason) => new PeerPouchError('bad_request', reason);

/** @param {Bytes} payload */
const checksum = async (payload) => (await digest('invite', payload)).subarray(0, CHECKSUM);

export class Invite {
  #hub;
  #token;
  #text;

  /** @param {Parts} parts @param {string} text */
  constructor({ hub, shareId, fingerprint, token = null, name = null }, text) {
    this.#hub = hub;
    this.#token = token;
    this.#text = text;
    this.shareId = shareId;
    /** The owner's; the share is refused if its key has another. */
    this.fingerprint = fingerprint;
    /** The share's name, to show before the hub was asked, or null. */
    this.name = name;
    Object.freeze(this);
  }

  // Not fields: a console and JSON.stringify show those, and these may let somebody in.

  /** The hub's address, credentials included where the inviter wanted that. */
  get hub() {
    return this.#hub;
  }

  /** 16 secret bytes that the owner knows, or null. */
  get token() {
    return this.#token;
  }

  /**
   * @param {Parts} parts
   * @throws {PeerPouchError} `bad_request` if a part is malformed, or the whole would not fit a QR code.
   */
  static async make(parts) {
    check(parts);
    const { hub, shareId, fingerprint, token, name } = parts;
    const value = { h: hub, s: shareId, f: fingerprint, t: token ? toText(token) : undefined, n: name ?? undefined };
    const payload = utf8(JSON.stringify(value));
    const text = PREFIX + toText(concat(await checksum(payload), payload));
    if (text.length > MAX_LENGTH) throw bad(`The invite would be longer than ${MAX_LENGTH} characters.`);
    return new Invite(parts, text);
  }

  /**
   * What {@link make} wrote, white space around it and a link before its `#` ignored, and what later versions may add.
   *
   * @param {string} text
   * @throws {PeerPouchError} `bad_request` if it is no invite, or was cut or mistyped. The error does not show it.
   */
  static async parse(text) {
    const plain = String(text).trim().replace(/^https?:[^#]*#/, '');
    if (!plain.startsWith(PREFIX)) throw bad(`This is not an invite: invites begin with ${PREFIX}`);
    let value;
    try {
      const data = fromText(plain.slice(PREFIX.length), { limit: MAX_LENGTH });
      const payload = data.subarray(CHECKSUM);
      if (!equal(data.subarray(0, CHECKSUM), await checksum(payload))) throw new Error();
      value = JSON.parse(fromUtf8(payload));
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error();
    } catch {
      throw bad('The invite is damaged: was all of it copied?');
    }
    const token = value.t === undefined || value.t === null ? null : fromText(value.t, { size: TOKEN_SIZE });
    const parts = { hub: value.h, shareId: value.s, fingerprint: value.f, token, name: value.n };
    check(parts);
    return new Invite(parts, plain);
  }

  /** Whether an owner's fingerprint is the one that the inviter meant. @param {string} print */
  isFor(print) {
    return print === this.fingerprint;
  }

  /** The whole, secrets included: for people and links, never for logs. */
  toString() {
    return this.#text;
  }
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

const INVITE = 'peerpouch:invite';

/**
 * What goes with an offer, which is sealed to the owner: the opener's info, and the token of an invite.
 *
 * @param {any} info @param {Invite | null} invite
 */
export const enclose = (info, invite) => (invite?.token ? { [INVITE]: toText(invite.token), info } : info);

/**
 * What {@link enclose} made: the info for people, and the token.
 *
 * @param {any} info
 * @returns {{ info: any, token: Uint8Array | null }}
 * @throws {PeerPouchError} `invalid_signal` if the token is malformed.
 */
export function disclose(info) {
  const isPlain = typeof info !== 'object' || info === null || Array.isArray(info);
  if (isPlain || !Object.hasOwn(info, INVITE)) return { info: info ?? null, token: null };
  try {
    return { info: info.info ?? null, token: fromText(info[INVITE], { size: TOKEN_SIZE }) };
  } catch {
    throw new PeerPouchError('invalid_signal', 'The token of the invite is malformed.');
  }
}
