/** Keys of the test vectors, from their private halves; the plugin itself only ever makes fresh ones. */

import { readFileSync } from 'node:fs';

import { concat } from '../src/trust/bytes.js';
import { Identity, fingerprint } from '../src/trust/identity.js';
import { SessionKey, sessionId } from '../src/trust/sealing.js';

export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
export const toHex = (bytes) => Buffer.from(bytes).toString('hex');

/** PKCS #8 around 32 raw bytes (RFC 8410). */
const pkcs8 = (oid, raw) => concat(fromHex(`302e020100300506032b65${oid}04220420`), raw);

async function importPair(algorithm, oid, raw, usage) {
  const key = await crypto.subtle.importKey('pkcs8', pkcs8(oid, raw), algorithm, true, [usage]);
  const { x } = await crypto.subtle.exportKey('jwk', key);
  return [key, new Uint8Array(Buffer.from(x, 'base64url'))];
}

export async function identityOf(raw) {
  const [privateKey, key] = await importPair('Ed25519', '70', raw, 'sign');
  return new Identity(privateKey, key, await fingerprint(key));
}

export async function sessionOf(raw) {
  const [privateKey, key] = await importPair('X25519', '6e', raw, 'deriveBits');
  return new SessionKey(privateKey, key, await sessionId(key));
}

export const vectors = JSON.parse(readFileSync(new URL('../../tests/vectors/trust.json', import.meta.url), 'utf8'));
