/**
 * `multipart/related` (RFC 2387), in which replicators send documents with large attachments: the document as JSON,
 * then the content of each attachment that `follows`, in the document's order.
 *
 * PouchDB takes an attachment as one Blob, so the body is gathered as Blobs, which a browser may keep on disk.
 */

import { isObject } from '../values.js';
import { PeerPouchError } from '../errors.js';
import { inflated } from '../transport/exchange.js';
import { MAX_BODY, MAX_JSON, blobOf, read, refuse } from './requests.js';

/** Bytes of the head of a part; those of replicators have 200. */
const MAX_HEAD = 16 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Where `needle` begins in `data`, or -1. @param {Uint8Array} data @param {Uint8Array} needle */
export function indexOf(data, needle) {
  const last = data.length - needle.length;
  for (let at = data.indexOf(needle[0]); at >= 0 && at <= last; at = data.indexOf(needle[0], at + 1)) {
    let n = 1;
    while (n < needle.length && data[at + n] === needle[n]) n++;
    if (n === needle.length) return at;
  }
  return -1;
}

/** @param {Uint8Array} a @param {Uint8Array} b @returns {Uint8Array} */
function join(a, b) {
  if (a.length === 0) return b;
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

/**
 * The parts of a body.
 *
 * @param {AsyncIterable<Uint8Array>} body @param {string} boundary
 * @returns {AsyncGenerator<{ head: string, blob: Blob }>}
 */
export async function* parts(body, boundary) {
  const delimiter = encoder.encode(`\r\n--${boundary}`);
  const blank = encoder.encode('\r\n\r\n');
  // As if a line break stood before the first boundary, so that it is found like the others.
  let held = /** @type {Uint8Array} */ (encoder.encode('\r\n'));
  /** @type {Blob[] | null} */
  let blobs = null; // `null`: before the first part
  let head = '';
  for await (const chunk of body) {
    held = join(held, chunk);
    for (;;) {
      if (blobs !== null && head === '') {
        // Behind a boundary: either the end, or the head of a part.
        if (held.length >= 2 && held[0] === 45 && held[1] === 45) return;
        const end = indexOf(held, blank);
        if (end < 0 && held.length > MAX_HEAD) refuse('A part of the multipart body has no end of its head.');
        if (end < 0) break;
        head = `${decoder.decode(held.subarray(0, end))}\r\n`;
        // The line break that ends an empty head may begin the boundary's.
        held = held.subarray(end + 4);
      }
      const end = indexOf(held, delimiter);
      // What can't be part of a boundary is let go.
      const upto = end >= 0 ? end : Math.max(0, held.length - delimiter.length);
      if (blobs !== null && upto > 0) blobs.push(new Blob([/** @type {BlobPart} */ (held.slice(0, upto))]));
      held = held.subarray(end >= 0 ? end + delimiter.length : upto);
      if (end < 0) break;
      if (blobs !== null) yield { head, blob: new Blob(blobs) };
      blobs = [];
      head = '';
    }
  }
  refuse('The multipart body ended in the middle of a part.');
}

/**
 * The document of a `multipart/related` body, with its attachments inline.
 *
 * @param {import('./requests.js').Request} request
 * @returns {Promise<Record<string, any>>}
 */
export async function readRelated(request) {
  // Not after everything was received.
  request.database.require('write');
  const match = /;\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(request.header('content-type') ?? '');
  if (match === null) return refuse('The multipart body has no boundary.');
  const source = parts(request.chunks({ decode: false }), match[1] ?? match[2]);
  const first = await source.next();
  if (first.done) return refuse('The multipart body has no document.');
  if (first.value.blob.size > MAX_JSON)
    refuse(`The document is larger than the limit of ${MAX_JSON} bytes.`, 'too_large');
  let doc;
  try {
    doc = JSON.parse(await first.value.blob.text());
  } catch {
    return refuse('invalid UTF-8 JSON');
  }
  if (!isObject(doc)) return refuse('Document must be a JSON object');
  const entries = isObject(doc._attachments) ? Object.entries(doc._attachments) : [];
  let left = MAX_BODY; // of what the parts inflate to, all together
  for (const [name, entry] of entries) {
    if (!isObject(entry) || !entry.follows) continue;
    const part = await source.next();
    if (part.done) refuse('The multipart body has fewer parts than the document has attachments that follow.');
    else {
      doc._attachments[name] = await attachment(name, entry, part.value, left, request.held);
      const { data } = doc._attachments[name];
      left -= data.size ?? data.length;
    }
  }
  // To the closing boundary: a body that was cut off must not be taken for whole.
  while (!(await source.next()).done);
  return doc;
}

/**
 * @param {string} name
 * @param {Record<string, any>} entry
 * @param {{ head: string, blob: Blob }} part
 * @param {number} limit Bytes.
 * @param {import('./room.js').Body} held
 */
async function attachment(name, entry, { head, blob }, limit, held) {
  const file = /^content-disposition:[^\r\n]*filename="([^"\\%]*)"/im.exec(head)?.[1];
  // Parts go by their order. A file name, where there is one, must not contradict it.
  if (file !== undefined && file !== name)
    refuse(`The part of the attachment ${JSON.stringify(name)} is out of order.`);
  const expected = entry.encoding ? entry.encoded_length : entry.length;
  if (expected !== undefined && expected !== blob.size) {
    refuse(`The attachment ${JSON.stringify(name)} has ${blob.size} bytes, and not ${expected} as it says.`);
  }
  return {
    content_type: entry.content_type,
    data: await toPouch(entry.encoding === 'gzip' ? await unzipped(blob, held, limit) : blob, entry.content_type),
  };
}

/**
 * PouchDB stores what the content is, not how it was encoded.
 *
 * @param {Blob} blob
 * @param {import('./room.js').Body} held
 * @param {number} [limit] Bytes.
 */
export async function unzipped(blob, held, limit = MAX_BODY) {
  try {
    // A few bytes can inflate to anything: they count like those of a body that came as it is.
    return await blobOf(read(inflated(/** @type {any} */ (blob.stream())), limit, held));
  } catch (error) {
    if (error instanceof PeerPouchError) throw error;
    return refuse('The attachment is not valid gzip.');
  }
}

/**
 * Content as PouchDB takes it: a Blob in browsers, a Buffer in Node.
 *
 * @param {Blob} blob
 * @param {string} [type]
 * @returns {Promise<any>}
 */
export async function toPouch(blob, type) {
  const { Buffer } = /** @type {any} */ (globalThis);
  return Buffer ? Buffer.from(await blob.arrayBuffer()) : blob.slice(0, blob.size, type);
}
