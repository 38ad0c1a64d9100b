import { PeerPouchError } from '../errors.js';

// Chunks below this are joined, up to that: an object costs a hundred bytes, and a peer could send its bytes two by two.
const SMALL = 512;
const JOINED = 2 * SMALL;

/**
 * What the client's and the server's side of a link share: one end of a stream, what arrives on it, and what waits for
 * room or data.
 */
export class StreamEnd {
  /** @param {import('./link.js').Link} link */
  constructor(link) {
    this.link = link;
    this.stream = 0;
    /** @type {Uint8Array[]} Bounded by the stream's window. */
    this.chunks = [];
    /** @type {Uint8Array | null} A chunk that has room behind it for more small ones, while it is the last. */
    this.tail = null;
    this.handed = 0;
    this.ended = false;
    /** @type {unknown} What ended the stream before its time. */
    this.error = null;
    this.wakeReader = () => {};
    this.wakeWriter = () => {};
  }

  /**
   * Bytes of a body came.
   *
   * @param {Uint8Array} data
   * @param {boolean} ended
   */
  onData(data, ended) {
    if (data.length) this.keep(data);
    this.ended = ended;
    this.wakeReader();
  }

  /** @param {Uint8Array} data A view of a message, which must not be kept for a small part of it. */
  keep(data) {
    if (data.length >= SMALL) {
      this.chunks.push(2 * data.length < data.buffer.byteLength ? data.slice() : data);
      return;
    }
    const last = this.chunks.at(-1);
    const joins = last !== undefined && last === this.tail && last.length + data.length <= JOINED;
    const used = joins ? last.length : 0;
    const whole = joins ? new Uint8Array(last.buffer) : new Uint8Array(JOINED);
    whole.set(data, used);
    this.tail = whole.subarray(0, used + data.length);
    if (joins) this.chunks[this.chunks.length - 1] = this.tail;
    else this.chunks.push(this.tail);
  }

  /** What it received was thrown away unread. */
  onForgotten() {}

  /** The send buffer has room again. */
  onRoom() {
    this.wakeWriter();
  }

  /**
   * The response has begun.
   *
   * @param {import('../wire/frames.js').ResponseHead} _head
   * @param {boolean} _ended
   */
  onHead(_head, _ended) {}

  /**
   * The stream is gone.
   *
   * @param {number} _code
   * @param {string} _reason
   */
  onReset(_code, _reason) {}

  /**
   * The link is gone, or going.
   *
   * @param {PeerPouchError} _error
   */
  onLost(_error) {}

  /**
   * Nothing more will come or go; what came can not be read any more.
   *
   * @param {unknown} error
   */
  fail(error) {
    this.error ??= error;
    this.chunks = [];
    this.wakeReader();
    this.wakeWriter();
  }

  /** The next bytes of the body, or null at its end. The bytes before these count as consumed. */
  async read() {
    if (this.handed) this.link.consumed(this, this.handed);
    this.handed = 0;
    while (!this.chunks.length) {
      if (this.error) throw this.error;
      if (this.ended) return null;
      await new Promise((/** @type {(value: void) => void} */ resolve) => { this.wakeReader = resolve; });
    }
    const chunk = /** @type {Uint8Array} */ (this.chunks.shift());
    this.handed = chunk.length;
    return chunk;
  }

  /**
   * Send bytes of the body, and wait until there is room for more.
   *
   * @param {Uint8Array} data
   * @param {boolean} end
   */
  async send(data, end) {
    if (this.error) throw this.error;
    if (this.link.send(this, data, end)) return;
    await new Promise((/** @type {(value: void) => void} */ resolve) => { this.wakeWriter = resolve; });
    if (this.error) throw this.error;
  }
}

/**
 * Tells an end that its stream was thrown away unread: it is to give that and its bytes back. What is watched is the
 * stream's source, which lives as long as the stream may ask for more; the object that scripts see of a stream may go
 * earlier, while the browser itself still reads it. Nothing that lives on refers to a source, but while it is asked.
 *
 * @type {FinalizationRegistry<StreamEnd>}
 */
const forgotten = new FinalizationRegistry((end) => end.onForgotten());

/**
 * A stream of what an end receives.
 *
 * @param {StreamEnd} end
 * @param {{ ahead: number, cancel: (reason: unknown) => void }} options `ahead`: bytes that are taken though nobody reads.
 * @returns {ReadableStream<Uint8Array<ArrayBuffer>>}
 */
export function bodyStream(end, { ahead, cancel }) {
  /** @type {UnderlyingDefaultSource<Uint8Array<ArrayBuffer>>} */
  const source = {
    async pull(controller) {
      const chunk = await end.read();
      if (chunk) controller.enqueue(/** @type {Uint8Array<ArrayBuffer>} */ (chunk));
      else controller.close();
    },
    cancel,
  };
  forgotten.register(source, end);
  return new ReadableStream(source, { highWaterMark: ahead, size: (chunk) => chunk.length });
}

/** What concerns one hop of HTTP/1.1 (RFC 9110, section 7.6.1), and means nothing without a TCP connection. */
const HOP_BY_HOP = new Set([
  'connection',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Headers as a head has them.
 *
 * @param {Headers} headers
 * @returns {import('../wire/frames.js').Header[]}
 */
export function endToEnd(headers) {
  return [...headers].filter(([name]) => !HOP_BY_HOP.has(name));
}

/**
 * An error as Python's peers read it.
 *
 * @param {PeerPouchError} error
 * @param {HeadersInit} [headers]
 */
export function errorResponse(error, headers) {
  const body = JSON.stringify({ error: error.error, reason: error.reason });
  return new Response(body, {
    status: error.status >= 400 && error.status <= 599 ? error.status : 500,
    headers: { 'content-type': 'application/json', ...headers },
  });
}
