/** Makes links over WebRTC. */

import { systemClock, within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { Engine } from './engine.js';
import { Link } from './link.js';
import { candidates, checkSdp } from './sdp.js';

/** Milliseconds that an offer or answer waits for candidates at most. */
const GATHERING = 1000;

/**
 * @typedef {import('./server.js').Handler} Handler
 * @typedef {Partial<import('./engine.js').RTCOptions>} Options
 */

export class WebRTC {
  /** @param {Options & { clock?: import('../clock.js').Clock, limits?: import('../wire/limits.js').Limits }} [options] */
  constructor({ clock = systemClock, limits, ...options } = {}) {
    this.clock = clock;
    this.limits = limits;
    this.options = options;
  }

  /** @returns {Promise<Engine>} */
  async engine() {
    const { RTCPeerConnection: Make = globalThis.RTCPeerConnection, ...rest } = this.options;
    if (!Make) throw new PeerPouchError('not_implemented', 'This browser has no WebRTC (RTCPeerConnection).');
    const settings = { RTCPeerConnection: Make, iceServers: [], policy: /** @type {const} */ ('all'), ...rest };
    return Engine.make({ gathering: GATHERING, ...settings }, this.clock);
  }

  /** @param {Handler} handler Serves the peer's requests. */
  async offer(handler) {
    const engine = await this.engine();
    return this.made(engine, handler, '', engine.offer());
  }

  /**
   * @param {string} remoteSdp
   * @param {Handler} handler
   */
  async answer(remoteSdp, handler) {
    checkSdp(remoteSdp);
    const engine = await this.engine();
    return this.made(engine, handler, remoteSdp, engine.answer(remoteSdp));
  }

  /**
   * @param {Engine} engine
   * @param {Handler} handler
   * @param {string} remote
   * @param {Promise<string>} description
   */
  async made(engine, handler, remote, description) {
    try {
      return new Pending(this, engine, handler, remote, await description);
    } catch (error) {
      engine.close();
      throw error;
    }
  }
}

/** A peer connection that is being made. */
export class Pending {
  /**
   * @param {WebRTC} transport
   * @param {Engine} engine
   * @param {Handler} handler
   * @param {string} remote The offer that is answered; empty for an own one.
   * @param {string} sdp The local description, with its candidates and the DTLS fingerprint inside.
   */
  constructor(transport, engine, handler, remote, sdp) {
    this.transport = transport;
    /** @type {Engine | null} */
    this.engine = engine;
    this.handler = handler;
    this.offerer = !remote;
    this.remote = remote;
    this.sdp = sdp;
  }

  /**
   * Wait until the channel is open.
   *
   * @param {{ sdp?: string, timeout: number, signal?: AbortSignal }} options The offerer gives the answer's SDP.
   * @returns {Promise<Link>} Rejects with `invalid_signal`, or `peer_unreachable`, whose reason names the candidates.
   */
  async connect({ sdp, timeout, signal }) {
    const { engine } = this;
    if (!engine) throw new PeerPouchError('peer_unreachable', 'The connection was given up.');
    try {
      if (sdp !== undefined) {
        this.remote = checkSdp(sdp);
        await engine.accept(sdp);
      }
      const link = await within(this.transport.clock, timeout, (inner) => this.open(engine, inner), signal);
      this.engine = null;
      return link;
    } catch (error) {
      this.abandon();
      if (!(error instanceof PeerPouchError) || (error.error !== 'timeout' && error.error !== 'peer_unreachable')) {
        throw error;
      }
      const what =
        error.error === 'timeout' ? `No path to the peer was found within ${timeout / 1000} s.` : error.reason;
      const tried = `Candidates tried: here ${candidates(this.sdp)}; there ${candidates(this.remote)}.`;
      throw new PeerPouchError('peer_unreachable', `${what} ${tried}`, { cause: error });
    }
  }

  /**
   * @param {Engine} engine
   * @param {AbortSignal} signal
   */
  async open(engine, signal) {
    const channel = await engine.opened;
    signal.throwIfAborted();
    const { handler, offerer, remote } = this;
    const { clock, limits } = this.transport;
    const link = new Link({ engine, channel, offerer, handler, clock, limits, remote });
    for (const data of engine.early.splice(0)) link.onMessage(data);
    signal.addEventListener('abort', () => {
      if (link.connection.state === 'opening') link.end(null);
    });
    await link.opened();
    return link;
  }

  /** Give up and free the browser's resources. Harmless at any time. */
  abandon() {
    this.engine?.close();
    this.engine = null;
  }
}
