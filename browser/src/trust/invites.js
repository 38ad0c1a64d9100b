/**
 * Invites: one string with all that is needed to open a share.
 *
 * `peerpouch:1:` and base64url of a checksum and a JSON payload with hub, share, the owner's fingerprint, and perhaps a
 * token and a name. The checksum finds a string that was cut, and protects nothing; the fingerprint does. An invite
 * with a token, or with the hub's credentials, is a secret: in a link it belongs behind the `#`, which no server is
 * sent.
 */

import { lazily } from '../lazy.js';
import { toText } from './bytes.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

export const TOKEN_SIZE = 16;
/** Where an offer carries the token. */
export const INVITE = 'peerpouch:invite';

/** @typedef {{hub: string, shareId: string, fingerprint: string, token?: Bytes | null, name?: string | null}} Parts */

/** What only pages need that make or read one. */
const texts = lazily(() => import('./invite-text.js'));

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
    return new Invite(parts, await (await texts()).write(parts));
  }

  /**
   * What {@link make} wrote, white space around it and a link before its `#` ignored, and what later versions may add.
   *
   * @param {string} text
   * @throws {PeerPouchError} `bad_request` if it is no invite, or was cut or mistyped. The error does not show it.
   */
  static async parse(text) {
    const { parts, plain } = await (await texts()).read(text);
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

/**
 * What goes with an offer, which is sealed to the owner: the opener's info, and the token of an invite.
 *
 * @param {any} info @param {Invite | null} invite
 */
export const enclose = (info, invite) => (invite?.token ? { [INVITE]: toText(invite.token), info } : info);
