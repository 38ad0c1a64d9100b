/**
 * How much to queue in the engine, and in which portions, learned from how fast the queue drains.
 *
 * The engine's queue is first in, first out: what is in it stands before every urgent frame. It should hold no more than
 * the path takes in 50 milliseconds, and no less than keeps the path busy until this end runs again.
 */

import { KIB, LARGEST_MESSAGE, MIB, PORTABLE_MESSAGE, SMALLEST_BULK } from './limits.js';

/** Milliseconds of draining that may stand before an urgent frame. */
const DELAY = 50;
/** Milliseconds of draining in one message, so that turns are short on a slow path. */
const TURN = 10;
/** Where the queue starts, before anything is known: 130 ms at 1 Mbit/s, and a fast path doubles it in no time. */
const FIRST_MARK = 16 * KIB;
/** Two messages of the smallest size: one on its way, one behind it. */
const LEAST_MARK = 2 * SMALLEST_BULK;
/** More brought no speed at 50 ms round trip, and engines close a channel at 16 MiB. */
const LARGEST_MARK = MIB;
/** Milliseconds over which the rate is measured at least; round trips, because acknowledgements come in bursts. */
const WINDOW = 50;
const ROUND_TRIPS = 2;

/** The marks of one channel; sizes are bytes. */
export class Pacer {
  constructor() {
    this.mark = FIRST_MARK;
    this.turn = PORTABLE_MESSAGE;
    /** @type {number | null} Bytes per millisecond that the path took when it was busy; nothing until it was. */
    this.rate = null;
    this.measuredAt = 0;
    this.roundTrip = 0;
    this.total = 0;
    /** @type {{ at: number, drained: number } | null} */
    this.since = null;
    this.full = false;
  }

  /**
   * So many bytes were put into the engine's queue.
   *
   * @param {number} size
   */
  sent(size) {
    this.total += size;
  }

  /**
   * How large the next message's bodies may be; 0 to wait until the queue is down to `low`.
   *
   * @param {number} now Monotonic milliseconds.
   * @param {number} buffered Bytes in the engine's queue.
   */
  room(now, buffered) {
    this.learn(now, buffered);
    const room = this.mark - buffered;
    if (room < SMALLEST_BULK) {
      this.full = true;
      return 0;
    }
    return Math.min(room, this.turn);
  }

  /** The queue's size at which to fill it again. */
  get low() {
    return Math.floor(this.mark / 2);
  }

  /**
   * @param {number} now
   * @param {number} buffered
   */
  learn(now, buffered) {
    const drained = this.total - buffered;
    if (buffered <= 0 || !this.since) {
      // Dry although it was filled to the mark: the mark was too low for the time between two turns.
      if (this.full && buffered <= 0) {
        this.mark = Math.min(2 * this.mark, LARGEST_MARK);
        this.turn = Math.max(this.turn, Math.min(Math.floor(this.mark / 4), LARGEST_MESSAGE));
      }
      this.full = false;
      this.since = { at: now, drained };
      return;
    }
    const elapsed = now - this.since.at;
    if (elapsed >= Math.max(WINDOW, ROUND_TRIPS * this.roundTrip)) {
      this.rate = (drained - this.since.drained) / elapsed;
      this.measuredAt = now;
      this.mark = Math.min(Math.max(Math.floor(this.rate * DELAY), LEAST_MARK), LARGEST_MARK);
      this.turn = Math.min(Math.max(Math.floor(this.rate * TURN), SMALLEST_BULK), LARGEST_MESSAGE);
      this.since = { at: now, drained };
    }
  }
}
