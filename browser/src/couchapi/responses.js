/** Responses: JSON at once, or a stream; and the one place where an error becomes a response. */

import { PeerPouchError } from '../errors.js';
import { asError } from '../access/documents.js';

/** @typedef {(string | Uint8Array | Blob)} Chunk */

const JSON_HEADERS = { 'content-type': 'application/json', 'cache-control': 'must-revalidate' };

/** Characters that a streamed response gathers before it sends, so that the cost of a message does not count. */
const GATHERED = 64 * 1024;

/** @param {any} value @param {{ status?: number, headers?: Record<string, string> }} [options] */
export function jsonResponse(value, { status = 200, headers = {} } = {}) {
  return new Response(`${JSON.stringify(value)}\n`, { status, headers: { ...JSON_HEADERS, ...headers } });
}

/** @param {string} value */
export const etag = (value) => ({ etag: `"${value}"` });

/** `error` and `reason`, the same for a response and for one document of many. @param {PeerPouchError} error */
export const errorFields = ({ error, reason }) => ({ error, reason });

/** @param {unknown} error @param {Record<string, string>} [headers] */
export function errorResponse(error, headers) {
  const known = asError(error);
  return jsonResponse(errorFields(known), { status: known.status, headers });
}

/**
 * A response whose body is made while it is read. Small pieces are joined; an empty one means: send what there is,
 * since nothing may come for a while.
 *
 * @param {AsyncGenerator<string>} pieces
 * @param {{ abort?: AbortController, headers?: Record<string, string> }} [options] `abort` is aborted when the
 *   reader goes away, so that pieces which are waited for come to an end.
 */
export function streamResponse(pieces, { abort, headers = JSON_HEADERS } = {}) {
  const encoder = new TextEncoder();
  return new Response(
    new ReadableStream(
      {
        async pull(controller) {
          let held = '';
          try {
            for (;;) {
              const { done, value } = await pieces.next();
              if (!done) held += value;
              if (held !== '' && (done || value === '' || held.length >= GATHERED))
                controller.enqueue(encoder.encode(held));
              if (done) controller.close();
              if (done || (held !== '' && (value === '' || held.length >= GATHERED))) return;
            }
          } catch (error) {
            controller.error(error);
          }
        },
        async cancel() {
          abort?.abort();
          await pieces.return(undefined);
        },
      },
      { highWaterMark: 0 },
    ),
    { headers },
  );
}

/**
 * JSON in pieces. When it fails in the middle, the error follows in a line of its own: the status was sent long
 * ago, and what was sent is not valid JSON, so no client can take half a listing for a whole one. CouchDB does the
 * same.
 *
 * @param {AsyncGenerator<string>} pieces
 */
export async function* told(pieces) {
  try {
    yield* pieces;
  } catch (error) {
    yield `\n\n${JSON.stringify(errorFields(asError(error)))}\n`;
  }
}
