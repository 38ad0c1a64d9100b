/**
 * Share documents, verified. Pure. How they are made is in `announcing.js`, which a page loads when it shares
 * something.
 *
 * A share's id is a hash of its owner's key and of a digest of key and database uuid: stable over restarts, verifiable
 * by everybody, so that nobody puts another key behind an id. docs/protocol/trust.md, section 4.
 */

import { PeerPouchError } from '../errors.js';
import { digest, fromText, isBase32, toBase32, toText, utf8 } from '../trust/bytes.js';
import * as canonical from '../trust/canonical.js';
import { SIGNATURE_SIZE, fingerprint, verify } from '../trust/identity.js';
import { KEY_SIZE, sessionId } from '../trust/sealing.js';

/** @typedef {import('../trust/bytes.js').Bytes} Bytes */
/**
 * A share whose signature was verified.
 *
 * @typedef {object} Share
 * @property {string} id 26 characters, the same as long as its owner and its database are.
 * @property {string} name For people, at most 200 characters, no controls.
 * @property {any} info Any JSON of the owner's.
 * @property {Bytes} key The owner's key.
 * @property {string} fingerprint The key's.
 * @property {Bytes} database A digest of the owner's key and the database's uuid.
 * @property {string} session The id of the session that serves it: with the key, the owner's address.
 * @property {Bytes} sessionKey That session's X25519 key, to seal offers to.
 * @property {number} renewed When it was last renewed, by its owner's clock, in milliseconds since 1970.
 * @property {number} lease Seconds that it lives without another renewal.
 * @property {number} renewal Grows with every renewal of a session.
 * @property {boolean} deleted Whether this object tells that the share was withdrawn or ran out.
 */

export const PREFIX = 'share:';
/** The last id of the range that holds every share: a character that sorts after all that ids have, by bytes and by the
 * Unicode collation with which CouchDB's selectors compare. */
export const LAST = `${PREFIX}\ufff0`;

export const TYPE = 'peerpouch share';
export const VERSION = 1;
const ID_LENGTH = 26;

export const MAX_NAME = 200;
/** Bytes of `info` in canonical form: everybody who watches the hub holds all of them. */
export const MAX_INFO = 8 << 10;
/** Bytes of what is signed: name, info and fixed fields, with room for what later versions add. */
const MAX_DOCUMENT = 16 << 10;

export const MIN_LEASE = 10;
export const MAX_LEASE = 24 * 3600;

/** No controls, line ends and changes of direction: a name must not garble the listing that it stands in. */
// eslint-disable-next-line no-control-regex
const NAME = /^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+$/u;

/** @param {string} reason */
const invalid = (reason) => new PeerPouchError('invalid_signal', `The share document${reason}`);

/** What stands for a database in its owner's share documents; the uuid itself does not leave the owner.
 * @param {Uint8Array} key @param {string} uuid */
export const databaseDigest = (key, uuid) => digest('database', key, utf8(uuid));

/** @param {Uint8Array} key The owner's. @param {Uint8Array} database From {@link databaseDigest}. */
export const shareId = async (key, database) => toBase32(await digest('share-id', key, database), ID_LENGTH);

/** @param {unknown} text @returns {text is string} */
export const isShareId = (text) => isBase32(text, ID_LENGTH);

/** @param {unknown} name @returns {name is string} */
export const isName = (name) => typeof name === 'string' && NAME.test(name) && [...name].length <= MAX_NAME;

/** What a share says to people, as one text: the lease does not count, and `info` is in its canonical order.
 * @param {Share} share */
export const said = ({ id, name, info, session }) => JSON.stringify([id, name, info, session]);

/**
 * The share that a document describes.
 *
 * @param {any} document
 * @returns {Promise<Share>}
 * @throws {PeerPouchError} `invalid_signal` if its shape or its signature is wrong.
 */
export async function fromDocument(document) {
  try {
    const signed = signedBytes(document);
    const fields = canonical.decode(signed); // what was signed, never what merely looks like it
    const key = fromText(fields.key, { size: 32 });
    const share = await read(document, fields, key);
    const signature = fromText(document.signature, { size: SIGNATURE_SIZE });
    if (!(await verify(key, 'share', signed, signature))) throw invalid('\'s signature is not its owner\'s.');
    return share;
  } catch (error) {
    const { error: name, reason } = /** @type {PeerPouchError} */ (error);
    if (name === 'invalid_signal' || name === 'not_implemented') throw error;
    throw invalid(` is malformed: ${reason ?? error}`);
  }
}

/** What a share document's signature covers: all fields, later versions' too. @param {any} document */
export function signedBytes(document) {
  const fields = Object.entries(document).filter(([name]) => name[0] !== '_' && name !== 'signature');
  const signed = canonical.encode(Object.fromEntries(fields), { exact: false });
  if (signed.length > MAX_DOCUMENT) throw invalid(` has more than ${MAX_DOCUMENT} bytes.`);
  return signed;
}

/** @param {any} document @param {any} fields @param {Bytes} key @returns {Promise<Share>} */
async function read(document, fields, key) {
  const database = fromText(fields.database, { size: 32 });
  const sessionKey = fromText(fields.session_key, { size: KEY_SIZE });
  const id = await shareId(key, database);
  if (fields.type !== TYPE || fields.version !== VERSION) {
    throw invalid(' is of a kind or version that is not known here.');
  }
  // Another key could otherwise take the place of a share that people know.
  if (fields.share !== id || document._id !== PREFIX + id) throw invalid('\'s id does not belong to its owner\'s key.');
  if (fields.session !== await sessionId(sessionKey)) throw invalid('\'s session is not that of its session key.');
  if (!isName(fields.name)) throw invalid('\'s name is not allowed.');
  if (!('info' in fields) || canonical.encode(fields.info, { exact: false }).length > MAX_INFO) {
    throw invalid('\'s info is missing or too large.');
  }
  return Object.freeze({
    id,
    name: fields.name,
    info: fields.info,
    key,
    fingerprint: await fingerprint(key),
    database,
    session: fields.session,
    sessionKey,
    renewed: integer(fields, 'renewed', 0, Number.MAX_SAFE_INTEGER),
    lease: integer(fields, 'lease', MIN_LEASE, MAX_LEASE),
    renewal: integer(fields, 'renewal', 0, Number.MAX_SAFE_INTEGER),
    deleted: false,
  });
}

/** @param {any} fields @param {string} name @param {number} least @param {number} most @returns {number} */
function integer(fields, name, least, most) {
  const value = fields[name];
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalid(`'s ${name} is not an integer from ${least} to ${most}.`);
  }
  return value;
}
