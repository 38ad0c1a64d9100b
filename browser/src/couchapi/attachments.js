/** Handlers of one attachment: GET with ranges, PUT, DELETE. */

import { blobOf, refuse } from './requests.js';
import { created, documentId, isKnown, revision, write } from './documents.js';
import { toPouch, unzipped } from './multipart.js';
import { etag } from './responses.js';

/** @typedef {import('./requests.js').Request} Request */

/**
 * The bytes that a Range header asks for: first, and one past the last (RFC 9110, section 14.1.2). `null` when it is to
 * be ignored, `undefined` when no byte of it exists.
 *
 * @param {string | null} value @param {number} length @returns {[number, number] | null | undefined}
 */
export function parseRange(value, length) {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(value?.replace(/\s/g, '') ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  if (match[1] === '')
    return Number(match[2]) === 0 || length === 0 ? undefined : [Math.max(0, length - Number(match[2])), length];
  const start = Number(match[1]);
  const end = match[2] === '' ? length : Math.min(Number(match[2]) + 1, length);
  return start >= length || end <= start ? undefined : [start, end];
}

/** @param {Request} request */
export async function get(request) {
  const { params, database, values } = request;
  const { blob, content_type, digest, length } = await database.attachment(
    documentId(request),
    values.attachment,
    params.text('rev'),
  );
  const tag = digest.replace(/^md5-/, '');
  /** @type {Record<string, string>} */
  const headers = {
    ...etag(tag),
    // A header holds Latin-1.
    'content-type': /^[\x20-\x7e]+$/.test(content_type) ? content_type : 'application/octet-stream',
    'cache-control': 'must-revalidate',
    'accept-ranges': 'bytes',
    'content-security-policy': 'sandbox',
    ...(digest.startsWith('md5-') ? { 'content-md5': tag } : {}),
  };
  if (isKnown(request, tag)) return new Response(null, { status: 304, headers });
  // With another entity than the client has begun to fetch, it gets all of it (RFC 9110, section 13.1.5).
  const condition = request.header('if-range');
  const span =
    condition === null || condition.trim() === `"${tag}"` ? parseRange(request.header('range'), length) : null;
  if (span === undefined) {
    return Response.json(
      { error: 'requested_range_not_satisfiable', reason: 'Requested range not satisfiable' },
      { status: 416, headers: { 'content-range': `bytes */${length}` } },
    );
  }
  const [start, end] = span ?? [0, length];
  headers['content-length'] = String(end - start);
  if (span) headers['content-range'] = `bytes ${start}-${end - 1}/${length}`;
  /** @param {number} sent */
  const tell = (sent) =>
    request.context.onSent?.({ id: documentId(request), attachment: values.attachment, sent: start + sent, length });
  const check = () => database.require('read');
  const body = request.method === 'HEAD' ? null : checked(blob.slice(start, end), check, tell);
  return new Response(body, { status: span ? 206 : 200, headers });
}

/**
 * Content, which breaks off when the visit ends.
 *
 * @param {Blob} blob @param {() => void} check @param {(sent: number) => void} tell
 */
function checked(blob, check, tell) {
  const reader = blob.stream().getReader();
  let sent = 0;
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          check();
          const { done, value } = await reader.read();
          if (done) controller.close();
          else {
            controller.enqueue(value);
            tell((sent += value.length));
          }
        } catch (error) {
          controller.error(error);
          await reader.cancel();
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** Add or replace an attachment; the body is its content. @param {Request} request */
export async function put(request) {
  const { values } = request;
  const id = documentId(request);
  if (id.startsWith('_local/')) refuse('_local documents do not accept attachments.');
  request.database.require('write'); // not after everything was received
  const doc = await parent(request, id);
  const type = request.header('content-type') ?? 'application/octet-stream';
  const body = await blobOf(request.chunks({ decode: false }));
  const gzipped = request.header('content-encoding')?.trim().toLowerCase() === 'gzip';
  const data = await toPouch(gzipped ? await unzipped(body, request.held) : body, type);
  const entry = { content_type: type, data };
  return created(await write(request, { ...doc, _attachments: { ...doc._attachments, [values.attachment]: entry } }));
}

/**
 * The document that a write of an attachment extends.
 *
 * @param {Request} request
 * @param {string} id
 * @returns {Promise<Record<string, any>>}
 */
async function parent(request, id) {
  const rev = revision(request);
  try {
    const doc = await request.database.get(id, { rev });
    if (rev !== undefined) return doc;
  } catch (error) {
    if (/** @type {any} */ (error).status !== 404) throw error;
    if (rev === undefined) return { _id: id };
  }
  return refuse('Document update conflict', 'conflict');
}

/** @param {Request} request */
export async function remove(request) {
  const id = documentId(request);
  const rev = revision(request);
  const doc = await request.database.get(id, { rev });
  const { [request.values.attachment]: removed, ...others } = doc._attachments ?? {};
  if (!removed) refuse('Document is missing attachment', 'not_found');
  if (rev === undefined) refuse('Document update conflict', 'conflict');
  return created(await write(request, { ...doc, _attachments: others }), 200);
}
