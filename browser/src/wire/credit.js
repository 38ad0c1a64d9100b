import { FrameType, encodeCredit, frame } from './frames.js';

/** A window that is used up in less than this many round trips is too small (it takes one for credit to return). */
const ROUND_TRIPS = 2;

/**
 * What the other side may send: the connection's credit, the windows of streams, and the pool they grow from.
 *
 * A window grows when its application has consumed a whole window within two round trips: then the window, not the
 * application, limits the stream. It grows out of a pool that all streams share: so a stream that is not read never holds
 * more than its first credit, and no stream can use up what another one needs.
 */
export class ReceiveCredit {
  /**
   * @param {import('./limits.js').Limits} limits
   * @param {Uint8Array[]} control Where CREDIT frames go.
   */
  constructor(limits, control) {
    this.limits = limits;
    this.control = control;
    this.pool = limits.windowPool;
    this.mayReceive = limits.connectionCredit;
    this.unreturned = 0;
  }

  /**
   * Count bytes that came; false where the connection's credit does not allow them.
   *
   * @param {number} size
   */
  take(size) {
    if (size > this.mayReceive) return false;
    this.mayReceive -= size;
    return true;
  }

  /**
   * Return the connection's credit for bytes that are used up, a quarter of it at a time.
   *
   * @param {number} size
   */
  giveBack(size) {
    this.unreturned += size;
    if (this.unreturned >= Math.max(1, Math.floor(this.limits.connectionCredit / 4))) {
      this.mayReceive += this.unreturned;
      this.control.push(frame(FrameType.CREDIT, 0, encodeCredit(this.unreturned)));
      this.unreturned = 0;
    }
  }

  /**
   * Return a stream's credit, a quarter of its window at a time, and let the window grow.
   *
   * @param {import('./stream.js').Stream} stream
   * @param {number} size
   * @param {number} now
   * @param {number | null} roundTrip
   */
  consumed(stream, size, now, roundTrip) {
    stream.unreturned += size;
    stream.consumedOfWindow += size;
    stream.windowBegan ??= now;
    if (stream.consumedOfWindow >= stream.window) {
      if (roundTrip !== null && now - stream.windowBegan < ROUND_TRIPS * roundTrip) {
        this.widen(stream, 2 * stream.window);
      }
      stream.consumedOfWindow = 0;
      stream.windowBegan = now;
    }
    if (stream.unreturned >= Math.max(1, Math.floor(stream.window / 4))) this.control.push(...this.returned(stream));
  }

  /**
   * Let a stream's window grow to `window` bytes, as far as the limits allow.
   *
   * @param {import('./stream.js').Stream} stream
   * @param {number} window
   */
  widen(stream, window) {
    const extra = Math.max(0, Math.min(window, this.limits.maxStreamWindow) - stream.window);
    const granted = Math.min(extra, this.pool);
    this.pool -= granted;
    stream.grown += granted;
    stream.window += granted;
    stream.unreturned += granted;
  }

  /**
   * The CREDIT frame for what a stream has to get back, if that is anything.
   *
   * @param {import('./stream.js').Stream} stream
   */
  returned(stream) {
    const amount = stream.unreturned;
    if (!amount) return [];
    stream.unreturned = 0;
    stream.mayReceive += amount;
    return [frame(FrameType.CREDIT, stream.id, encodeCredit(amount))];
  }

  /**
   * The stream is over: what it did not consume, and what it took from the pool, comes back.
   *
   * @param {import('./stream.js').Stream} stream
   */
  forget(stream) {
    this.giveBack(stream.unconsumed);
    this.pool += stream.grown;
    stream.unconsumed = stream.grown = 0;
  }
}
