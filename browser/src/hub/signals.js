/**
 * Offers and answers: sealed, signed, opened and verified. Pure: keys, times and randomness are arguments.
 *
 * A signal document carries one offer from an opener to a session, and then the answer to it. Both are sealed boxes whose
 * content is a signature (64 bytes) and JSON, which ends in spaces that fill it to a multiple of 1 KiB, so that its
 * length tells little. The signature covers those very bytes. docs/protocol/trust.md, section 5.
 */

import { PeerPouchError } from '../errors.js';
import { concat, digest, fromText, fromUtf8, isBase32, randomBytes, toBase32, toText, utf8 } from '../trust/bytes.js';
import { SIGNATURE_SIZE, verify } from '../trust/identity.js';
import { KEY_SIZE, SessionKey, isSessionId, seal } from '../trust/sealing.js';
import { TOLERANCE } from './leases.js';
import { isShareId } from './shares.js';

/** @typedef {import('../trust/bytes.js').Bytes} Bytes */
/** @typedef {import('../trust/identity.js').Identity} Identity */
/** @typedef {import('./shares.js').Share} Share */
/** @typedef {{key: Bytes, session: string}} Address */
/**
 * An offer that was opened and verified, but not yet held against the clock and earlier ones.
 *
 * @typedef {object} Offer
 * @property {string} documentId @property {string} shareId
 * @property {Address} sender The signature is its key's.
 * @property {Bytes} replyKey What to seal the answer to.
 * @property {string} nonce @property {number} time Milliseconds since 1970.
 * @property {any} body The opener's.
 * @property {Bytes} digest Of the signed content; the answer covers it.
 */
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
const TYPE = 'peerpouch signal';
const VERSION = 1;
const NONCE_LENGTH = 26;

/** Bytes of the JSON in an offer or answer: a description with some dozens of candidates is 8 KiB, the rest is info. */
const MAX_CONTENT = 64 << 10;
const PADDING = 1024;
/** Characters of a refusal's reason. */
const MAX_REASON = 1000;

/** What a refusal may say: errors whose reason is meant for the peer. All others become a plain `forbidden`. */
const REFUSALS = new Set(['forbidden', 'identity_changed', 'unauthorized', 'too_many_requests', 'share_not_found',
  'invalid_signal', 'clock_skew', 'protocol_error']);

/** @param {unknown} error @returns {boolean} */
export const isRefusal = (error) => error instanceof PeerPouchError && REFUSALS.has(error.error);

/** @param {string} reason */
const invalid = (reason) => new PeerPouchError('invalid_signal', reason);

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
 * The offer in a signal document.
 *
 * @param {any} document From the hub.
 * @param {string} key The recipient's own whole key.
 * @param {SessionKey} session The recipient's own session.
 * @returns {Promise<Offer>}
 * @throws {PeerPouchError} `invalid_signal` if it is for somebody else, altered, moved, forged or malformed.
 */
export async function openOffer(document, key, session) {
  const id = document._id;
  const nonce = typeof id === 'string' && id.startsWith(firstId(session.id)) && id.slice(firstId(session.id).length);
  if (!isBase32(nonce, NONCE_LENGTH)) throw invalid('The signal document\'s id is malformed.');
  if (document.type !== TYPE || document.version !== VERSION) {
    throw invalid('The signal document is of a kind or version that is not known here.');
  }
  const signed = await session.open(boxOf(document, 'offer'), 'offer', utf8(id));
  const content = read(signed);
  const from = part(content, 'from');
  let sender;
  let replyKey;
  try {
    sender = fromText(from.key, { size: 32 });
    replyKey = fromText(content.reply_key, { size: KEY_SIZE });
  } catch (error) {
    throw invalid(`The offer is malformed: ${/** @type {PeerPouchError} */ (error).reason}`);
  }
  await checkSignature(sender, signed, 'offer');
  // A recipient of it could open it, seal it anew and pass it on as the sender's.
  if (!isSame(content.to, { key, session: session.id, session_key: toText(session.key) })) {
    throw invalid('The offer was made for somebody else.');
  }
  // Under another id it would pass as an offer that was not seen before.
  if (content.nonce !== nonce) throw invalid('The offer\'s nonce is not that of its document.');
  const { share: shareId, time } = content;
  if (!isSessionId(from.session) || !isShareId(shareId) || !Number.isInteger(time)) {
    throw invalid('The offer is malformed.');
  }
  const body = part(content, 'body');
  return { documentId: id, shareId, sender: { key: sender, session: from.session }, replyKey, nonce, time, body,
    digest: await digest('offer', signed) };
}

/**
 * Hold an offer's time against the recipient's clock.
 *
 * @param {number} time @param {number} now Milliseconds.
 * @throws {PeerPouchError} `clock_skew` if they differ by more than 15 minutes.
 */
export function checkTime(time, now) {
  const difference = time - now;
  if (Math.abs(difference) <= TOLERANCE) return;
  throw new PeerPouchError('clock_skew', `The opener's clock is ${Math.round(Math.abs(difference) / 60_000)} minutes ` +
    `${difference > 0 ? 'ahead of' : 'behind'} the owner's, or the offer is a stale one; ${TOLERANCE / 60_000} minutes ` +
    'are tolerated. Set both clocks.');
}

/**
 * The sealed answer, as text for the field `answer` of the signal document.
 *
 * @param {Identity} identity The owner.
 * @param {SessionKey} session The owner's session.
 * @param {Offer} offer What is answered.
 * @param {any} outcome A body, or the PeerPouchError that refuses.
 * @param {SessionKey} [ephemeral] Must never have sealed before.
 * @throws {PeerPouchError} `bad_request` if the body is not JSON, or is too large.
 */
export async function makeAnswer(identity, session, offer, outcome, ephemeral) {
  /** @type {any} */
  const content = {
    version: VERSION,
    offer: toText(offer.digest),
    from: { key: identity.text, session: session.id },
    to: { key: toText(offer.sender.key), session: offer.sender.session },
  };
  if (outcome instanceof Error) {
    const { error, reason } = isRefusal(outcome) ? /** @type {PeerPouchError} */ (outcome) : REFUSED;
    content.refused = { error, reason: [...reason].slice(0, MAX_REASON).join('') };
  } else {
    content.body = outcome;
  }
  const signed = await sign(identity, content, 'answer');
  return toText(await seal(offer.replyKey, signed, 'answer', utf8(offer.documentId), ephemeral));
}

/** What an opener is told when the owner's own code failed: why, is the owner's. */
export const REFUSED = new PeerPouchError('forbidden', 'The other side could not let you in.');

/** The signal document as the owner updates it: the answer in the offer's place. @param {any} document @param {string} answer */
export const withAnswer = ({ _id, _rev, type, version, reply_to, created }, answer) =>
  ({ _id, _rev, type, version, reply_to, created, answer });

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
  const text = typeof reason === 'string' ? [...reason].slice(0, MAX_REASON).join('') : 'The owner does not let you in.';
  return { error: new PeerPouchError(REFUSALS.has(error) ? error : 'forbidden', text) };
}

/** Nobody but the holder of `key` made it: a hub, or a peer in another's name, could seal one as well.
 * @param {Uint8Array} key @param {Uint8Array} signed @param {string} purpose */
async function checkSignature(key, signed, purpose) {
  if (!(await verify(key, purpose, signed.subarray(SIGNATURE_SIZE), signed.subarray(0, SIGNATURE_SIZE)))) {
    throw invalid(`The ${purpose}'s signature is not its sender's.`);
  }
}

/** @param {any} value @param {Record<string, string>} wanted Whether it has these members and no others. */
const isSame = (value, wanted) => typeof value === 'object' && value !== null &&
  Object.keys(value).length === Object.keys(wanted).length &&
  Object.entries(wanted).every(([name, text]) => value[name] === text);

/** @param {Identity} identity @param {any} content @param {string} purpose */
async function sign(identity, content, purpose) {
  let payload;
  try {
    payload = utf8(JSON.stringify(content, strictly));
  } catch (error) {
    throw new PeerPouchError('bad_request', `The ${purpose}'s body is not JSON: ${/** @type {Error} */ (error).message}`);
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
function boxOf(document, field) {
  try {
    return fromText(document[field], { limit: 2 * MAX_CONTENT });
  } catch {
    throw invalid(`The signal document's ${field} is missing or malformed.`);
  }
}

/** @param {Uint8Array} signed @returns {any} */
function read(signed) {
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
function part(content, name) {
  const value = content[name];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`The signal's ${name} is missing.`);
  return value;
}
