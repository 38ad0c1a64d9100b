/**
 * The `dbname` of a share: `webrtc://<share id>?hub=<hub>`, one string that opens it.
 *
 * The hub's credentials are left out: a `dbname` is shown, logged and pasted. Who opens it has them already, or gets
 * them in an invite.
 */

import { PeerPouchError } from '../errors.js';
import { isShareId } from './shares.js';

export const SCHEME = 'webrtc';

/** A URL's user and password: whatever stands before the last @ of its authority. */
const CREDENTIALS = /^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i;

/** Characters; what web servers take of a URL. */
const MAX_LENGTH = 8192;

/** A hub's URL without user and password; a name of a local database stays as it is. @param {string} hub */
export const withoutCredentials = (hub) => hub.replace(CREDENTIALS, '$1');

/** The `dbname` of a share in a hub, given the hub's URL or name. @param {string} shareId @param {string} hub */
export const formatName = (shareId, hub) => `${SCHEME}://${shareId}?hub=${encodeURIComponent(withoutCredentials(hub))}`;

/**
 * @param {string} name A `dbname`.
 * @returns {{shareId: string, hub: string}}
 * @throws {PeerPouchError} `bad_request` if it is none.
 */
export function parseName(name) {
  const [, shareId, query] = (name.length <= MAX_LENGTH && /^webrtc:\/\/([^/?#]*)\/?\?(.*)$/.exec(name)) || [];
  const hubs = new URLSearchParams(query).getAll('hub');
  if (!isShareId(shareId) || hubs.length !== 1 || !hubs[0]) {
    throw new PeerPouchError('bad_request',
      `A share's name looks like ${SCHEME}://<share id>?hub=<hub>; this does not: ${name.slice(0, 80)}`);
  }
  return { shareId, hub: hubs[0] };
}
