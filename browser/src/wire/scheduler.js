import { END, FrameType, HEADER_SIZE, concat, header } from './frames.js';
import { SMALLEST_BULK } from './limits.js';

// Where less room than this is left in a message, the rest of a body waits for the next one instead of leaving a crumb.
const CRUMB = 256;

/** @typedef {import('./stream.js').Stream} Stream */

/**
 * Who sends next: control frames, then heads, then small bodies, then bulk; equals take turns.
 *
 * Nothing is made into a frame before there is room for it on the path, so what is urgent never waits behind more than
 * the one message that is on its way. A stream counts as interactive until it has sent `interactiveBurst` bytes in one
 * go; from then on, until its buffer has run empty, it is bulk.
 */
export class Scheduler {
  /** @param {import('./limits.js').Limits} limits */
  constructor(limits) {
    this.limits = limits;
    /** @type {Uint8Array[]} */
    this.control = [];
    /** @type {{ stream: Stream, head: Uint8Array }[]} */
    this.heads = [];
    /** @type {Stream[]} */
    this.interactive = [];
    /** @type {Stream[]} */
    this.bulk = [];
    this.ahead = 0;
    /** What the peer lets this end send on all streams together. */
    this.maySend = 0;
    /** @type {number[]} Streams whose buffer has room again, for the owner to take. */
    this.roomy = [];
    /** @type {Stream[]} Streams whose last frame was made since the owner looked. */
    this.ended = [];
  }

  clear() {
    for (const queue of [this.control, this.heads, this.interactive, this.bulk]) queue.length = 0;
  }

  /**
   * Give the stream its turn, if it has something that it may send.
   *
   * @param {Stream} stream
   */
  schedule(stream) {
    if (!stream.scheduled && stream.ready) {
      stream.scheduled = true;
      (stream.burst < this.limits.interactiveBurst ? this.interactive : this.bulk).push(stream);
    }
  }

  /**
   * The next message: whole frames back to back; empty if there is none to send. Until `opened`, only control frames go.
   *
   * @param {number} room Bounds the bodies in it. Heads and control frames are never cut, and go where there is no room.
   * @param {number} largest
   * @param {boolean} opened
   */
  message(room, largest, opened) {
    /** @type {Uint8Array[]} */
    const parts = [];
    let used = 0;
    let taken = 0;
    while (taken < this.control.length && used + this.control[taken].length <= largest) {
      used += this.control[taken].length;
      parts.push(this.control[taken]);
      taken += 1;
    }
    this.control.splice(0, taken);
    if (this.control.length) return concat(parts);
    while (opened && this.heads.length) {
      const { stream, head } = this.heads[0];
      if (stream.headWaits) { // else it was reset before its head was sent
        if (used + head.length > largest) return concat(parts);
        parts.push(head);
        used += head.length;
        stream.headWaits = false;
        if (stream.sentEnd) this.ended.push(stream);
        this.schedule(stream);
      }
      this.heads.shift();
    }
    if (opened && room >= SMALLEST_BULK) this.bodies(parts, used, Math.min(room, largest));
    return concat(parts);
  }

  /**
   * @param {Uint8Array[]} parts
   * @param {number} used
   * @param {number} limit
   */
  bodies(parts, used, limit) {
    /** @type {Stream[]} */
    const stuck = [];
    while (limit - used > HEADER_SIZE && this.interactive.length + this.bulk.length) {
      const isBulk = !this.interactive.length || (this.bulk.length > 0 && this.ahead >= this.limits.interactiveShare);
      const ring = isBulk ? this.bulk : this.interactive;
      const stream = ring[0];
      const space = Math.min(limit - used - HEADER_SIZE, 0xffff);
      if (space < CRUMB && stream.buffered > space) break;
      ring.shift();
      stream.scheduled = false;
      if (!stream.ready) continue;
      if (this.maySend <= 0 && stream.buffered) {
        stuck.push(stream);
        continue;
      }
      const size = this.frame(stream, Math.min(space, this.maySend), parts);
      used += size;
      this.ahead = isBulk ? 0 : this.ahead + size;
      this.schedule(stream);
    }
    for (const stream of stuck) this.schedule(stream);
  }

  /**
   * @param {Stream} stream
   * @param {number} room
   * @param {Uint8Array[]} parts
   */
  frame(stream, room, parts) {
    const { pieces, size, end } = stream.take(room);
    parts.push(header(FrameType.DATA, end ? END : 0, size, stream.id), ...pieces);
    this.maySend -= size;
    stream.burst = stream.buffered ? stream.burst + size : 0;
    if (stream.wantsRoom && stream.buffered <= this.limits.sendBuffer / 2) {
      stream.wantsRoom = false;
      this.roomy.push(stream.id);
    }
    if (end) this.ended.push(stream);
    return HEADER_SIZE + size;
  }
}
