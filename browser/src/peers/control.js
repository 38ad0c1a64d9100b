/**
 * How two pools speak over an open connection: three requests in front of the shares that both serve
 * (`docs/protocol/connections.md`).
 */

import { PeerPouchError } from '../errors.js';
import { errorResponse } from '../transport/streams.js';

/**
 * @typedef {import('../transport/server.js').Handler} Handler
 * @typedef {import('../transport/server.js').PeerRequest} PeerRequest
 * @typedef {import('../transport/link.js').Link} Link
 */

const PREFIX = '/_peerpouch/';
const CLOSED_HEADER = 'peerpouch-share';
/** Bytes of a control message: an `info` that fits an offer fits here too. */
const MAX_BODY = 64 * 1024;
const JSON_TYPE = { 'content-type': 'application/json' };

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
      return new Response(JSON.stringify(body), { headers: { ...JSON_TYPE, 'cache-control': 'no-store' } });
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

/**
 * @param {ReadableStream<Uint8Array> | null} body
 * @param {string} error What is thrown when it is too large.
 */
async function readText(body, error) {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  const reader = body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MAX_BODY) {
      await reader.cancel();
      throw new PeerPouchError(error, `A control message has at most ${MAX_BODY} bytes.`);
    }
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Ask to be let in to a share over an open connection. Gives the sharer's info, or throws the refusal.
 *
 * @param {Link} link
 * @param {string} shareId
 * @param {unknown} info
 * @param {AbortSignal} signal
 */
export async function openShare(link, shareId, info, signal) {
  return (await call(link, 'POST', 'open', { share: shareId, info }, signal)).info ?? null;
}

/**
 * Tell that a share is not used any more.
 *
 * @param {Link} link
 * @param {string} shareId
 * @param {AbortSignal} signal
 */
export async function releaseShare(link, shareId, signal) {
  await call(link, 'POST', 'release', { share: shareId }, signal);
}

/**
 * Returns if the other end answers; throws, or waits, if it does not.
 *
 * @param {Link} link
 * @param {AbortSignal} signal
 */
export async function checkAlive(link, signal) {
  await call(link, 'GET', 'alive', undefined, signal);
}

/**
 * Whether a response says that its share is not open to us.
 *
 * @param {Response} response
 */
export const isClosed = (response) => response.headers.get(CLOSED_HEADER) === 'closed';

/**
 * @param {Link} link
 * @param {string} method
 * @param {string} action
 * @param {object | undefined} message
 * @param {AbortSignal} signal
 */
async function call(link, method, action, message, signal) {
  const response = await link.fetch(`${PREFIX}${action}`, {
    method,
    signal,
    body: message && JSON.stringify(message),
    headers: { ...JSON_TYPE, accept: 'application/json' },
  });
  const answer = parse(await readText(response.body, 'protocol_error'));
  if (answer === null || typeof answer !== 'object') {
    const reason = `The peer's answer to a control request is not an object (status ${response.status}).`;
    throw new PeerPouchError('protocol_error', reason);
  }
  if (response.status === 200) return answer;
  const error = typeof answer.error === 'string' ? answer.error : 'protocol_error';
  const reason = typeof answer.reason === 'string' ? answer.reason : 'The peer refused, and did not say why.';
  throw new PeerPouchError(error, reason);
}
