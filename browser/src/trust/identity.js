/**
 * Identities: an Ed25519 key that stands for a person or a machine.
 *
 * In a browser its private key can't be read by anybody, the page's own scripts included: WebCrypto keeps it, and
 * IndexedDB stores it as it is. It belongs to the browser's profile and the page's origin; clearing the site's data
 * ends it.
 *
 * Signatures are domain-separated: what is signed is a label with the purpose, and the payload.
 */

import { PeerPouchError } from '../errors.js';
import { concat, digest, label, needsCurves, readBase32, subtle, toBase32, toText } from './bytes.js';
import { change } from './keystore.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

export const SIGNATURE_SIZE = 64;

/** Characters of a fingerprint: 100 bits, so nobody makes a key with somebody's (2^100 tries) or with any one of a
 * million people's (2^80). */
const FINGERPRINT_LENGTH = 20;

const ALGORITHM = 'Ed25519';

/** @param {string} plain */
const grouped = (plain) => /** @type {string[]} */ (plain.match(/..../g)).join('-');

/** What people compare: five groups of four characters. @param {Uint8Array} key A public key. */
export const fingerprint = async (key) =>
  grouped(toBase32(await digest('fingerprint', key), FINGERPRINT_LENGTH));

/**
 * A fingerprint that somebody typed, in the form of {@link fingerprint}; throws `bad_request`.
 *
 * @param {unknown} text
 */
export const readFingerprint = (text) => grouped(readBase32(text, FINGERPRINT_LENGTH));

/**
 * Whether the holder of `key` signed `payload` for `purpose`.
 *
 * @param {Uint8Array} key 32 bytes. @param {string} purpose @param {Uint8Array} payload @param {Uint8Array} signature
 * @returns {Promise<boolean>}
 */
export async function verify(key, purpose, payload, signature) {
  let imported;
  try {
    imported = await needsCurves(() =>
      subtle().importKey('raw', /** @type {Bytes} */ (key), ALGORITHM, false, ['verify']));
  } catch (error) {
    if (error instanceof PeerPouchError) throw error;
    return false; // 32 bytes that are no key
  }
  const signed = concat(label('sign', purpose), payload);
  return subtle().verify(ALGORITHM, imported, /** @type {Bytes} */ (signature), signed);
}

export class Identity {
  #privateKey;

  /**
   * @param {CryptoKey} privateKey
   * @param {Bytes} key The public key.
   * @param {string} print Its fingerprint.
   */
  constructor(privateKey, key, print) {
    this.#privateKey = privateKey;
    /** The public key, 32 bytes. */
    this.key = key;
    /** The whole public key as text: 43 characters. */
    this.text = toText(key);
    /** What people compare. */
    this.fingerprint = print;
    Object.freeze(this);
  }

  /** An identity that ends with the page. */
  static async ephemeral() {
    const { privateKey, key } = await generate();
    return new Identity(privateKey, key, await fingerprint(key));
  }

  /**
   * The user's identity in this browser, made at first use. Tabs that start at once get the same one.
   *
   * @param {{name?: string}} [options] Several can be kept under different names.
   * @throws {PeerPouchError} `invalid_identity` if it can't be kept, `not_implemented` if the browser has no such keys.
   */
  static async load({ name = 'default' } = {}) {
    // Made before the transaction, which would not wait for it; of several tabs, the first to store its own wins.
    const made = await generate();
    let kept;
    try {
      kept = await change(`identity:${name}`, (there) => there ?? made);
    } catch (error) {
      throw new PeerPouchError('invalid_identity', 'The identity of this browser can not be kept: ' +
        `${/** @type {Error} */ (error).message} A private window may allow no storage; Identity.ephemeral() makes one ` +
        'that ends with the page.', { cause: error });
    }
    if (!(kept.privateKey instanceof CryptoKey && kept.key instanceof Uint8Array)) {
      throw new PeerPouchError('invalid_identity', `What is stored as the identity ${name} is none.`);
    }
    return new Identity(kept.privateKey, kept.key, await fingerprint(kept.key));
  }

  /**
   * 64 bytes that prove, to who has {@link key}, that this identity signed `payload` for `purpose`.
   *
   * @param {string} purpose @param {Uint8Array} payload @returns {Promise<Bytes>}
   */
  async sign(purpose, payload) {
    return new Uint8Array(await subtle().sign(ALGORITHM, this.#privateKey, concat(label('sign', purpose), payload)));
  }

  /** @param {string} purpose @param {Uint8Array} payload @param {Uint8Array} signature */
  verify(purpose, payload, signature) {
    return verify(this.key, purpose, payload, signature);
  }

  toString() {
    return this.fingerprint;
  }
}

/** A fresh key pair, whose private half never leaves the browser's own code. */
async function generate() {
  const pair = /** @type {CryptoKeyPair} */ (
    await needsCurves(() => subtle().generateKey(ALGORITHM, false, ['sign', 'verify'])));
  return { privateKey: pair.privateKey, key: new Uint8Array(await subtle().exportKey('raw', pair.publicKey)) };
}
