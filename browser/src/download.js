/**
 * An attachment as a stream that survives its connection: when it breaks off, the rest is asked for by a range.
 *
 * PouchDB loads an attachment whole into memory. This does not; and what was received once is not sent again.
 */

import { backoff, sleep, systemClock } from './clock.js';
import { PeerPouchError } from './errors.js';

/** Milliseconds without a byte after which a download is given up: a peer that was restarted is back within that. */
const PATIENCE = 120_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
/** Errors of a way that may be there again soon. What an owner or a database says is no such error. */
const PASSING = new Set(['peer_unreachable', 'hub_unreachable', 'share_not_found', 'timeout', 'connection_failed']);

/**
 * @typedef {{
 *   rev?: string, signal?: AbortSignal, onProgress?: (received: number, size: number | null) => void,
 *   patience?: number, clock?: import('./clock.js').Clock, from?: { received: number, tag: string },
 * }} DownloadOptions `rev`: of which revision; the winner by default. `patience`: milliseconds. `from`: how much is there
 *   from another time, and the `tag` of the download then: only the rest comes, and `continued` is true. If it is another
 *   content by now, all of it comes, and `continued` is false.
 */

/**
 * @param {(path: string, init: RequestInit) => Promise<Response>} fetch Over the share.
 * @param {string} id
 * @param {string} attachment
 * @param {DownloadOptions} [options]
 * @returns {Promise<Download>} When its first bytes can be read. Rejects with what the owner says, or `peer_unreachable`.
 */
export async function download(fetch, id, attachment, options = {}) {
  const query = options.rev ? `?rev=${encodeURIComponent(options.rev)}` : '';
  const [, design, name] = /** @type {RegExpExecArray} */ (/^(_design\/)?(.*)$/s.exec(id));
  const doc = `${design ?? ''}${encodeURIComponent(name)}`;
  const path = `/${doc}/${attachment.split('/').map(encodeURIComponent).join('/')}${query}`;
  const download = new Download(fetch, path, options);
  await download.connect();
  return download;
}

/** One attachment that is being received. */
export class Download {
  /**
   * @param {(path: string, init: RequestInit) => Promise<Response>} fetch
   * @param {string} path
   * @param {DownloadOptions} options
   */
  constructor(fetch, path, { signal, onProgress = () => {}, patience = PATIENCE, clock = systemClock, from }) {
    this.fetch = fetch;
    this.path = path;
    this.signal = signal;
    this.onProgress = onProgress;
    this.patience = patience;
    this.clock = clock;
    /** Bytes that came so far, with those of another time. */
    this.received = from?.received ?? 0;
    /** Bytes of the whole; null if the owner does not say. @type {number | null} */
    this.size = null;
    this.type = 'application/octet-stream';
    /** Of this content and no other. @type {string | null} */
    this.tag = from?.tag ?? null;
    /** Whether only what was not there from another time is received. */
    this.continued = this.received > 0;
    this.isBegun = false;
    /** How often it was gone on with after it had broken off. */
    this.resumed = 0;
    /** @type {ReadableStreamDefaultReader<Uint8Array> | null} */
    this.reader = null;
    this.tellOver = () => {};
    /** Done when nothing more is received: all of it came, it failed, or it was given up. @type {Promise<void>} */
    this.over = new Promise((resolve) => { this.tellOver = resolve; });
    /** The content, to be read once; nothing is received that is not read. */
    this.body = new ReadableStream(
      {
        pull: async (controller) => {
          try {
            await this.pull(controller);
          } catch (error) {
            this.tellOver();
            throw error;
          }
        },
        cancel: async (reason) => {
          this.tellOver();
          await this.reader?.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** The whole content. */
  async blob() {
    const { body, type } = this;
    return new Response(body, { headers: { 'content-type': type } }).blob();
  }

  /** Ask for what is missing. */
  async connect() {
    /** @type {Record<string, string>} */
    const headers = { accept: '*/*', 'accept-encoding': 'identity' };
    if (this.tag) Object.assign(headers, { range: `bytes=${this.received}-`, 'if-range': this.tag });
    const response = await this.fetch(this.path, { headers, signal: this.signal });
    if (!response.ok) throw await errorOf(response);
    const tag = response.headers.get('etag');
    if (this.isBegun && this.received) this.checkRest(response, tag);
    else this.begin(response, tag);
    this.isBegun = true;
    this.reader = response.body?.getReader() ?? null;
  }

  /** @param {Response} response @param {string | null} tag */
  begin(response, tag) {
    if (this.received && response.status !== 206) {
      this.received = 0;
      this.continued = false;
    } else if (this.received) {
      this.checkRest(response, tag);
    }
    const length = response.headers.get('content-length');
    this.size = length === null ? null : this.received + Number(length);
    this.type = response.headers.get('content-type') ?? this.type;
    this.tag = tag;
  }

  /** @param {Response} response @param {string | null} tag */
  checkRest(response, tag) {
    const range = response.headers.get('content-range') ?? '';
    if (response.status === 206 && tag === this.tag && range.startsWith(`bytes ${this.received}-`)) return;
    void response.body?.cancel();
    throw new PeerPouchError('conflict', 'The attachment was changed while it was received; begin again.');
  }

  /** @param {ReadableStreamDefaultController<Uint8Array>} controller */
  async pull(controller) {
    const chunk = await this.next();
    if (!chunk) {
      if (this.size !== null && this.received !== this.size) {
        throw new PeerPouchError('protocol_error', `The attachment has ${this.size} bytes, and ${this.received} came.`);
      }
      controller.close();
      this.tellOver();
      return;
    }
    this.received += chunk.length;
    if (this.size !== null && this.received > this.size) {
      // Not only at the end: an owner may send for ever.
      await this.reader?.cancel();
      throw new PeerPouchError('protocol_error', `The attachment has ${this.size} bytes, and more came.`);
    }
    this.onProgress(this.received, this.size);
    controller.enqueue(chunk);
  }

  /** The next bytes, or undefined at the end, across as many connections as it takes. */
  async next() {
    const began = this.clock.monotonic();
    for (let attempt = 0; ; attempt += 1) {
      try {
        if (!this.reader) await this.connect();
        const { value } = (await this.reader?.read()) ?? {};
        return value;
      } catch (error) {
        this.reader = null;
        // Without a tag nobody can tell whether the rest is the rest of the same content.
        const isOver = (this.received > 0 && !this.tag) || this.size === this.received;
        const waited = this.clock.monotonic() - began;
        if (!(error instanceof PeerPouchError) || !PASSING.has(error.error) || isOver || waited > this.patience) {
          throw error;
        }
        this.resumed += 1;
        const wait = backoff(attempt, { first: FIRST_WAIT, most: LONGEST_WAIT, random: Math.random });
        await sleep(this.clock, wait, this.signal);
      }
    }
  }
}

/** @param {Response} response */
async function errorOf(response) {
  const said = await response.json().catch(() => ({}));
  const error = typeof said.error === 'string' ? said.error : 'not_found';
  const reason = typeof said.reason === 'string' ? said.reason : `The owner answered with ${response.status}.`;
  return new PeerPouchError(error, reason, { status: response.status });
}
