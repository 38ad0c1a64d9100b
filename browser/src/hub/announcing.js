/** Share documents, made and signed. Pure: the time and the keys are arguments. */

import { PeerPouchError } from '../errors.js';
import { toText } from '../trust/bytes.js';
import * as canonical from '../trust/canonical.js';
import { MAX_INFO, MAX_LEASE, MAX_NAME, MIN_LEASE, PREFIX, TYPE, VERSION, isName, shareId } from './shares.js';

/** @typedef {import('../trust/identity.js').Identity} Identity */
/** @typedef {import('../trust/sealing.js').SessionKey} SessionKey */

/** Seconds that a share lives without renewal: owners renew every 30, so two renewals may be lost on the way. */
export const LEASE = 90;

/**
 * Whether a share may be called so.
 *
 * @param {string} name @param {any} info
 * @throws {PeerPouchError} `bad_request`
 */
export function checkDescription(name, info) {
  if (!isName(name)) {
    throw new PeerPouchError('bad_request',
      `A share's name has 1 to ${MAX_NAME} characters, without controls and line ends.`);
  }
  let size;
  try {
    size = canonical.encode(info).length;
  } catch (error) {
    throw new PeerPouchError('bad_request', `A share's info must be JSON: ${/** @type {Error} */ (error).message}`);
  }
  if (size > MAX_INFO) {
    throw new PeerPouchError('bad_request', `A share's info has at most ${MAX_INFO} bytes as JSON; this has ${size}.`);
  }
}

/** @param {number} lease Seconds. */
export function checkLease(lease) {
  if (!Number.isInteger(lease) || lease < MIN_LEASE || lease > MAX_LEASE) {
    throw new PeerPouchError('bad_request', `A lease lasts ${MIN_LEASE} to ${MAX_LEASE} seconds.`);
  }
}

/**
 * The signed document, without `_rev`.
 *
 * @param {Identity} identity The owner.
 * @param {SessionKey} session The session that serves the share.
 * @param {object} content
 * @param {Uint8Array} content.database From {@link databaseDigest}.
 * @param {string} content.name @param {any} content.info What {@link checkDescription} lets pass.
 * @param {number} content.lease Seconds.
 * @param {number} content.renewal Larger than in every earlier document of this session.
 * @param {number} content.now Milliseconds since 1970.
 * @returns {Promise<{_id: string, [field: string]: any}>}
 */
export async function toDocument(identity, session, { database, name, info, lease, renewal, now }) {
  const id = await shareId(identity.key, database);
  const fields = {
    type: TYPE,
    version: VERSION,
    share: id,
    database: toText(database),
    name,
    info,
    key: identity.text,
    session: session.id,
    session_key: toText(session.key),
    lease,
    renewal,
    renewed: now,
  };
  const signature = await identity.sign('share', canonical.encode(fields));
  return { _id: PREFIX + id, ...fields, signature: toText(signature) };
}
