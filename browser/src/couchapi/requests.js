/** A request: its path, its parameters, its headers, and its body, which has a limit. */

import { PeerPouchError } from '../errors.js';
import { inflated } from '../transport/exchange.js';
import { isObject } from '../values.js';
import { Body, LARGE } from './room.js';

/**
 * What brings a request here: a Fetch Request, or whatever looks like one.
 *
 * @typedef {object} RequestLike
 * @property {string} method
 * @property {string} url Path and query; what stands before the path is ignored.
 * @property {Headers} headers
 * @property {ReadableStream<Uint8Array> | null} [body]
 * @property {AbortSignal} [signal] Aborted when the peer wants no answer any more.
 */

/**
 * Bytes of a JSON body, decompressed: PouchDB sends attachments as base64 inside `_bulk_docs`, 100 documents of 1 MB
 * fit.
 */
export const MAX_JSON = LARGE;

/** Bytes of a body with attachments, which a page must hold in memory until PouchDB has them. */
export const MAX_BODY = 1024 * 1024 * 1024;

const MAX_QUERY = 64 * 1024;

/** @param {string} reason @param {string} [error] @returns {never} */
export function refuse(reason, error = 'bad_request') {
  throw new PeerPouchError(error, reason);
}

/** @param {string} text */
export function decoded(text) {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return refuse('The URL is not percent-encoded UTF-8.');
  }
}

/**
 * Typed access to parameters: of the query, where values are text, and of a JSON body, which wins.
 */
export class Params {
  /** @param {Map<string, string>} query @param {Record<string, any>} [body] */
  constructor(query, body = {}) {
    this.query = query;
    this.body = body;
  }

  /** @param {string} name */
  has(name) {
    return Object.hasOwn(this.body, name) || this.query.has(name);
  }

  /** @param {Record<string, any>} body */
  withBody(body) {
    return new Params(this.query, body);
  }

  /** @param {string} name @returns {any} */
  raw(name) {
    return Object.hasOwn(this.body, name) ? this.body[name] : this.query.get(name);
  }

  /** @param {string} name @returns {string | undefined} */
  text(name) {
    const value = this.raw(name);
    if (value === undefined || typeof value === 'string') return value;
    return refuse(`Invalid value for string: parameter ${name}.`, 'query_parse_error');
  }

  /** @param {string} name @param {boolean} [otherwise] */
  boolean(name, otherwise = false) {
    const value = this.raw(name);
    if (value === undefined || value === null) return otherwise;
    if (value === true || value === 'true') return true;
    if (value === false || value === 'false') return false;
    return refuse(`Invalid boolean parameter: ${name}.`, 'query_parse_error');
  }

  /** @param {string} name @param {number} [least] @returns {number | undefined} */
  integer(name, least = 0) {
    let value = this.raw(name);
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'string' && /^[+-]?\d{1,15}$/.test(value)) value = Number(value);
    if (Number.isSafeInteger(value) && value >= least) return value;
    return refuse(`Invalid value for integer: parameter ${name}.`, 'query_parse_error');
  }

  /** A value that is JSON: decoded already in a body, encoded in a query. @param {string} name @returns {any} */
  json(name) {
    if (Object.hasOwn(this.body, name) || !this.query.has(name)) return this.body[name];
    try {
      return JSON.parse(/** @type {string} */ (this.query.get(name)));
    } catch {
      return refuse(`Invalid JSON in parameter ${name}.`, 'query_parse_error');
    }
  }

  /** @param {string} name @returns {string[] | undefined} */
  strings(name) {
    const value = this.json(name);
    if (value === undefined || (Array.isArray(value) && value.every((item) => typeof item === 'string'))) return value;
    return refuse(`${name} must be an array of strings.`, 'query_parse_error');
  }
}

/** @typedef {{ id: string, attachment: string, sent: number, length: number }} Sent How much of an attachment a reader took. */

export class Request {
  /**
   * @param {RequestLike} raw
   * @param {import('../access/gate.js').GatedDatabase} database
   * @param {{
   *   clock: import('../access/watching.js').Clock, name: string, room: import('./room.js').Room, visitor: string,
   *   onSent?: (progress: Sent) => void,
   * }} context
   */
  constructor(raw, database, context) {
    this.raw = raw;
    this.database = database;
    this.context = context;
    this.method = raw.method.toUpperCase();
    const [path, query = ''] = raw.url.replace(/^[a-z]+:\/\/[^/]*/, '').split(/\?(.*)/s);
    if (query.length > MAX_QUERY)
      refuse('The query string is too long; send the parameters in the body of a POST.', 'too_large');
    // Split before it is decoded, since an id may contain an encoded slash.
    this.segments = path
      .split('/')
      .filter((part) => part !== '')
      .map(decoded);
    const first = /^(_design|_local)\/(.+)$/s.exec(this.segments[0] ?? '');
    if (first) this.segments.splice(0, 1, first[1], first[2]);
    /** The path's variables, set by the router. @type {Record<string, string>} */
    this.values = {};
    const pairs = query
      .split('&')
      .filter((pair) => pair !== '')
      .map((pair) => pair.split(/=(.*)/s).slice(0, 2).map(decoded));
    this.params = new Params(new Map(pairs.map(([name, value = '']) => [name, value])));
    this.signal = raw.signal ?? new AbortController().signal;
    /** What is held of the body; released when the request was handled. */
    this.held = new Body(context.room, context.visitor, context.clock);
  }

  /** @param {string} name */
  header(name) {
    return this.raw.headers.get(name);
  }

  /**
   * Whether the Accept header names this type, or, `wildcard`, is absent or takes everything.
   *
   * @param {string} type
   * @param {boolean} wildcard
   */
  accepts(type, wildcard) {
    const header = this.header('accept');
    if (!header) return wildcard;
    const offered = header.split(',').map((item) => item.split(';')[0].trim().toLowerCase());
    return offered.includes(type) || (wildcard && offered.includes('*/*'));
  }

  /**
   * The body, decompressed, as it comes.
   *
   * @param {{ limit?: number, decode?: boolean }} [options]
   * @returns {AsyncGenerator<Uint8Array>}
   */
  async *chunks({ limit = MAX_BODY, decode = true } = {}) {
    const { body } = this.raw;
    if (!body) return;
    const encoding = (this.header('content-encoding') ?? 'identity').trim().toLowerCase();
    if (encoding !== 'identity' && encoding !== 'gzip')
      refuse('Only gzip and identity content-encodings are supported', 'bad_content_type');
    const zipped = encoding === 'gzip' && decode;
    try {
      yield* read(zipped ? inflated(/** @type {any} */ (body)) : body, limit, this.held);
    } catch (error) {
      // What decompressors throw differs.
      if (zipped && !(error instanceof PeerPouchError)) refuse('The body is not valid gzip.');
      throw error;
    }
  }

  /** The body as JSON. @param {{ required?: boolean }} [options] @returns {Promise<any>} */
  async json({ required = true } = {}) {
    if (
      this.header('content-type')?.split(';')[0].trim().toLowerCase() !== 'application/json' &&
      this.method === 'POST'
    ) {
      refuse('Content-Type must be application/json', 'bad_content_type');
    }
    const text = await (await blobOf(this.chunks({ limit: MAX_JSON }))).text();
    if (text === '' && !required) return {};
    try {
      return JSON.parse(text);
    } catch {
      return refuse('invalid UTF-8 JSON');
    }
  }

  /** @param {{ required?: boolean }} [options] @returns {Promise<Record<string, any>>} */
  async object(options) {
    const value = await this.json(options);
    return isObject(value) ? value : refuse('Request body must be a JSON object');
  }
}


/**
 * What a stream gives, while there is room for it.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {number} limit
 * @param {Body} held
 */
export async function* read(body, limit, held) {
  const reader = body.getReader();
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await held.wait(reader.read());
      if (done) return;
      size += value.length;
      if (size > limit) refuse(`The request's body is larger than the limit of ${limit} bytes.`, 'too_large');
      await held.grow(value.length);
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Bytes that are gathered before they are made a Blob, which a browser may keep elsewhere than in the page's memory. */
const GATHERED = 4 * 1024 * 1024;

/** @param {AsyncIterable<Uint8Array>} source */
export async function blobOf(source) {
  /** @type {BlobPart[]} */
  let blobs = [];
  /** @type {BlobPart[]} */
  let chunks = [];
  let size = 0;
  for await (const chunk of source) {
    chunks.push(/** @type {BlobPart} */ (chunk));
    size += chunk.length;
    if (size < GATHERED) continue;
    blobs.push(new Blob(chunks));
    chunks = [];
    size = 0;
  }
  return new Blob([...blobs, ...chunks]);
}
