import { ReceiveCredit } from './credit.js';
import { Code, FrameType, Malformed, encodeReset, frame } from './frames.js';
import { Allowance, LARGEST_STREAM } from './limits.js';
import { Scheduler } from './scheduler.js';

/**
 * @typedef {import('./stream.js').Stream} Stream
 * @typedef {import('./events.js').Event} Event
 */

/** Frames of credit that follow from a request: for its response, for its body, and for the connection. */
const CREDITS = 3;
/** Bytes for which a peer may return credit by a frame of its own: less than in a frame of bulk on the slowest path. */
const RETURNED = 256;

/** The part of a connection that keeps the books of its streams: which are open, and how each comes to its end. */
export class StreamTable {
  /**
   * @param {import('./limits.js').Limits} limits
   * @param {boolean} offerer
   */
  constructor(limits, offerer) {
    this.limits = limits;
    this.nextStream = offerer ? 1 : 2;
    this.lastAccepted = 0;
    this.refusedFrom = LARGEST_STREAM + 1;
    /** @type {Map<number, Stream>} */
    this.streams = new Map();
    this.openedHere = 0;
    /** @type {Map<number, Stream>} Requests of this end that are over, with bytes that are not consumed. */
    this.lingering = new Map();
    this.resets = new Allowance(limits.resetBurst, limits.resetRate);
    this.idle = new Allowance(limits.idleBurst, limits.idleRate);
    this.out = new Scheduler(limits);
    this.credit = new ReceiveCredit(limits, this.out.control);
  }

  /**
   * Count a new stream of the other end's; false where it is not taken.
   *
   * @param {number} stream
   * @param {number} now
   */
  accept(stream, now) {
    if (stream % 2 === this.nextStream % 2 || stream <= this.lastAccepted || stream === 0) {
      throw new Malformed(`A request can't open stream ${stream}.`);
    }
    if (stream >= this.refusedFrom) { // GO_AWAY has told that it is not taken
      this.countIdle(now);
      return false;
    }
    this.lastAccepted = stream;
    if (this.streams.size - this.openedHere < this.limits.maxStreams) return true;
    this.refuse(stream, Code.REFUSED, 'Too many requests at once.', now);
    return false;
  }

  /** @param {number} stream */
  requireConnection(stream) {
    if (stream !== 0) throw new Malformed('A frame of the connection names a stream.');
  }

  /**
   * Frames of streams that are over may still come, for what is on the way when a stream ends.
   *
   * @param {number} stream
   */
  requireKnown(stream) {
    const known =
      stream % 2 === this.nextStream % 2
        ? stream < this.nextStream
        : stream <= this.lastAccepted || stream >= this.refusedFrom;
    if (!known || stream === 0) throw new Malformed(`A frame names stream ${stream}, which was never opened.`);
  }

  /**
   * @param {number} stream
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   */
  refuse(stream, code, reason, now) {
    this.countReset(now);
    this.out.control.push(frame(FrameType.RESET, stream, encodeReset(code, reason)));
  }

  /** @param {number} now */
  countReset(now) {
    if (!this.resets.take(now)) throw new Malformed('Too many streams are opened and reset.', Code.EXCESS);
  }

  /**
   * A frame came that carries nothing: credit, a pong that nobody waits for, a type that is not known, a second goodbye,
   * some bytes of a body, a small frame for a stream that is over.
   *
   * @param {number} now
   */
  countIdle(now) {
    if (!this.idle.take(now)) {
      throw new Malformed('The other side sends too many frames that carry nothing.', Code.EXCESS);
    }
  }

  /**
   * What gives the peer reason for such frames: requests, with the credit behind each; and bytes that this end sent.
   *
   * @param {number} requests
   * @param {number} sent
   */
  giveIdle(requests, sent) {
    this.idle.give(CREDITS * requests + Math.floor(sent / RETURNED));
  }

  /**
   * The other end did wrong to one stream.
   *
   * @param {Stream} stream
   * @param {number} code
   * @param {string} reason
   * @param {number} now
   * @param {Event[]} events
   */
  breach(stream, code, reason, now, events) {
    this.refuse(stream.id, code, reason, now);
    this.drop(stream);
    events.push({ event: 'StreamReset', stream: stream.id, code, reason, byPeer: false });
  }

  /** @param {Stream} stream */
  sentTheEnd(stream) {
    if (!this.streams.has(stream.id)) return;
    if (!stream.openedHere && stream.receiving !== 'done') {
      this.out.control.push(frame(FrameType.RESET, stream.id, encodeReset(Code.NONE, 'The request is answered.')));
      this.drop(stream);
    } else {
      this.finish(stream);
    }
  }

  /**
   * Forget a stream whose directions have both ended, when nothing of it is unconsumed.
   *
   * @param {Stream} stream
   */
  finish(stream) {
    if (!stream.finished) return;
    if (stream.openedHere && stream.unconsumed) {
      this.streams.delete(stream.id);
      this.openedHere -= 1;
      this.lingering.set(stream.id, stream);
    } else {
      this.drop(stream);
    }
  }

  /** @param {Stream} stream */
  drop(stream) {
    this.streams.delete(stream.id);
    if (stream.openedHere) this.openedHere -= 1;
    stream.headWaits = false;
    stream.dropUnsent();
    this.credit.forget(stream);
  }
}
