/** Errors of a hub's database, under our names. */

import { PeerPouchError, STATUS } from '../errors.js';

/** @type {Record<number, string>} */
const BY_STATUS = {
  401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 409: 'conflict', 429: 'too_many_requests',
};

/**
 * An error of PouchDB's, of `fetch`, or the JSON of a server's with its status.
 *
 * @param {any} error
 * @returns {PeerPouchError}
 */
export function asError(error) {
  if (error instanceof PeerPouchError) return error;
  const reason = String(error?.reason ?? error?.message ?? error);
  const { status } = error ?? {};
  if (typeof status === 'number' && status >= 400) {
    const name = [error.error, error.name].find((each) => typeof each === 'string' && each in STATUS) ??
      BY_STATUS[status] ?? (status < 500 ? 'bad_request' : 'internal_server_error');
    return new PeerPouchError(name, reason, { status, cause: error });
  }
  const gone = /database is (closed|destroyed)/.test(reason);
  return new PeerPouchError(gone ? 'database_closed' : 'connection_failed', reason, { cause: error });
}

/**
 * Names whatever the hub's database raises as what it is for the caller: the hub that can't be used. A hub that forbids
 * a write must not look like a peer that refuses.
 *
 * @template T
 * @param {string} what @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export async function hubErrors(what, work) {
  try {
    return await work;
  } catch (error) {
    const known = asError(error);
    if (known.error === 'hub_unreachable') throw known;
    throw new PeerPouchError('hub_unreachable', `The hub can't be used to ${what}: ${known.reason}`, { cause: error });
  }
}
