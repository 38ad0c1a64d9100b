import { PeerPouchError } from '../errors.js';
import { orAborted } from '../clock.js';
import { prepare, send } from '../transport/exchange.js';
import { isClosed } from './control.js';

/**
 * @typedef {import('./connection.js').Connection} Connection
 * @typedef {import('./pool.js').Pool} Pool
 */

/**
 * One use of a share, which outlives the connection under it. When the connection is lost, the requests under way end in
 * `peer_unreachable`, and the next one connects anew: the sharer is asked again, so it may also end in a refusal, and in no
 * more than the time limit that the share was opened with.
 */
export class Lease {
  /**
   * @param {Pool} pool
   * @param {string} shareId
   * @param {unknown} ownInfo
   * @param {number} timeout
   */
  constructor(pool, shareId, ownInfo, timeout) {
    this.pool = pool;
    this.shareId = shareId;
    this.ownInfo = ownInfo;
    this.timeout = timeout;
    /** What the sharer says of the share, as of the last time that it let us in. @type {unknown} */
    this.info = null;
    /** @type {Connection | null} */
    this.connection = null;
    /** @type {Promise<void> | null} */
    this.reaching = null;
    this.isReleased = false;
    /** Called once, when the share is given back. */
    this.onRelease = () => {};
    this.ending = new AbortController();
  }

  /** The address that the share was last reached at; null before that. */
  get peer() {
    return this.connection?.address ?? null;
  }

  /**
   * Send a request to the sharer, as the global `fetch` does to a server.
   *
   * @param {string} path Within the share, percent-encoded, with its query: `/_changes?since=0`.
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async fetch(path, init) {
    const response = await this.send(path, init);
    if (!isClosed(response)) return response;
    this.forget();
    // Nothing was done for such a request, so it can be sent again, unless its body is a stream that is spent.
    if (init?.body instanceof ReadableStream) return response;
    await response.body?.cancel();
    return this.send(path, init);
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   */
  async send(path, init) {
    const request = await prepare(`/${this.shareId}${path}`, init);
    return send(await this.reach(false, request.signal), request);
  }

  /**
   * The open link, over which the sharer has let us in.
   *
   * @param {boolean} ask Ask the sharer even if it let us in over this link before.
   * @param {AbortSignal | null} [signal]
   */
  async reach(ask, signal) {
    if (!ask && this.connection?.opened.has(this.shareId)) {
      const link = this.connection.live();
      if (link) return link;
    }
    for (;;) {
      if (this.isReleased) throw new PeerPouchError('database_closed', 'The share was closed.');
      // All requests that wait share one attempt, and its error: one after the other would each take the limit.
      this.reaching ??= this.tryReach(ask).finally(() => { this.reaching = null; });
      await orAborted(this.reaching, signal ?? undefined);
      const link = this.connection?.live();
      if (link) return link;
      ask = false;
    }
  }

  /** @param {boolean} ask */
  async tryReach(ask) {
    const { shareId, ownInfo, timeout, ending } = this;
    const { connection, info } = await this.pool.reach(shareId, ownInfo, { timeout, ask, signal: ending.signal });
    if (this.isReleased) {
      this.pool.leave(connection, shareId);
      return;
    }
    const old = this.connection;
    this.connection = connection;
    this.info = info;
    if (old) this.pool.leave(old, shareId);
  }

  /** The sharer says that we are not let in: ask it again before the next request. */
  forget() {
    this.connection?.opened.delete(this.shareId);
  }

  /** What is known of the connection; null while there is none. */
  async stats() {
    return (await this.connection?.live()?.stats()) ?? null;
  }

  /** Give the share back. The connection stays for others, and closes when nobody has used it for a while. */
  release() {
    if (this.isReleased) return;
    this.isReleased = true;
    this.ending.abort(new PeerPouchError('database_closed', 'The share was closed.'));
    const { connection } = this;
    this.connection = null;
    if (connection) this.pool.leave(connection, this.shareId);
    this.pool.leases.delete(this);
    this.onRelease();
  }
}
