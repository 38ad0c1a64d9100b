/** How a pool answers over an open connection: control requests by itself, all others by the share that they name. */

import { PeerPouchError } from '../errors.js';
import { errorResponse } from '../transport/streams.js';
import { CLOSED_HEADER, JSON_TYPE, PREFIX, jsonResponse, parse, readText } from './control.js';

/**
 * @typedef {import('../transport/server.js').Handler} Handler
 * @typedef {import('../transport/server.js').PeerRequest} PeerRequest
 */

/**
 * A handler that answers control requests, and gives all others to what serves the share that they name.
 *
 * @param {{
 *   opened: (shareId: string, info: unknown) => Promise<unknown>,
 *   released: (shareId: string) => void,
 *   admitted: (shareId: string) => Handler | undefined,
 * }} calls `opened` gives the sharer's info or throws the refusal; `admitted` gives what serves a share to this peer, if it
 *   was let in.
 * @returns {Handler}
 */
export function controlled({ opened, released, admitted }) {
  return async (request) => {
    const { pathname } = new URL(request.url, 'http://peer');
    if (pathname.startsWith(PREFIX)) {
      const body = await control(request, pathname.slice(PREFIX.length), opened, released);
      return jsonResponse(body);
    }
    if (pathname === '/') {
      const welcome = { couchdb: 'Welcome', vendor: { name: 'peerpouch' } };
      return new Response(JSON.stringify(welcome), { headers: JSON_TYPE });
    }
    const [, shareId, rest] = /** @type {RegExpExecArray} */ (/^\/([^/?]*)(.*)$/s.exec(request.url));
    const handler = admitted(shareId);
    if (!handler) {
      await request.body?.cancel();
      return errorResponse(new PeerPouchError('share_not_found', 'No such share is open to you.'), {
        [CLOSED_HEADER]: 'closed',
      });
    }
    return handler({ ...request, url: rest.startsWith('/') ? rest : `/${rest}` });
  };
}

/**
 * @param {PeerRequest} request
 * @param {string} action
 * @param {(shareId: string, info: unknown) => Promise<unknown>} opened
 * @param {(shareId: string) => void} released
 */
async function control(request, action, opened, released) {
  const wanted = { open: 'POST', release: 'POST', alive: 'GET' }[action];
  if (!wanted) throw new PeerPouchError('not_found', 'missing');
  if (request.method !== wanted) throw new PeerPouchError('method_not_allowed', `Only ${wanted} is allowed here.`);
  if (action === 'alive') return { ok: true };
  const message = parse(await readText(request.body, 'bad_request'));
  if (typeof message?.share !== 'string') {
    throw new PeerPouchError('bad_request', 'A control message is an object with a share.');
  }
  if (action === 'open') return { ok: true, info: await opened(message.share, message.info ?? null) };
  released(message.share);
  return { ok: true };
}
