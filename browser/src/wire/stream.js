import { DIRECTION_TABLE } from './states.js';

/**
 * The books of one stream: its two directions, what waits to be sent, and the two windows of credit. It makes no frames
 * and decides nothing about others.
 */
export class Stream {
  /**
   * @param {number} id
   * @param {{ openedHere: boolean, maySend: number, window: number }} options
   */
  constructor(id, { openedHere, maySend, window }) {
    this.id = id;
    this.openedHere = openedHere;
    /** @type {import('./states.js').Direction} */
    this.sending = 'head';
    /** @type {import('./states.js').Direction} */
    this.receiving = 'head';
    /** @type {Uint8Array[]} The application's own chunks, uncopied. */
    this.buffer = [];
    /** Their size in bytes. */
    this.buffered = 0;
    this.maySend = maySend;
    /** The application has given the end of its body; `sentEnd`: the frame with it was made. */
    this.ending = false;
    this.sentEnd = false;
    this.headWaits = false;
    this.scheduled = false;
    this.wantsRoom = false;
    this.burst = 0;
    /** What the peer may have in flight or unconsumed; `mayReceive` is what is left of it. */
    this.window = window;
    this.grown = 0;
    this.mayReceive = window;
    this.unconsumed = 0;
    this.unreturned = 0;
    this.consumedOfWindow = 0;
    /** @type {number | null} */
    this.windowBegan = null;
  }

  /**
   * Move the sending direction; false where the table forbids it.
   *
   * @param {import('./states.js').Step} step
   */
  sendStep(step) {
    const state = DIRECTION_TABLE[this.sending][step];
    this.sending = state ?? this.sending;
    return state !== undefined;
  }

  /**
   * Move the receiving direction; false where the table forbids it.
   *
   * @param {import('./states.js').Step} step
   */
  receiveStep(step) {
    const state = DIRECTION_TABLE[this.receiving][step];
    this.receiving = state ?? this.receiving;
    return state !== undefined;
  }

  /** Whether both directions have ended on the wire. */
  get finished() {
    return this.sentEnd && !this.headWaits && this.receiving === 'done';
  }

  /** Whether a DATA frame could be made now. */
  get ready() {
    if (this.headWaits || this.sentEnd) return false;
    return (this.maySend > 0 && this.buffered > 0) || (this.ending && this.buffered === 0);
  }

  /** @param {Uint8Array} data Must not change any more. */
  put(data) {
    if (data.length) {
      this.buffer.push(data);
      this.buffered += data.length;
    }
  }

  /**
   * At most `room` bytes to send, within the credit.
   *
   * @param {number} room
   */
  take(room) {
    const size = Math.min(room, this.maySend, this.buffered);
    /** @type {Uint8Array[]} */
    const pieces = [];
    let missing = size;
    while (missing) {
      const piece = this.buffer[0];
      if (piece.length <= missing) this.buffer.shift();
      else this.buffer[0] = piece.subarray(missing);
      pieces.push(piece.subarray(0, missing));
      missing -= Math.min(piece.length, missing);
    }
    this.buffered -= size;
    this.maySend -= size;
    this.sentEnd = this.ending && this.buffered === 0;
    return { pieces, size, end: this.sentEnd };
  }

  dropUnsent() {
    this.buffer = [];
    this.buffered = 0;
    this.sentEnd = true;
  }
}
