/**
 * One end of a channel, without a channel: messages in, events out; calls in, messages out.
 *
 * Theory of operation
 *   The owner hands every message that arrives to `receive` and gets events. It calls `request`, `respond`, `sendData`,
 *   `reset`, `consumed`; none of them sends. Whenever the path has room it pulls the next message from `dataToSend`, until
 *   that is empty. So the order on the path is decided at the last moment, and nothing queues in front of what is urgent.
 *
 * Rules
 *   - No clock, no randomness, no I/O: `now` is monotonic milliseconds and given where it matters.
 *   - Memory is bounded by the limits, whatever the other side sends.
 *   - What the other side does wrong to one stream resets that stream, with a code. What it does wrong to the connection
 *     throws `protocol_error` once; a GO_AWAY with the code waits to be sent, and nothing more is received.
 *   - Received bytes count against the sender's credit until the owner says `consumed`, or the stream is reset.
 *   - A stream that its acceptor has answered in full is over: the rest of the request's body is not wanted.
 */

import { PeerPouchError } from '../errors.js';
import * as frames from './frames.js';
import { Code, END, FrameType, HEADER_SIZE, Malformed, concat, frame } from './frames.js';
import { LARGEST_CREDIT, LARGEST_MESSAGE, LARGEST_STREAM, SMALLEST_BULK, limits as limitsOf } from './limits.js';
import { Pings } from './pings.js';
import { CONNECTION_TABLE } from './states.js';
import { Stream } from './stream.js';
import { StreamTable } from './table.js';

const HEAD_OVERHEAD = 2 * HEADER_SIZE + 4;

/**
 * @typedef {import('./events.js').Event} Event
 * @typedef {{ stream: number, ended: boolean, payload: Uint8Array, now: number, events: Event[] }} Received
 */

/** One end of a channel. */
export class Connection extends StreamTable {
  /**
   * @param {{ offerer: boolean, limits?: import('./limits.js').Limits, features?: number }} options The offerer opens odd
   *   streams, the other end even ones. `features` is a bit mask that the other end is told.
   */
  constructor({ offerer, limits = limitsOf(), features = 0 }) {
    super(limits, offerer);
    /** @type {import('./states.js').State} */
    this.state = 'opening';
    /** @type {frames.Settings | null} */
    this.peer = null;
    this.pings = new Pings(limits);
    /** @type {Stream[]} Streams that the message in hand opened. */
    this.begun = [];
    this.out.control.push(frame(FrameType.HELLO, 0, frames.encodeHello(limits, features)));
  }

  // What the owner asks

  /** Whether `request` may be called: the connection is open, and the peer takes one more stream. */
  get canRequest() {
    return this.peer !== null && this.state === 'open' && this.openedHere < this.peer.maxStreams && !this.exhausted;
  }

  /** Whether this end has no stream number left; a new connection is needed. */
  get exhausted() {
    return this.nextStream > LARGEST_STREAM;
  }

  /** Whether the connection can be closed without losing anything of this end. */
  get drained() {
    if (this.out.control.length) return false;
    return this.state === 'closed' || (this.state === 'draining' && !this.streams.size);
  }

  /** The shortest time that a ping took, in milliseconds; null before the first. */
  get roundTrip() {
    return this.pings.roundTrip;
  }

  /** Bytes of the largest message that both ends take. */
  get largestMessage() {
    return Math.min(this.peer?.maxMessage ?? this.limits.maxMessage, LARGEST_MESSAGE);
  }

  // What the owner does

  /**
   * Open a stream.
   *
   * @param {frames.RequestHead} head
   * @param {{ end: boolean }} options `end`: there is no body.
   * @returns {number} By which events name it.
   * @throws {PeerPouchError} `protocol_error`: `canRequest` is false, or the head is not allowed. `too_large`: the head is
   *   larger than the other side takes.
   */
  request(head, { end }) {
    if (!this.canRequest || this.peer === null) {
      throw new PeerPouchError('protocol_error', 'The connection takes no request now.');
    }
    const payload = this.headPayload(frames.encodeRequest(head));
    const stream = new Stream(this.nextStream, {
      openedHere: true,
      maySend: this.peer.streamCredit,
      window: this.limits.streamCredit,
    });
    this.nextStream += 2;
    this.openedHere += 1;
    this.streams.set(stream.id, stream);
    this.giveIdle(1, 0);
    this.credit.widen(stream, this.limits.responseWindow);
    this.sendHead(stream, FrameType.REQUEST, payload, end, this.credit.returned(stream));
    return stream.id;
  }

  /**
   * Send the head of a response.
   *
   * @param {number} stream
   * @param {frames.ResponseHead} head
   * @param {{ end: boolean }} options `end`: there is no body.
   */
  respond(stream, head, { end }) {
    const payload = this.headPayload(frames.encodeResponse(head));
    const found = this.streams.get(stream);
    if (!found || found.openedHere || found.sending !== 'head') {
      throw new PeerPouchError('protocol_error', `Stream ${stream} does not wait for a response.`);
    }
    this.sendHead(found, FrameType.RESPONSE, payload, end);
  }

  /**
   * Give bytes of a body to send; they are not copied and must not change.
   *
   * @param {number} stream
   * @param {Uint8Array} data
   * @param {{ end?: boolean }} [options]
   * @returns {boolean} Whether there is room for more. If not, wait until `takeRoomy` names the stream; bytes given
   *   nevertheless are kept.
   */
  sendData(stream, data, { end = false } = {}) {
    const found = this.streams.get(stream);
    if (!found || !found.sendStep(end ? 'data-end' : 'data')) {
      throw new PeerPouchError('protocol_error', `Stream ${stream} is not open for sending.`);
    }
    found.put(data);
    found.ending = end;
    this.out.schedule(found);
    if (found.buffered < this.limits.sendBuffer || end) return true;
    found.wantsRoom = true;
    return false;
  }

  /**
   * End a stream before its time, and drop what was received or waits to be sent. Idempotent.
   *
   * @param {number} stream
   * @param {number} [code]
   * @param {string} [reason]
   */
  reset(stream, code = Code.CANCELLED, reason = '') {
    const lingering = this.lingering.get(stream);
    if (lingering) {
      this.lingering.delete(stream);
      this.credit.forget(lingering);
    }
    const found = this.streams.get(stream);
    if (!found) return;
    if (!(found.openedHere && found.headWaits)) { // else the other side never heard of it
      this.out.control.push(frame(FrameType.RESET, stream, frames.encodeReset(code, reason)));
    }
    this.drop(found);
  }

  /**
   * Return credit for bytes of a stream's DataReceived. Streams that are gone are ignored.
   *
   * @param {number} stream
   * @param {number} size
   * @param {number} now
   */
  consumed(stream, size, now) {
    const found = this.streams.get(stream) ?? this.lingering.get(stream);
    if (!found) return;
    if (!(size >= 0 && size <= found.unconsumed)) {
      throw new RangeError(`${size} bytes consumed of stream ${stream}, ${found.unconsumed} received`);
    }
    found.unconsumed -= size;
    this.credit.giveBack(size);
    if (found.receiving !== 'done') {
      this.credit.consumed(found, size, now, this.roundTrip);
    } else if (!found.unconsumed && this.lingering.delete(stream)) {
      this.credit.forget(found);
    }
  }

  /**
   * Ask for a sign of life: not before the other side's HELLO, and not with `maxPings` unanswered ones.
   *
   * @param {number} now
   */
  ping(now) {
    if (this.state === 'open' || this.state === 'draining') this.out.control.push(...this.pings.ask(now));
  }

  /**
   * Take no more requests and make none. With another code than NONE, close at once.
   *
   * @param {number} [code]
   * @param {string} [reason]
   */
  goAway(code = Code.NONE, reason = '') {
    if (this.state === 'closed') return;
    if (code !== Code.NONE) this.close();
    this.out.control.push(frame(FrameType.GO_AWAY, 0, frames.encodeGoAway(code, this.lastAccepted, reason)));
    this.move(code === Code.NONE ? 'drain-sent' : 'failed');
  }

  /**
   * The next message for the channel; empty where there is nothing (or no room) to send.
   *
   * @param {number} room Bytes that the path should take now; bodies keep within it, and wait where it is below 1 KiB.
   *   Heads and control frames go in any case.
   */
  dataToSend(room) {
    const message = this.out.message(room, this.largestMessage, this.state === 'open' || this.state === 'draining');
    for (const stream of this.out.ended.splice(0)) this.sentTheEnd(stream);
    this.giveIdle(0, message.length);
    return message;
  }

  /** The streams that were full and have room again, each told once. */
  takeRoomy() {
    return this.out.roomy.splice(0);
  }

  /**
   * Take one message of the channel.
   *
   * @param {Uint8Array} message Must not change any more: events have parts of it.
   * @param {number} now
   * @returns {Event[]}
   * @throws {PeerPouchError} `protocol_error`: the other side broke the protocol. A GO_AWAY waits to be sent.
   */
  receive(message, now) {
    /** @type {Event[]} */
    const events = [];
    if (this.state === 'closed') return events;
    try {
      this.parse(message, now, events);
      if (this.out.control.length > this.limits.maxControlFrames) {
        throw new Malformed('The other side provokes answers and does not read them.', Code.EXCESS);
      }
    } catch (error) {
      if (error instanceof Malformed) this.goAway(error.code, error.reason);
      throw error;
    }
    return events;
  }

  // Receiving

  /**
   * @param {Uint8Array} message
   * @param {number} now
   * @param {Event[]} events
   */
  parse(message, now, events) {
    if (message.length > this.limits.maxMessage) {
      throw new Malformed(`A message has ${message.length} bytes.`, Code.TOO_LARGE);
    }
    for (const { kind, flags, stream, payload } of frames.split(message)) {
      if (this.state === 'opening' && kind !== FrameType.HELLO && kind !== FrameType.GO_AWAY) {
        throw new Malformed('The first frame is not HELLO.');
      }
      const handler = HANDLERS[kind];
      if (handler) handler.call(this, { stream, ended: (flags & END) !== 0, payload, now, events });
      else this.countIdle(now);
      if (/** @type {string} */ (this.state) === 'closed') return;
    }
    for (const found of this.begun) {
      // A body that came whole with its head needs no window.
      if (found.receiving === 'body' && this.streams.has(found.id)) {
        this.credit.widen(found, this.limits.responseWindow);
        this.out.control.push(...this.credit.returned(found));
      }
    }
    this.begun = [];
  }

  /** @param {Received} received */
  onHello({ stream, payload, events }) {
    this.requireConnection(stream);
    this.move('hello');
    const hello = frames.decodeHello(payload);
    const version = frames.agreedVersion(hello);
    this.peer = frames.settingsOf(hello.settings);
    this.out.maySend = this.peer.connectionCredit;
    events.push({ event: 'Opened', version, features: this.peer.features });
  }

  /** @param {Received} received */
  onRequest({ stream, ended, payload, now, events }) {
    if (!this.accept(stream, now)) return;
    let head;
    try {
      this.checkHead(payload);
      head = frames.decodeRequest(payload, this.limits.maxHeaders);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.refuse(stream, error.code, error.reason, now);
      return;
    }
    const found = new Stream(stream, {
      openedHere: false,
      maySend: this.peer?.streamCredit ?? 0,
      window: this.limits.streamCredit,
    });
    found.receiveStep(ended ? 'head-end' : 'head');
    this.streams.set(stream, found);
    this.giveIdle(1, 0);
    if (!ended) this.begun.push(found);
    events.push({ event: 'RequestReceived', stream, head, ended });
  }

  /** @param {Received} received */
  onResponse({ stream, ended, payload, now, events }) {
    const found = this.streams.get(stream);
    if (!found) {
      this.requireKnown(stream);
      this.countIdle(now);
      return;
    }
    let head;
    try {
      if (!found.openedHere || found.headWaits) {
        throw new Malformed(`Stream ${stream} was opened by the other side.`);
      }
      this.checkHead(payload);
      head = frames.decodeResponse(payload, this.limits.maxHeaders);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.breach(found, error.code, error.reason, now, events);
      return;
    }
    if (!found.receiveStep(ended ? 'head-end' : 'head')) {
      this.breach(found, Code.PROTOCOL, 'A second response came.', now, events);
      return;
    }
    events.push({ event: 'ResponseReceived', stream, head, ended });
    if (ended) this.finish(found);
  }

  /** @param {Received} received */
  onData({ stream, ended, payload, now, events }) {
    const size = payload.length;
    if (!this.credit.take(size)) {
      throw new Malformed("More data came than the connection's credit allows.", Code.FLOW);
    }
    const found = this.streams.get(stream);
    if (!found) {
      this.requireKnown(stream);
      if (size < SMALLEST_BULK) this.countIdle(now);
      this.credit.giveBack(size);
      return;
    }
    if (size < this.limits.leastData && !ended) this.countIdle(now);
    if (size > found.mayReceive) {
      this.credit.giveBack(size);
      this.breach(found, Code.FLOW, "More data came than the stream's credit allows.", now, events);
      return;
    }
    if (!found.receiveStep(ended ? 'data-end' : 'data')) {
      this.credit.giveBack(size);
      this.breach(found, Code.PROTOCOL, 'Data came before a head or after the end.', now, events);
      return;
    }
    found.mayReceive -= size;
    found.unconsumed += size;
    if (size || ended) events.push({ event: 'DataReceived', stream, data: payload, ended });
    if (ended) this.finish(found);
  }

  /** @param {Received} received */
  onCredit({ stream, payload, now, events }) {
    const amount = frames.decodeCredit(payload);
    this.countIdle(now);
    if (stream === 0) {
      if (this.out.maySend + amount > LARGEST_CREDIT) {
        throw new Malformed("The connection's credit overflows.", Code.FLOW);
      }
      this.out.maySend += amount;
      return;
    }
    const found = this.streams.get(stream);
    if (!found) {
      this.requireKnown(stream);
    } else if (found.maySend + amount > LARGEST_CREDIT) {
      this.breach(found, Code.FLOW, "The stream's credit overflows.", now, events);
    } else {
      found.maySend += amount;
      this.out.schedule(found);
    }
  }

  /** @param {Received} received */
  onReset({ stream, payload, now, events }) {
    const { code, reason } = frames.decodeReset(payload);
    this.countReset(now);
    const found = this.streams.get(stream);
    if (!found) return this.requireKnown(stream);
    if (found.openedHere && found.receiving === 'done' && code === Code.NONE) {
      found.dropUnsent();
      this.finish(found);
    } else {
      this.drop(found);
    }
    events.push({ event: 'StreamReset', stream, code, reason, byPeer: true });
  }

  /** @param {Received} received */
  onPing({ stream, payload, now }) {
    this.requireConnection(stream);
    this.out.control.push(this.pings.answer(payload, now));
  }

  /** @param {Received} received */
  onPong({ stream, payload, now, events }) {
    this.requireConnection(stream);
    const roundTrip = this.pings.answered(payload, now);
    if (roundTrip !== null) events.push({ event: 'PongReceived', roundTrip });
    else this.countIdle(now);
  }

  /** @param {Received} received */
  onGoAway({ stream, payload, now, events }) {
    this.requireConnection(stream);
    const { code, lastStream, reason } = frames.decodeGoAway(payload);
    if (code !== Code.NONE) {
      this.close();
      this.move('failed');
    } else {
      this.countIdle(now);
      this.move('drain-received');
      for (const found of [...this.streams.values()]) {
        if (!found.openedHere || found.id <= lastStream) continue;
        this.drop(found);
        events.push({ event: 'StreamReset', stream: found.id, code: Code.REFUSED, reason, byPeer: true });
      }
    }
    events.push({ event: 'WentAway', code, reason });
  }

  // Bookkeeping

  /** @param {import('./states.js').Move} move */
  move(move) {
    const state = CONNECTION_TABLE[this.state][move];
    if (!state) throw new Malformed(`A frame (${move}) does not fit a connection that is ${this.state}.`);
    if (move === 'drain-sent') this.refusedFrom = this.lastAccepted + 1;
    this.state = state;
  }

  /** @param {Uint8Array} payload */
  checkHead(payload) {
    if (payload.length > this.limits.maxHead) {
      throw new Malformed(`A head has ${payload.length} bytes.`, Code.TOO_LARGE);
    }
  }

  /** @param {Uint8Array} payload */
  headPayload(payload) {
    // A message has to hold the frame, and the CREDIT frame that goes behind a request.
    const largest = Math.min(this.peer?.maxHead ?? 0, this.largestMessage - HEAD_OVERHEAD);
    if (payload.length > largest) {
      throw new PeerPouchError(
        'too_large',
        `The URL and the headers have ${payload.length} bytes; the peer takes ${largest}.`,
      );
    }
    return payload;
  }

  /**
   * @param {Stream} stream
   * @param {number} kind
   * @param {Uint8Array} payload
   * @param {boolean} end
   * @param {Uint8Array[]} [behind]
   */
  sendHead(stream, kind, payload, end, behind = []) {
    stream.sendStep(end ? 'head-end' : 'head');
    stream.headWaits = true;
    stream.ending = stream.sentEnd = end;
    this.out.heads.push({ stream, head: concat([frame(kind, stream.id, payload, end ? END : 0), ...behind]) });
  }

  close() {
    for (const stream of [...this.streams.values()]) this.drop(stream);
    this.lingering.clear();
    this.out.clear();
    this.pings.clear();
  }
}

/** @type {Record<number, (this: Connection, received: Received) => void>} */
const HANDLERS = {
  [FrameType.HELLO]: Connection.prototype.onHello,
  [FrameType.REQUEST]: Connection.prototype.onRequest,
  [FrameType.RESPONSE]: Connection.prototype.onResponse,
  [FrameType.DATA]: Connection.prototype.onData,
  [FrameType.CREDIT]: Connection.prototype.onCredit,
  [FrameType.RESET]: Connection.prototype.onReset,
  [FrameType.PING]: Connection.prototype.onPing,
  [FrameType.PONG]: Connection.prototype.onPong,
  [FrameType.GO_AWAY]: Connection.prototype.onGoAway,
};
