/**
 * How two pools speak over an open connection: three requests in front of the shares that both serve
 * (`docs/protocol/connections.md`). Here is who asks; who answers is in `controlled.js`.
 */

import { PeerPouchError } from '../errors.js';

/**
 * @typedef {import('../transport/server.js').PeerRequest} PeerRequest
 * @typedef {import('../transport/link.js').Link} Link
 */

export const PREFIX = '/_peerpouch/';
export const CLOSED_HEADER = 'peerpouch-share';
/** Bytes of a control message: an `info` that fits an offer fits here too. */
const MAX_BODY = 64 * 1024;
export const JSON_TYPE = { 'content-type': 'application/json' };

/** @param {unknown} body */
export const jsonResponse = (body) =>
  new Response(JSON.stringify(body), { headers: { ...JSON_TYPE, 'cache-control': 'no-store' } });

/**
 * The answer to {@link checkAlive}, if a request is that: it must be quick, so nothing is loaded for it.
 *
 * @param {PeerRequest} request
 */
export const aliveAnswer = ({ method, url }) =>
  (method === 'GET' && url === `${PREFIX}alive` ? jsonResponse({ ok: true }) : null);

/**
 * @param {ReadableStream<Uint8Array> | null} body
 * @param {string} error What is thrown when it is too large.
 */
export async function readText(body, error) {
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
export function parse(text) {
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
