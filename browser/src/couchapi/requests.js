/** A request: its path, its parameters, its headers, and its body, which has a limit. */

import { PeerPouchError } from '../errors.js';
import { inflated } from '../transport/exchange.js';
import { Turns } from '../turns.js';
import { isObject } from '../access/selector.js';

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
export const MAX_JSON = 128 * 1024 * 1024;

/** Bytes of a body with attachments, which a page must hold in memory until PouchDB has them. */
export const MAX_BODY = 1024 * 1024 * 1024;

/** Bytes of a JSON body that needs no place: 64 of them, which one connection can have, are 16 MiB. */
const SMALL = 256 * 1024;

/** Bytes of one that needs a medium place; a replicator's batch has 1 MiB. */
const MEDIUM = 4 * 1024 * 1024;

/**
 * The places of one visitor for larger bodies, which are held whole while they are handled: as many medium ones as a
 * replicator has batches under way, and one of any size. Who waits holds up nobody else, since what is not read gives
 * no credit to its sender. So a visitor makes a page hold 16 + 16 + 128 MiB, and not 64 times 128.
 */
export const roomForBodies = () => ({ medium: new Turns(4), large: new Turns(1) });

const MAX_QUERY = 64 * 1024;

/** @param {string} reason @param {string} [error] @returns {never} */
export function refuse(reason, error = 'bad_request') {
  throw new PeerPouchError(error, reason);
}

/** @param {string} text */
function decoded(text) {
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

export class Request {
  /**
   * @param {RequestLike} raw
   * @param {import('../access/gate.js').GatedDatabase} database
   * @param {{ clock: import('../access/watching.js').Clock, name: string, room: ReturnType<typeof roomForBodies> }} context
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
    /** Ends the request's hold on its places. @type {() => void} */
    this.release = () => {};
    /** @type {Promise<void>} */
    this.handled = new Promise((resolve) => { this.release = resolve; });
  }

  /** Wait for a place, and keep it until the request was handled. @param {Turns} turns @returns {Promise<void>} */
  place(turns) {
    return new Promise((resolve) => {
      void turns.take(() => {
        resolve();
        return this.handled;
      });
    });
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
      yield* read(zipped ? inflated(/** @type {any} */ (body)) : body, limit);
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
    const { medium, large } = this.context.room;
    const chunks = [];
    let size = 0;
    let places = 0;
    for await (const chunk of this.chunks({ limit: MAX_JSON })) {
      size += chunk.length;
      if (size > SMALL && places === 0) places = await this.place(medium).then(() => 1);
      if (size > MEDIUM && places === 1) places = await this.place(large).then(() => 2);
      chunks.push(chunk);
    }
    const text = await new Blob(/** @type {BlobPart[]} */ (chunks)).text();
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


/** @param {ReadableStream<Uint8Array>} body @param {number} limit */
export async function* read(body, limit) {
  const reader = body.getReader();
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      size += value.length;
      if (size > limit) refuse(`The request's body is larger than the limit of ${limit} bytes.`, 'too_large');
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @template T @param {AsyncIterable<T>} source @returns {Promise<T[]>} */
export async function gather(source) {
  const items = [];
  for await (const item of source) items.push(item);
  return items;
}
