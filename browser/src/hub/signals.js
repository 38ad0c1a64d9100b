/**
 * Offers and answers: sealed, signed, opened and verified. Pure: keys, times and randomness are arguments. This is the
 * opener's half; the owner's is in `receiving.js`, which a page loads when it shares something.
 *
 * A signal document carries one offer from an opener to a session, and then the answer to it. Both are sealed boxes
 * whose content is a signature (64 bytes) and JSON, which ends in spaces that fill it to a multiple of 1 KiB, so that
 * its length tells little. The signature covers those very bytes. docs/protocol/trust.md, section 5.
 */

import { PeerPouchError } from '../errors.js';
import { concat, digest, fromText, fromUtf8, randomBytes, toBase32, toText, utf8 } from '../trust/bytes.js';
import { SIGNATURE_SIZE, verify } from '../trust/identity.js';
import { SessionKey, seal } from '../trust/sealing.js';

/** @typedef {import('../trust/bytes.js').Bytes} Bytes */
/** @typedef {import('../trust/identity.js').Identity} Identity */
/** @typedef {import('./shares.js').Share} Share */
/** @typedef {{key: Bytes, session: string}} Address */
/**
 * What an opener keeps of its offer until the answer comes.
 *
 * @typedef {object} SentOffer
 * @property {any} document The signal document to write.
 * @property {Share} share To whom.
 * @property {Address} sender The opener's own address.
 * @property {SessionKey} reply The key that only this answer is sealed to.
 * @property {Bytes} digest
 */

export const PREFIX = 'signal:';
export const TYPE = 'peerpouch signal';
export const VERSION = 1;
export const NONCE_LENGTH = 26;

/** Bytes of the JSON in an offer or answer: a description with some dozens of candidates is 8 KiB, the rest is info. */
const MAX_CONTENT = 64 << 10;
const PADDING = 1024;
/** Characters of a refusal's reason. */
export const MAX_REASON = 1000;

/** What a refusal may say: errors whose reason is meant for the peer. All others become a plain `forbidden`. */
export const REFUSALS = new Set(['forbidden', 'identity_changed', 'unauthorized', 'too_many_requests', 'share_not_found',
  'invalid_signal', 'clock_skew', 'protocol_error']);

/** @param {string} reason */
export const invalid = (reason) => new PeerPouchError('invalid_signal', reason);

/** 26 characters of 130 random bits. */
export const newNonce = () => toBase32(randomBytes(17), NONCE_LENGTH);

/** The first id of the signals for a session; what follows is a nonce. @param {string} session */
export const firstId = (session) => `${PREFIX}${session}:`;

/** The last one. @param {string} session */
export const lastId = (session) => `${firstId(session)}\ufff0`;

/**
 * An offer to a share's owner.
 *
 * @param {Identity} identity The opener.
 * @param {Share} share What to open.
 * @param {any} body JSON for the owner.
 * @param {object} options
 * @param {string} options.session The opener's session id.
 * @param {string} options.replyTo The opener's tag, by which its feed finds the answer.
 * @param {number} options.time Milliseconds since 1970, by the owner's clock as far as it is known.
 * @param {string} [options.nonce] @param {SessionKey} [options.reply] @param {SessionKey} [options.ephemeral]
 *   Fresh unless given; what was used once must not be given again.
 * @returns {Promise<SentOffer>}
 * @throws {PeerPouchError} `bad_request` if the body is not JSON, or is too large.
 */
export async function makeOffer(identity, share, body, options) {
  const { session, replyTo, time, nonce = newNonce(), reply = await SessionKey.generate(), ephemeral } = options;
  const content = {
    version: VERSION,
    share: share.id,
    to: { key: toText(share.key), session: share.session, session_key: toText(share.sessionKey) },
    from: { key: identity.text, session },
    reply_key: toText(reply.key),
    time,
    nonce,
    body,
  };
  const signed = await sign(identity, content, 'offer');
  const id = firstId(share.session) + nonce;
  const offer = toText(await seal(share.sessionKey, signed, 'offer', utf8(id), ephemeral));
  return {
    document: { _id: id, type: TYPE, version: VERSION, reply_to: replyTo, created: time, offer },
    share,
    sender: { key: identity.key, session },
    reply,
    digest: await digest('offer', signed),
  };
}

/**
 * The answer to an offer of ours.
 *
 * @param {any} document @param {SentOffer} sent
 * @returns {Promise<{body?: any, error?: PeerPouchError}>}
 * @throws {PeerPouchError} `invalid_signal` if it was not made by the share's owner, or not for this offer.
 */
export async function openAnswer(document, { document: { _id }, share, sender, reply, digest: asked }) {
  const signed = await reply.open(boxOf(document, 'answer'), 'answer', utf8(_id));
  const content = read(signed);
  await checkSignature(share.key, signed, 'answer');
  if (content.offer !== toText(asked)) throw invalid('The answer is for another offer.');
  if (!isSame(content.from, { key: toText(share.key), session: share.session })) {
    throw invalid('The answer does not come from the session that was asked.');
  }
  if (!isSame(content.to, { key: toText(sender.key), session: sender.session })) {
    throw invalid('The answer is for somebody else.');
  }
  if (content.refused === undefined || content.refused === null) return { body: part(content, 'body') };
  const { error, reason } = part(content, 'refused');
  const text = typeof reason === 'string' ? [...reason].slice(0, MAX_REASON).join('')
    : 'The owner does not let you in.';
  return { error: new PeerPouchError(REFUSALS.has(error) ? error : 'forbidden', text) };
}

/** Nobody but the holder of `key` made it: a hub, or a peer in another's name, could seal one as well.
 * @param {Uint8Array} key @param {Uint8Array} signed @param {string} purpose */
export async function checkSignature(key, signed, purpose) {
  if (!(await verify(key, purpose, signed.subarray(SIGNATURE_SIZE), signed.subarray(0, SIGNATURE_SIZE)))) {
    throw invalid(`The ${purpose}'s signature is not its sender's.`);
  }
}

/** @param {any} value @param {Record<string, string>} wanted Whether it has these members and no others. */
export const isSame = (value, wanted) => typeof value === 'object' && value !== null &&
  Object.keys(value).length === Object.keys(wanted).length &&
  Object.entries(wanted).every(([name, text]) => value[name] === text);

/** @param {Identity} identity @param {any} content @param {string} purpose */
export async function sign(identity, content, purpose) {
  let payload;
  try {
    payload = utf8(JSON.stringify(content, strictly));
  } catch (error) {
    throw new PeerPouchError('bad_request',
      `The ${purpose}'s body is not JSON: ${/** @type {Error} */ (error).message}`);
  }
  const size = Math.ceil((SIGNATURE_SIZE + payload.length) / PADDING) * PADDING - SIGNATURE_SIZE;
  if (size > MAX_CONTENT) {
    throw new PeerPouchError('bad_request',
      `The ${purpose}'s body is too large: ${MAX_CONTENT} bytes are the limit, with info.`);
  }
  const padded = new Uint8Array(size).fill(0x20);
  padded.set(payload);
  return concat(await identity.sign(purpose, padded), padded);
}

/** Refuses what `JSON.stringify` would alter in silence, or write so that others can't read it.
 * @param {string} name @param {unknown} value */
function strictly(name, value) {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`${value} is not a JSON number.`);
  if (!name.isWellFormed() || (typeof value === 'string' && !value.isWellFormed())) {
    throw new Error('A lone surrogate is not valid Unicode text.');
  }
  return value;
}

/** @param {any} document @param {string} field */
export function boxOf(document, field) {
  try {
    return fromText(document[field], { limit: 2 * MAX_CONTENT });
  } catch {
    throw invalid(`The signal document's ${field} is missing or malformed.`);
  }
}

/** @param {Uint8Array} signed @returns {any} */
export function read(signed) {
  if (signed.length <= SIGNATURE_SIZE || signed.length > SIGNATURE_SIZE + MAX_CONTENT) {
    throw invalid('The signal\'s content is of the wrong size.');
  }
  let content;
  try {
    content = JSON.parse(fromUtf8(signed.subarray(SIGNATURE_SIZE)));
  } catch {
    throw invalid('The signal\'s content is not JSON.');
  }
  if (content?.version !== VERSION) throw invalid('The signal\'s content is of a version that is not known here.');
  return content;
}

/** @param {any} content @param {string} name @returns {any} */
export function part(content, name) {
  const value = content[name];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`The signal's ${name} is missing.`);
  }
  return value;
}
