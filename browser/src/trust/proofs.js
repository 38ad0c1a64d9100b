/**
 * Proofs for a public hub: that a session is one's own, and that a reply tag is. docs/protocol/public-hub.md, section
 * 2.
 *
 * A session's key is an X25519 key, which can't sign; but only its holder and the hub compute the secret that it has in
 * common with the hub's own key, and a proof is derived from that and the time.
 */

import { concat, digest, fromText, label, randomBytes, toBase32, toText, utf8 } from './bytes.js';
import { KEY_SIZE, SessionKey, expand } from './sealing.js';

const SESSION_HEADER = 'Peerpouch-Session';
const REPLY_HEADER = 'Peerpouch-Reply';
const HUB_HEADER = 'Peerpouch-Hub';

const SECRET_SIZE = 32;
const TAG_LENGTH = 26;

/** What a hub client is to its hub: the session's key, and the secret behind the reply tag of its offers. */
export class HubSession {
  /**
   * The hub's key and its time less our monotonic one, once it told them.
   *
   * @type {{key: Uint8Array, ahead: number} | null}
   */
  #hub = null;
  #secret;
  /** The last proof of the session. @type {string | null} */
  #last = null;

  /** Use {@link make}. @param {SessionKey} key @param {Uint8Array} secret @param {string} replyTo */
  constructor(key, secret, replyTo) {
    this.key = key;
    this.#secret = secret;
    /** By this the session's feed finds the answers to its offers: a random tag rather than the session's id, as the hub
     * need not learn which of its owners open what. */
    this.replyTo = replyTo;
  }

  /** @param {SessionKey} [key] @param {Uint8Array} [secret] Fresh ones by default. */
  static async make(key, secret = randomBytes(SECRET_SIZE)) {
    const tag = toBase32(await digest('reply-to', secret), TAG_LENGTH);
    return new HubSession(key ?? await SessionKey.generate(), secret, tag);
  }

  /** Whether the hub is a public one, which asks for proofs, as far as is known. */
  get isAskedFor() {
    return this.#hub !== null;
  }

  /**
   * Note what a hub tells of itself in an answer; one that tells nothing is a plain one, and is shown nothing.
   *
   * @param {Headers} headers Of the answer.
   * @param {number} monotonic Now, in milliseconds.
   * @returns {boolean} Whether it told something.
   */
  learn(headers, monotonic) {
    const [, key, time] = /^([\w-]{43})\.(0|[1-9]\d{0,15})$/.exec(headers.get(HUB_HEADER) ?? '') ?? [];
    if (!key) return false;
    try {
      this.#hub = { key: fromText(key, { size: KEY_SIZE }), ahead: Number(time) - monotonic };
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Add proofs to a request, if the hub asks for them.
   *
   * @param {Headers} headers Of the request. @param {number} monotonic Now, in milliseconds.
   */
  async prove(headers, monotonic) {
    if (!this.#hub) return;
    const { key, ahead } = this.#hub;
    const time = String(Math.max(0, Math.round(ahead + monotonic)));
    let shared;
    try {
      shared = await this.key.exchange(key);
    } catch { // no key: whatever is there, it gets nothing
      this.#hub = null;
      return;
    }
    const info = concat(label('prove', 'session'), utf8(time));
    const proof = await expand(shared, concat(this.key.key, key), info, 32);
    this.#last = `${toText(this.key.key)}.${time}.${toText(proof)}`;
    this.proveAgain(headers);
  }

  /** Add the proofs that were made last, where there is no time to make others. @param {Headers} headers */
  proveAgain(headers) {
    if (!this.#hub || !this.#last) return;
    headers.set(SESSION_HEADER, this.#last);
    headers.set(REPLY_HEADER, toText(this.#secret));
  }
}
