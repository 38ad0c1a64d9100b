/** The server's side of a link: each request of the peer goes to a handler, whose `Response` is streamed back. */

import { PeerPouchError } from '../errors.js';
import { Code } from '../wire/frames.js';
import { StreamEnd, bodyStream, endToEnd, errorResponse } from './streams.js';

/**
 * A request of the peer. It is not Fetch's `Request`, whose URL must have a host and whose headers may not be all that a
 * peer sends.
 *
 * @typedef {{
 *   method: string, url: string, headers: Headers, body: ReadableStream<Uint8Array<ArrayBuffer>> | null,
 *   signal: AbortSignal,
 * }} PeerRequest `url` is the percent-encoded path with its query; `signal` is aborted when the peer gives the request up.
 * @typedef {(request: PeerRequest) => Response | Promise<Response>} Handler What it throws becomes a response.
 */

/** One request of the peer. */
export class Serving extends StreamEnd {
  /**
   * @param {import('./link.js').Link} link
   * @param {{ stream: number, head: import('../wire/frames.js').RequestHead, ended: boolean }} event
   * @param {Handler} handler
   */
  constructor(link, { stream, head, ended }, handler) {
    super(link);
    this.stream = stream;
    this.head = head;
    this.ended = ended;
    this.gone = new AbortController();
    /** @type {ReadableStreamDefaultReader<Uint8Array> | null} */
    this.reader = null;
    const body = ended ? null : bodyStream(this, { ahead: 0, cancel() {} });
    void this.run(handler, {
      method: head.method,
      url: head.path,
      headers: new Headers(head.headers.map(([name, value]) => /** @type {[string, string]} */ ([name, value]))),
      body,
      signal: this.gone.signal,
    });
  }

  /**
   * @param {Handler} handler
   * @param {PeerRequest} request
   */
  async run(handler, request) {
    await null; // the event that brought the request is dealt with first
    let begun = false;
    try {
      const response = await this.answer(handler, request);
      /** @type {ReadableStream<Uint8Array> | null} */
      let body = response.body;
      /** @type {import('../wire/frames.js').ResponseHead} */
      let head = { status: response.status, headers: endToEnd(response.headers) };
      const { packing } = this.link;
      if (body && packing) ({ head, body } = await packing.response(this.head, head, body));
      if (this.gone.signal.aborted) {
        await body?.cancel();
        return;
      }
      const end = !body || request.method === 'HEAD';
      this.link.respond(this, head, end);
      begun = true;
      if (end) await body?.cancel();
      else if (body) await this.sendBody(body);
    } catch (error) {
      this.breakOff(error, begun);
    } finally {
      this.link.done(this);
      this.fail(GONE);
    }
  }

  /**
   * @param {Handler} handler
   * @param {PeerRequest} request
   */
  async answer(handler, request) {
    try {
      return await handler(request);
    } catch (error) {
      return errorResponse(this.said(error));
    }
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async sendBody(body) {
    const reader = (this.reader = body.getReader());
    for (;;) {
      const { done, value } = await reader.read();
      if (this.gone.signal.aborted) return;
      await this.send(value ?? new Uint8Array(), done);
      if (done) return;
    }
  }

  /**
   * @param {unknown} error
   * @param {boolean} begun
   */
  breakOff(error, begun) {
    void this.reader?.cancel().catch(() => {});
    if (this.gone.signal.aborted || this.link.isOver) return;
    const { reason } = this.said(error);
    if (begun) {
      this.link.reset(this, Code.INTERNAL, reason);
    } else { // the head did not fit
      this.link.respond(this, { status: 500, headers: [] }, true);
    }
  }

  /**
   * What the peer is told: what went wrong inside is for this side's console alone.
   *
   * @param {unknown} error
   */
  said(error) {
    if (error instanceof PeerPouchError) return error;
    if (!this.gone.signal.aborted) console.error('A request of a peer failed:', error);
    return new PeerPouchError('internal_server_error', 'The other side failed.');
  }

  /** @override @param {number} _code @param {string} _reason */
  onReset(_code, _reason) {
    this.leave();
  }

  /** @override @param {PeerPouchError} error */
  onLost(error) {
    this.link.reset(this, Code.CANCELLED, error.reason);
    this.leave();
  }

  leave() {
    this.gone.abort(GONE);
    this.fail(GONE);
    void this.reader?.cancel().catch(() => {});
  }
}

const GONE = new PeerPouchError('peer_unreachable', 'The peer does not wait for the response any more.');
