/**
 * One open peer connection: a wire connection on a data channel.
 *
 * Theory of operation
 *   Messages that arrive go straight into the wire connection; its events go to the stream ends, which are calls of this
 *   side (exchange.js) and requests of the peer (server.js). Whatever they do only changes the connection's queues and
 *   marks the pump as due; the pump runs as a microtask, which no background tab throttles. It sends until the engine's
 *   queue is at the pacer's mark, and goes on when the engine tells that it is down to half.
 *
 * Rules
 *   - Whatever ends the link ends every stream end.
 *   - A link that ended stays so. Coming back is a matter of a new link (`peers/`).
 */

import { PeerPouchError } from '../errors.js';
import { Connection } from '../wire/connection.js';
import { Code } from '../wire/frames.js';
import { Liveness } from '../wire/liveness.js';
import { Pacer } from '../wire/pacing.js';
import { prepare, send } from './exchange.js';
import { Serving } from './server.js';

/** Milliseconds that closing waits for what was sent, and for the channel's own close. */
const DRAIN = 5000;
/** Bytes between two heartbeats above which the round trip is measured again, though the peer is not silent. */
const BUSY = 64 * 1024;
/** The bit of FEATURES that tells that compressed requests are taken. */
const GZIP = 1;

/**
 * @typedef {import('./streams.js').StreamEnd} StreamEnd
 * @typedef {import('./engine.js').Engine} Engine
 *
 * What is known of a connection; null where the browser does not tell. `path`: how ICE got through; `roundTrip` in
 * milliseconds; `sent` and `received` in bytes of channel messages; `rate` in bytes per millisecond that the path took.
 *
 * @typedef {{
 *   path: 'direct' | 'reflexive' | 'relayed' | null, local: string | null, remote: string | null,
 *   roundTrip: number | null, sent: number, received: number, streams: number, rate: number | null,
 * }} LinkStats
 */

export class Link {
  /**
   * @param {{
   *   engine: Engine, channel: RTCDataChannel, offerer: boolean, handler: import('./server.js').Handler,
   *   clock: import('../clock.js').Clock, limits?: import('../wire/limits.js').Limits, remote?: string,
   * }} options The link owns the engine and its open channel from now on. `remote`: the peer's session description.
   */
  constructor({ engine, channel, offerer, handler, clock, limits, remote = '' }) {
    this.connection = new Connection({ offerer, limits, features: GZIP });
    this.remote = remote;
    /** @type {import('./packing.js').Packing | null} Comes when it is loaded, as the next. */
    this.packing = null;
    /** @type {import('../peers/restarting.js').Restarting | null} */
    this.restarting = null;
    this.peerTakesGzip = false;
    this.engine = engine;
    this.channel = channel;
    this.handler = handler;
    this.clock = clock;
    this.pacer = new Pacer();
    this.liveness = new Liveness(clock.monotonic());
    /** @type {Map<number, StreamEnd>} */
    this.ends = new Map();
    this.pumpDue = false;
    this.sent = this.received = this.receivedAtBeat = 0;
    this.wentAway = this.isClosing = false;
    /** Whether the link has ended; `over` gives the error then, or null after an orderly end. */
    this.isOver = false;
    /** @type {(error: PeerPouchError | null) => void} */
    this.tellOver = () => {};
    /** @type {Promise<PeerPouchError | null>} */
    this.over = new Promise((resolve) => { this.tellOver = resolve; });
    /** @type {PeerPouchError | null} */
    this.error = null;
    /** @type {Promise<void>} Teardown, once the link is over. */
    this.freed = Promise.resolve();
    /** @type {Set<() => void>} Who waits for a change of the connection. */
    this.waiters = new Set();
    this.stopBeat = this.stopDraining = () => {};
    // Engines may lose what comes before their application has got the channel (Chromium fires `message` before
    // `datachannel`). The answerer's first message tells that it has it; the offerer can't request before that anyway.
    this.held = offerer;

    channel.binaryType = 'arraybuffer';
    channel.onmessage = (event) => this.onMessage(event.data);
    channel.onbufferedamountlow = () => this.pump();
    channel.onclose = () => this.noChannel('The connection to the peer was lost.');
    engine.onLost = (reason) => this.noChannel(reason);
    this.beat();
    this.pump();
  }

  /**
   * Send a request to the peer, as the global `fetch` does to a server.
   *
   * @param {string} path Percent-encoded, with its query.
   * @param {RequestInit} [init]
   */
  async fetch(path, init) {
    return send(this, await prepare(path, init));
  }

  /** Wait until requests may be made; rejects with `protocol_error` or `peer_unreachable` if the link ends first. */
  async opened() {
    while (this.connection.state === 'opening' && !this.isOver) await this.change();
    if (this.isOver) throw this.error ?? this.gone();
  }

  /** Drain what was sent, tell the peer, end. Requests under way end in `peer_unreachable`. */
  async close() {
    if (!this.isOver) {
      if (!this.isClosing) {
        this.isClosing = true;
        this.held = false;
        this.connection.goAway(Code.NONE, 'The other side closed the connection.');
        this.lose(this.gone());
        this.pump();
        // A peer that reads nothing does not keep this side from closing.
        this.stopDraining = this.clock.timer(DRAIN, () => this.end(null));
      }
      while (!this.connection.drained && !this.isOver) await this.change();
      this.end(null);
    }
    await this.freed;
  }

  /** The page goes away: there is time for one message. With an error's code, the peer need not wait for more. */
  leave() {
    if (this.isOver) return;
    this.held = false;
    this.connection.goAway(Code.CANCELLED, 'The page was closed.');
    this.pump();
    this.end(null);
  }

  /** @returns {Promise<LinkStats>} */
  async stats() {
    const { local, remote, localType, remoteType, roundTrip } = await this.engine.path();
    const kinds = [localType, remoteType];
    const reflexive = kinds.includes('srflx') || kinds.includes('prflx') ? 'reflexive' : 'direct';
    return {
      path: localType ? (kinds.includes('relay') ? 'relayed' : reflexive) : null,
      local,
      remote,
      roundTrip: roundTrip ?? this.connection.roundTrip,
      sent: this.sent,
      received: this.received,
      streams: this.connection.streams.size,
      rate: this.pacer.rate,
    };
  }

  // For the stream ends

  /** Whether one more request may be made now; throws when none ever will. */
  isReady() {
    if (this.isOver || this.connection.state === 'draining' || this.connection.state === 'closed') throw this.gone();
    if (this.connection.exhausted) {
      throw new PeerPouchError('peer_unreachable', 'The connection has used up its stream numbers; open a new one.');
    }
    return this.connection.canRequest;
  }

  /** Wait for a change of the connection: a stream that ended, room, the end. */
  change() {
    return new Promise((/** @type {(value: void) => void} */ resolve) => this.waiters.add(resolve));
  }

  /**
   * @param {StreamEnd} end
   * @param {import('../wire/frames.js').RequestHead} head
   * @param {boolean} bodiless
   */
  open(end, head, bodiless) {
    end.stream = this.connection.request(head, { end: bodiless });
    this.ends.set(end.stream, end);
    this.schedule();
  }

  /**
   * @param {StreamEnd} end
   * @param {import('../wire/frames.js').ResponseHead} head
   * @param {boolean} bodiless
   */
  respond(end, head, bodiless) {
    this.connection.respond(end.stream, head, { end: bodiless });
    this.schedule();
  }

  /**
   * Send bytes of a body; whether there is room for more.
   *
   * @param {StreamEnd} end
   * @param {Uint8Array} data
   * @param {boolean} last
   */
  send(end, data, last) {
    const room = this.connection.sendData(end.stream, data, { end: last });
    this.schedule();
    return room;
  }

  /**
   * @param {StreamEnd} end
   * @param {number} size
   */
  consumed(end, size) {
    this.connection.consumed(end.stream, size, this.clock.monotonic());
    this.schedule();
  }

  /**
   * End a stream before its time.
   *
   * @param {StreamEnd} end
   * @param {number} code
   * @param {string} [reason]
   */
  reset(end, code, reason) {
    if (this.ends.get(end.stream) !== end) return;
    this.connection.reset(end.stream, code, reason);
    this.done(end);
    this.schedule();
  }

  /**
   * This side is done with a stream.
   *
   * @param {StreamEnd} end
   */
  done(end) {
    if (this.ends.get(end.stream) === end) this.ends.delete(end.stream);
    this.wake();
  }

  // Sending

  schedule() {
    if (this.pumpDue) return;
    this.pumpDue = true;
    queueMicrotask(() => this.pump());
  }

  pump() {
    this.pumpDue = false;
    if (this.isOver || this.held) return;
    const { connection, channel, pacer } = this;
    const now = this.clock.monotonic();
    try {
      let room;
      for (;;) {
        room = pacer.room(now, channel.bufferedAmount);
        const message = connection.dataToSend(room);
        if (!message.length) {
          if (!pacer.asks(now)) break;
          connection.ping(now);
          continue;
        }
        channel.send(message);
        pacer.sent(message.length);
        this.sent += message.length;
      }
      // Set before the next event of the engine can run: the crossing is not missed.
      if (!room) channel.bufferedAmountLowThreshold = pacer.low;
    } catch (error) { // the channel is not open any more, or its queue is full
      this.noChannel(`The connection to the peer was lost: ${/** @type {Error} */ (error).message}`);
      return;
    }
    for (const stream of connection.takeRoomy()) this.ends.get(stream)?.onRoom();
    this.wake();
    if (connection.drained && this.wentAway && !this.isClosing) void this.close();
  }

  wake() {
    const waiters = [...this.waiters];
    this.waiters.clear();
    for (const waiter of waiters) waiter();
  }

  // Receiving

  /** @param {unknown} data */
  onMessage(data) {
    if (this.isOver) return;
    this.held = false;
    const now = this.clock.monotonic();
    // The protocol has no text messages. An empty one is a breach of it, which is what a text is, too.
    const message = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array();
    this.received += message.length;
    this.liveness.heard(now);
    try {
      for (const event of this.connection.receive(message, now)) this.dispatch(event, now);
    } catch (error) {
      this.pump();
      const reason = error instanceof PeerPouchError ? error.reason : String(error);
      this.end(new PeerPouchError('protocol_error', `The peer broke the channel protocol: ${reason}`, { cause: error }));
      return;
    }
    this.schedule();
  }

  /**
   * @param {import('../wire/events.js').Event} event
   * @param {number} now
   */
  dispatch(event, now) {
    switch (event.event) {
      case 'DataReceived': {
        const end = this.ends.get(event.stream);
        if (end) end.onData(event.data, event.ended);
        else this.connection.consumed(event.stream, event.data.length, now);
        break;
      }
      case 'RequestReceived':
        this.ends.set(event.stream, new Serving(this, event, this.handler));
        break;
      case 'ResponseReceived':
        this.ends.get(event.stream)?.onHead(event.head, event.ended);
        break;
      case 'StreamReset':
        this.ends.get(event.stream)?.onReset(event.code, event.reason);
        break;
      case 'PongReceived':
        this.pacer.roundTrip = this.connection.roundTrip ?? 0;
        this.pacer.answered(now, event.roundTrip);
        break;
      case 'Opened':
        this.peerTakesGzip = (event.features & GZIP) !== 0;
        // Learn the round trip while no queue is in the way: windows are sized by it.
        this.connection.ping(now);
        break;
      case 'WentAway':
        this.wentAway = true;
        if (event.code !== Code.NONE) {
          const why = event.reason || `code ${event.code}`;
          this.end(new PeerPouchError('peer_unreachable', `The peer ended the connection: ${why}`));
        }
    }
  }

  /** @param {string} reason */
  noChannel(reason) {
    // After a GO_AWAY the peer closes its channel when it has drained, at a time of its own.
    const orderly = this.wentAway || this.isClosing;
    this.end(orderly ? null : new PeerPouchError('peer_unreachable', reason));
  }

  beat() {
    if (this.isOver) return;
    const now = this.clock.monotonic();
    const verdict = this.liveness.check(now);
    if (verdict === 'dead') {
      const seconds = this.liveness.patience / 1000;
      this.end(new PeerPouchError('peer_unreachable', `The peer was silent for ${seconds} seconds.`));
      return;
    }
    if (verdict === 'ping' || this.received - this.receivedAtBeat > BUSY) {
      this.receivedAtBeat = this.received;
      this.connection.ping(now);
      this.pump();
    }
    // A due of zero is a check that is due at this very moment: rounding must not make it a busy loop.
    this.stopBeat = this.clock.timer(Math.max(this.liveness.due(now), 10), () => this.beat());
  }

  // The end

  gone() {
    const reason = this.error?.reason ?? 'The connection to the peer was closed.';
    return new PeerPouchError('peer_unreachable', reason);
  }

  /**
   * The link is over; everything that waits on it ends. Idempotent.
   *
   * @param {PeerPouchError | null} error
   */
  end(error) {
    if (this.isOver) return;
    this.isOver = true;
    this.error = error;
    this.stopBeat();
    this.stopDraining();
    this.lose(this.gone());
    this.ends.clear();
    this.freed = this.free(error?.error === 'peer_unreachable');
    this.wake();
    this.tellOver(error);
  }

  /** @param {PeerPouchError} error */
  lose(error) {
    for (const end of [...this.ends.values()]) end.onLost(error);
  }

  /** @param {boolean} lost Whether nobody is left to take what is queued. */
  async free(lost) {
    const { channel } = this;
    channel.onmessage = channel.onbufferedamountlow = null;
    this.engine.onLost = () => {};
    if (!lost && channel.readyState !== 'closed') {
      // Closing the peer connection first would drop what is queued.
      await new Promise((/** @type {(value: void) => void} */ resolve) => {
        const cancel = this.clock.timer(DRAIN, resolve);
        channel.onclose = () => {
          cancel();
          resolve();
        };
        channel.close();
      });
    }
    channel.onclose = null;
    this.engine.close();
  }
}
