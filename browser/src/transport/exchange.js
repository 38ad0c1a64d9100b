/** The client's side of a link: requests go over the data channel, and `Response` objects come back. */

import { PeerPouchError } from '../errors.js';
import { Code } from '../wire/frames.js';
import { StreamEnd, bodyStream, endToEnd } from './streams.js';

/** @typedef {import('./link.js').Link} Link */

/**
 * Bytes of a response that are taken though nobody reads them: so the small body of an error, which PouchDB often throws
 * away unread, does not occupy its stream for ever.
 */
const AHEAD = 64 * 1024;
/** A Blob up to this size is read at once; a larger one is sent while it is read. */
const SMALL_BLOB = 1024 * 1024;
/** Bytes that the decompressor is given at a time: what they become at once (1,032 times as much at most) is bounded. */
const GZIP_STEP = 4 * 1024;
/** Statuses whose responses have no body (Fetch, "null body status"). */
const NO_BODY = new Set([204, 205, 304]);

const canInflate = typeof DecompressionStream === 'function';

/**
 * A request that can be sent. `inflate`: gzip is asked for here, and not by the caller.
 *
 * @typedef {{
 *   head: import('../wire/frames.js').RequestHead, body: Uint8Array | ReadableStream<Uint8Array> | null,
 *   signal: AbortSignal | null, inflate: boolean,
 * }} Prepared
 */

/**
 * A request as `fetch` takes it, made ready for the channel.
 *
 * @param {string} path Percent-encoded, with its query.
 * @param {RequestInit} [init]
 * @returns {Promise<Prepared>}
 */
export async function prepare(path, init = {}) {
  const headers = new Headers(init.headers);
  const method = (init.method ?? 'GET').toUpperCase();
  /** @type {Prepared['body']} */
  let body = null;
  let size = init.body === undefined || init.body === null ? null : 0;
  if (init.body instanceof ReadableStream) {
    body = init.body;
    size = null;
  } else if (size !== null) {
    // Fetch's own rules say what bytes a body is, and what content type it has by default.
    const given = new Response(/** @type {BodyInit} */ (init.body));
    const type = given.headers.get('content-type');
    if (type && !headers.has('content-type')) headers.set('content-type', type);
    const isLarge = init.body instanceof Blob && init.body.size > SMALL_BLOB;
    body = isLarge ? given.body : new Uint8Array(await given.arrayBuffer());
    size = init.body instanceof Blob ? init.body.size : /** @type {Uint8Array} */ (body).length;
  }
  if (size !== null && method !== 'GET' && method !== 'HEAD') headers.set('content-length', String(size));
  const inflate = canInflate && !headers.has('accept-encoding') && !headers.has('range');
  if (inflate) headers.set('accept-encoding', 'gzip');
  return {
    head: { method, path, headers: endToEnd(headers) },
    body: body instanceof Uint8Array && !body.length ? null : body,
    signal: init.signal ?? null,
    inflate,
  };
}

/**
 * Send a request over a link; gives the response when its head is there, while both bodies may still flow.
 *
 * @param {Link} link
 * @param {Prepared} request A body that is a stream is used up.
 * @returns {Promise<Response>} Rejects with `peer_unreachable` when the link ends, `too_large` when URL and headers are
 *   larger than the peer takes, `protocol_error` when the peer breaks the protocol, and what the signal was aborted with.
 */
export async function send(link, { head, body, signal, inflate }) {
  signal?.throwIfAborted();
  const { packing } = link;
  if (packing && link.peerTakesGzip && body instanceof Uint8Array) {
    ({ head, body } = (await packing.request(head, body)) ?? { head, body });
    signal?.throwIfAborted();
  }
  const call = new Call(link);
  const abort = () => call.abandon(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  call.release = () => signal?.removeEventListener('abort', abort);
  try {
    while (!link.isReady()) await Promise.race([link.change(), call.head]); // the latter fails upon an abort
    link.open(call, head, !body);
    // All of it is in memory already, so there is nothing to gain from waiting for room.
    if (body instanceof Uint8Array) link.send(call, body, true);
    else if (body) void call.sendBody(body);
    const response = await call.head;
    return responseOf(call, head.method, response, inflate);
  } catch (error) {
    call.abandon(error);
    throw error;
  }
}

/** One request of this side. */
class Call extends StreamEnd {
  /** @param {Link} link */
  constructor(link) {
    super(link);
    /** @type {(head: import('../wire/frames.js').ResponseHead) => void} */
    this.begin = () => {};
    /** @type {(error: unknown) => void} */
    this.refuse = () => {};
    /** @type {Promise<import('../wire/frames.js').ResponseHead>} */
    this.head = new Promise((resolve, reject) => {
      this.begin = resolve;
      this.refuse = reject;
    });
    this.head.catch(() => {}); // nobody may be waiting when it fails
    this.begun = false;
    /** @type {ReadableStreamDefaultReader<Uint8Array> | null} The body that is being sent. */
    this.source = null;
    this.release = () => {};
  }

  /**
   * Send a body that is made while it is sent.
   *
   * @param {ReadableStream<Uint8Array>} body
   */
  async sendBody(body) {
    const source = (this.source = body.getReader());
    try {
      for (;;) {
        const { done, value } = await source.read();
        if (this.source !== source) return; // it is not wanted any more
        await this.send(value ?? new Uint8Array(), done);
        if (done) break;
      }
      this.source = null;
    } catch (error) {
      if (this.source !== source) return;
      this.link.reset(this, Code.CANCELLED, 'The body of the request could not be made.');
      this.fail(error);
    }
  }

  /** @override @param {import('../wire/frames.js').ResponseHead} head @param {boolean} ended */
  onHead(head, ended) {
    this.ended = ended;
    this.begun = true;
    this.begin(head);
  }

  /** @override @param {number} code @param {string} reason */
  onReset(code, reason) {
    if (code === Code.NONE && this.ended) {
      this.stopSending();
      return;
    }
    this.link.done(this);
    this.fail(errorOf(code, reason));
  }

  /** @override @param {PeerPouchError} error */
  onLost(error) {
    if (this.ended && this.begun) {
      this.stopSending(); // the whole response is here; it can be read after the end of the link
      return;
    }
    this.link.reset(this, Code.CANCELLED);
    this.fail(error);
  }

  /** @override @param {unknown} error */
  fail(error) {
    this.refuse(error);
    super.fail(error);
    this.stopSending();
  }

  stopSending() {
    const source = this.source;
    this.source = null;
    source?.cancel().catch(() => {});
  }

  /** @override */
  onForgotten() {
    if (this.link.ends.get(this.stream) === this) this.abandon(null);
  }

  /**
   * Nobody wants the response, or the rest of it.
   *
   * @param {unknown} reason
   */
  abandon(reason) {
    this.release();
    this.link.reset(this, Code.CANCELLED);
    this.fail(reason ?? new PeerPouchError('peer_unreachable', 'The response was closed before it was read.'));
  }

  /** @override */
  async read() {
    const chunk = await super.read();
    if (!chunk) {
      this.release();
      this.link.done(this);
    }
    return chunk;
  }
}

/**
 * @param {Call} call
 * @param {string} method
 * @param {import('../wire/frames.js').ResponseHead} head
 * @param {boolean} inflate
 */
function responseOf(call, method, head, inflate) {
  const headers = new Headers(head.headers.map(([name, value]) => /** @type {[string, string]} */ ([name, value])));
  const body = bodyStream(call, { ahead: AHEAD, cancel: (reason) => call.abandon(reason) });
  // Its end is taken though nobody reads it.
  if (method === 'HEAD' || NO_BODY.has(head.status)) return new Response(null, { status: head.status, headers });
  if (!inflate || headers.get('content-encoding') !== 'gzip') return new Response(body, { status: head.status, headers });
  headers.delete('content-encoding');
  headers.delete('content-length');
  return new Response(inflated(body), { status: head.status, headers });
}

/** Decompressed, in steps whose output is bounded. @param {ReadableStream<Uint8Array<ArrayBuffer>>} body */
export function inflated(body) {
  /** @type {TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>} */
  const steps = new TransformStream({
    transform(chunk, controller) {
      for (let at = 0; at < chunk.length; at += GZIP_STEP) controller.enqueue(chunk.subarray(at, at + GZIP_STEP));
    },
  });
  return body.pipeThrough(steps).pipeThrough(new DecompressionStream('gzip'));
}

/** @type {Record<number, [string, string]>} */
const ERRORS = {
  [Code.CANCELLED]: ['peer_unreachable', 'The peer gave up the request'],
  [Code.REFUSED]: ['peer_unreachable', 'The peer takes no more requests'],
  [Code.PROTOCOL]: ['protocol_error', 'The channel protocol was broken'],
  [Code.FLOW]: ['protocol_error', "The channel protocol's credit was exceeded"],
  [Code.TOO_LARGE]: ['too_large', 'The URL and the headers are too large'],
  [Code.EXCESS]: ['too_many_requests', 'The peer is asked too much'],
};

/**
 * @param {number} code
 * @param {string} reason
 */
function errorOf(code, reason) {
  const [error, text] = ERRORS[code] ?? ['internal_server_error', 'The peer failed while it answered'];
  return new PeerPouchError(error, reason ? `${text}: ${reason}` : `${text}.`);
}
