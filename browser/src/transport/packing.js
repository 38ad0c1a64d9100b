/**
 * Compression of JSON bodies: what may be compressed at all, and when it is worth it (`docs/protocol/channel.md`, section
 * 11). Each body has a gzip context of its own, so that none tells anything about another.
 *
 * A browser's `CompressionStream` can't be flushed before its end, so what pauses, as a feed does, goes as it is: such a
 * response says `no-transform`.
 */

/**
 * @typedef {import('../wire/frames.js').Header} Header
 * @typedef {import('../wire/frames.js').RequestHead} RequestHead
 * @typedef {import('../wire/frames.js').ResponseHead} ResponseHead
 */

/** A body that is shorter is one packet, compressed or not. */
const SMALLEST = 1024;
/** Bytes that are compressed in one go: a few milliseconds, in which the page stands still. */
const STEP = 64 * 1024;
/**
 * Bytes a millisecond above which nothing is compressed: documents are not read and written faster than this, so it is
 * not the path that they wait for.
 */
const FASTEST_PATH = 10_000;
/** Milliseconds of a round trip above which a path that was never busy is taken for a slow one. */
const FAR = 5;
/** Milliseconds after which a rate says nothing any more: the path may be another one. */
const STALE = 30_000;
/** Compressing must save a fifth of the time: it costs the other end's processor, too. */
const GAIN = 0.8;
/** How far the experience returns to the assumption with each body that was therefore sent as it is. */
const FORGET = 0.05;
/** Bytes over which the experience of the ratio is averaged: a few bodies. */
const MEMORY = 512 * 1024;
const ASSUMED_RATIO = 3;
/** Bytes a millisecond that a browser compresses: it has one level only, the middle one. Measured in Chromium: 25 to 60. */
const SPEED = 25_000;

const STATUSES = new Set([200, 201, 202, 409]);
const CUT_OUT = new Set(['content-encoding', 'content-range', 'accept-ranges', 'set-cookie']);

const canDeflate = typeof CompressionStream === 'function';

/** One end's experience with a path and its bodies, and the choice that follows from it. */
export class Packing {
  /** @param {import('./link.js').Link} link */
  constructor(link) {
    this.link = link;
    /** Bytes that went in, and that came out, since the start. */
    this.taken = this.given = 0;
    this.ratio = ASSUMED_RATIO;
  }

  /** Whether the next body shall be compressed. */
  get isWorthIt() {
    const { pacer, connection, clock } = this.link;
    if (!canDeflate) return false;
    const rate = clock.monotonic() - pacer.measuredAt <= STALE ? pacer.rate : null;
    if (rate === null) return (connection.roundTrip ?? 0) >= FAR;
    if (rate > FASTEST_PATH) return false;
    if (1 / SPEED + 1 / (Math.max(rate, 0.001) * this.ratio) < GAIN / Math.max(rate, 0.001)) return true;
    this.ratio += FORGET * (ASSUMED_RATIO - this.ratio);
    return false;
  }

  /**
   * A request whose body is compressed, or null where it stays as it is.
   *
   * @param {RequestHead} head
   * @param {Uint8Array} body
   * @returns {Promise<{ head: RequestHead, body: Uint8Array } | null>}
   */
  async request(head, body) {
    const mayBe = head.method === 'POST' && !head.path.startsWith('/_') && isPlainJson(head.headers);
    if (!mayBe || body.length < SMALLEST || !this.isWorthIt) return null;
    const packed = new Uint8Array(await new Response(this.deflated(streamOf([body]))).arrayBuffer());
    return { head: { ...head, headers: packedHeaders(head.headers) }, body: packed };
  }

  /**
   * A response whose body is compressed, or as it was.
   *
   * @param {RequestHead} request
   * @param {ResponseHead} head
   * @param {ReadableStream<Uint8Array>} body
   * @returns {Promise<{ head: ResponseHead, body: ReadableStream<Uint8Array> }>}
   */
  async response(request, head, body) {
    const mayBe =
      STATUSES.has(head.status) &&
      request.method !== 'HEAD' &&
      !request.path.startsWith('/_') &&
      takesGzip(request.headers) &&
      isPlainJson(head.headers);
    if (!mayBe || !this.isWorthIt) return { head, body };
    const reader = body.getReader();
    const { done, value } = await reader.read();
    const first = value ?? new Uint8Array();
    const whole = streamOf(done ? [] : [first], done ? undefined : reader);
    // Longer ones come in portions of which already the first is longer.
    if (first.length < SMALLEST) return { head, body: whole };
    return { head: { ...head, headers: packedHeaders(head.headers) }, body: this.deflated(whole) };
  }

  /** @param {ReadableStream<Uint8Array>} body */
  deflated(body) {
    let taken = 0;
    let given = 0;
    /** @type {TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>} */
    const steps = new TransformStream({
      transform(chunk, controller) {
        taken += chunk.length;
        for (let at = 0; at < chunk.length; at += STEP) {
          controller.enqueue(/** @type {Uint8Array<ArrayBuffer>} */ (chunk.subarray(at, at + STEP)));
        }
      },
    });
    /** @type {TransformStream<Uint8Array, Uint8Array>} */
    const count = new TransformStream({
      transform(chunk, controller) {
        given += chunk.length;
        controller.enqueue(chunk);
      },
      flush: () => this.learn(taken, given),
    });
    return body.pipeThrough(steps).pipeThrough(new CompressionStream('gzip')).pipeThrough(count);
  }

  /**
   * So many bytes were compressed to so many.
   *
   * @param {number} taken
   * @param {number} given
   */
  learn(taken, given) {
    this.taken += taken;
    this.given += given;
    if (given) this.ratio += Math.min(1, taken / MEMORY) * (taken / given - this.ratio);
  }
}

/**
 * @param {Uint8Array[]} chunks
 * @param {ReadableStreamDefaultReader<Uint8Array>} [rest] What follows.
 * @returns {ReadableStream<Uint8Array>}
 */
function streamOf(chunks, rest) {
  return new ReadableStream(
    {
      async pull(controller) {
        const value = chunks.shift() ?? (await rest?.read())?.value;
        if (value) controller.enqueue(value);
        else controller.close();
      },
      cancel: (reason) => rest?.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/**
 * Whether the `accept-encoding` of a request names gzip with a weight above 0 (RFC 9110, section 12.5.3).
 *
 * @param {readonly Header[]} headers
 */
export function takesGzip(headers) {
  for (const [name, value] of headers) {
    if (name !== 'accept-encoding') continue;
    for (const item of value.toLowerCase().split(',')) {
      const [coding, weight = ''] = item.split(/;(.*)/s);
      if (coding.trim() === 'gzip') return !/^q=0(\.0{0,3})?$/.test(weight.replaceAll(' ', ''));
    }
  }
  return false;
}

/** @param {readonly Header[]} headers */
function isPlainJson(headers) {
  let isJson = false;
  for (const [name, value] of headers) {
    if (CUT_OUT.has(name) || (name === 'cache-control' && /no-store|no-transform/i.test(value))) return false;
    if (name === 'content-length' && Number(value) < SMALLEST) return false;
    if (name === 'content-type') isJson = value.split(';')[0].trim().toLowerCase() === 'application/json';
  }
  return isJson;
}

/** The headers of a body that is compressed. @param {readonly Header[]} headers @returns {Header[]} */
function packedHeaders(headers) {
  return [...headers.filter(([name]) => name !== 'content-length'), ['content-encoding', 'gzip']];
}
