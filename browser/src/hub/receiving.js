/**
 * The owner's half of signals: offers opened and verified, answers made. Pure: keys and times are arguments.
 *
 * What is checked, and against whom, stands beside each check. An offer covers its recipient's key and session key, the
 * share, the time and the nonce that is in the document's id; an answer covers the hash of the offer.
 */

import { PeerPouchError } from '../errors.js';
import { digest, fromText, isBase32, toText, utf8 } from '../trust/bytes.js';
import { KEY_SIZE, isSessionId, seal } from '../trust/sealing.js';
import { TOLERANCE } from './leases.js';
import { isShareId } from './shares.js';
import {
  MAX_REASON, NONCE_LENGTH, REFUSALS, TYPE, VERSION, boxOf, checkSignature, firstId, invalid, isSame, part, read, sign,
} from './signals.js';

/** @typedef {import('../trust/bytes.js').Bytes} Bytes */
/** @typedef {import('../trust/identity.js').Identity} Identity */
/** @typedef {import('../trust/sealing.js').SessionKey} SessionKey */
/** @typedef {import('./signals.js').Address} Address */
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

/** @param {unknown} error @returns {boolean} */
export const isRefusal = (error) => error instanceof PeerPouchError && REFUSALS.has(error.error);

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
    `${difference > 0 ? 'ahead of' : 'behind'} the owner's, or the offer is a stale one; ` +
    `${TOLERANCE / 60_000} minutes are tolerated. Set both clocks.`);
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

/**
 * The signal document as the owner updates it: the answer in the offer's place.
 *
 * @param {any} document
 * @param {string} answer
 */
export const withAnswer = ({ _id, _rev, type, version, reply_to, created }, answer) =>
  ({ _id, _rev, type, version, reply_to, created, answer });
