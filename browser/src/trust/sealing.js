/**
 * Sealed boxes: what only the holder of one session's key can read, and what nobody can alter or move.
 *
 *     box = ephemeral public key (32 bytes) || AES-256-GCM ciphertext || tag (16 bytes)
 *
 * The ephemeral X25519 key is made for one box, so the key and nonce that HKDF-SHA256 derives from it are used once.
 * The associated data is the id of the document that carries the box. docs/protocol/trust.md, section 3.
 */

import { PeerPouchError } from '../errors.js';
import { concat, digest, isBase32, label, needsCurves, subtle, toBase32 } from './bytes.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

export const KEY_SIZE = 32;
const OVERHEAD = KEY_SIZE + 16;

/** Characters of a session id: 130 bits, so that two sessions never have the same one. */
const SESSION_ID_LENGTH = 26;

/** The id of the session whose public key this is: a hash, so nobody else can claim it. @param {Uint8Array} key */
export const sessionId = async (key) => toBase32(await digest('session-id', key), SESSION_ID_LENGTH);

/** @param {unknown} text @returns {text is string} */
export const isSessionId = (text) => isBase32(text, SESSION_ID_LENGTH);

/** @param {Uint8Array} key */
const importPublic = (key) =>
  needsCurves(() => subtle().importKey('raw', /** @type {Bytes} */ (key), 'X25519', false, []));

/**
 * An X25519 key pair that lives as long as one session, or for one answer only. It is never stored: what was sealed to
 * a session that ended can't be opened by anybody, so nothing that was recorded can be replayed to the next one.
 */
export class SessionKey {
  #privateKey;

  /** @param {CryptoKey} privateKey @param {Bytes} key @param {string} id */
  constructor(privateKey, key, id) {
    this.#privateKey = privateKey;
    /** The public key, 32 bytes. */
    this.key = key;
    /** The session's id. */
    this.id = id;
  }

  static async generate() {
    const pair = /** @type {CryptoKeyPair} */ (
      await needsCurves(() => subtle().generateKey('X25519', false, ['deriveBits'])));
    const key = new Uint8Array(await subtle().exportKey('raw', pair.publicKey));
    return new SessionKey(pair.privateKey, key, await sessionId(key));
  }

  /**
   * @param {Uint8Array} theirs A public key.
   * @returns {Promise<Bytes>} The 32 bytes of the secret in common.
   */
  async exchange(theirs) {
    const shared = new Uint8Array(await subtle().deriveBits(
      { name: 'X25519', public: await importPublic(theirs) }, this.#privateKey, 8 * KEY_SIZE));
    // A point of small order gives a secret that everybody knows.
    if (shared.every((byte) => byte === 0)) throw new Error('An all-zero secret.');
    return shared;
  }

  /**
   * The content of a box that was sealed to this key.
   *
   * @param {Uint8Array} box @param {string} purpose @param {Uint8Array} associated
   * @returns {Promise<Bytes>}
   * @throws {PeerPouchError} `invalid_signal` if it was sealed to another key, for another purpose or document, or
   *   altered.
   */
  async open(box, purpose, associated) {
    try {
      if (box.length < OVERHEAD) throw new Error('Too short.');
      const ephemeral = box.subarray(0, KEY_SIZE);
      const { key, iv } = await derive(await this.exchange(ephemeral), ephemeral, this.key, purpose);
      const gcm = { name: 'AES-GCM', iv, additionalData: /** @type {Bytes} */ (associated) };
      return new Uint8Array(await subtle().decrypt(gcm, key,
        /** @type {Bytes} */ (box.subarray(KEY_SIZE))));
    } catch (error) {
      if (error instanceof PeerPouchError) throw error;
      throw new PeerPouchError('invalid_signal',
        'The sealed box can\'t be opened: it is for another session, or was altered.', { cause: error });
    }
  }
}

/**
 * A box that only the holder of `recipient`'s private key opens.
 *
 * @param {Uint8Array} recipient An X25519 public key. @param {Uint8Array} content
 * @param {string} purpose `offer` or `answer`; the one can't be taken for the other.
 * @param {Uint8Array} associated What must be presented again to open it.
 * @param {SessionKey} [ephemeral] Must never seal twice.
 * @returns {Promise<Bytes>}
 * @throws {PeerPouchError} `invalid_signal` if the recipient's key is none.
 */
export async function seal(recipient, content, purpose, associated, ephemeral) {
  ephemeral ??= await SessionKey.generate();
  let shared;
  try {
    shared = await ephemeral.exchange(recipient);
  } catch (error) {
    if (error instanceof PeerPouchError) throw error;
    throw new PeerPouchError('invalid_signal', 'The recipient\'s session key is not a valid X25519 key.');
  }
  const { key, iv } = await derive(shared, ephemeral.key, recipient, purpose);
  const sealed = await subtle().encrypt({ name: 'AES-GCM', iv, additionalData: /** @type {Bytes} */ (associated) },
    key, /** @type {Bytes} */ (content));
  return concat(ephemeral.key, new Uint8Array(sealed));
}

/** @param {Bytes} shared @param {Uint8Array} ephemeral @param {Uint8Array} recipient @param {string} purpose */
async function derive(shared, ephemeral, recipient, purpose) {
  const derived = await expand(shared, concat(ephemeral, recipient), label('seal', purpose), 44);
  const key = await subtle().importKey('raw', derived.subarray(0, 32), 'AES-GCM', false, ['encrypt', 'decrypt']);
  return { key, iv: derived.subarray(32) };
}

/**
 * HKDF-SHA256.
 *
 * @param {Bytes} secret @param {Bytes} salt @param {Bytes} info @param {number} length Bytes.
 */
export async function expand(secret, salt, info, length) {
  const material = await subtle().importKey('raw', secret, 'HKDF', false, ['deriveBits']);
  const hkdf = { name: 'HKDF', hash: 'SHA-256', salt, info };
  return new Uint8Array(await subtle().deriveBits(hkdf, material, 8 * length));
}
