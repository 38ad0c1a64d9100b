/**
 * How much to queue in the engine, and in which portions, learned from what the path carries.
 *
 * Theory of operation
 *   The engine's queue is first in, first out: what is in it stands before every urgent frame. It should hold no more than
 *   the path takes in 50 milliseconds, and no less than keeps the path busy until this end runs again.
 *
 *   What leaves the queue is not yet carried: a congestion window that is open takes it at once, and it may then stand
 *   before the slowest line on the way. But the channel keeps its order, so a PONG proves that all that went before its
 *   PING has arrived. What was sent in a stretch of time and is known to have arrived at its end is *evidence* of a rate:
 *   the path carries at least that, however large windows and routers' queues are. So bulk is interspersed with a few
 *   pings, and a path never seems faster than it is.
 *
 *   Where the queue was never dry, it was the path that bounded what left it. So the path carries no more than that: a
 *   *ceiling*, which brings the rate down when a path becomes slow.
 */

import { Allowance, KIB, LARGEST_MESSAGE, MIB, PORTABLE_MESSAGE, SMALLEST_BULK } from './limits.js';

/** Milliseconds of draining that may stand before an urgent frame. */
const DELAY = 50;
/**
 * Round trips of draining that may, where that is more, in a queue that has just been dry while the congestion window still
 * opens: it takes at once twice what arrived in the round trip before, and does not open where that is missing.
 */
const OPENING = 2;
/** Milliseconds of draining in one message, so that turns are short on a slow path. */
const TURN = 10;
/** Bytes per millisecond that a path is believed to carry before anything is known: 1 Mbit/s. */
const FIRST = 125;
/** Two messages of the smallest size: one on its way, one behind it. */
const LEAST_MARK = 2 * SMALLEST_BULK;
/** More brought no speed at 50 ms round trip, and engines close a channel at 16 MiB. */
const LARGEST_MARK = MIB;
/** Milliseconds over which a ceiling is measured at least; round trips, because acknowledgements come in bursts. */
const WINDOW = 50;
const ROUND_TRIPS = 2;
/** Milliseconds of its line that a router lets stand before it. What a window took at first is carried by then. */
const ROUTER = 250;
/** Milliseconds after which a rate says nothing any more: the path may be another one. */
const STALE = 30_000;
/** Bytes between two pings, how many of them may be on their way, and milliseconds between two. */
const APART = 8 * KIB;
const UNANSWERED = 4;
const DISTINCT = 1;
/** Answers without more evidence after which the window counts as open: two round trips and more. */
const FLAT = 8;
/** Pings whose place is remembered. */
const PLACES = 8;

/** @typedef {{ at: number, sent: number }} Place When how much had been sent, or had left the queue. */

/** The marks of one channel; `now` is monotonic milliseconds, sizes are bytes. */
export class Pacer {
  constructor() {
    this.mark = LEAST_MARK;
    this.turn = SMALLEST_BULK;
    /** @type {number | null} Bytes per millisecond that the path took when it was busy for long enough to tell. */
    this.rate = null;
    this.measuredAt = 0;
    /** Of the path when no queue is in the way. */
    this.roundTrip = 0;
    this.total = 0;
    this.believed = 0;
    this.learnedAt = -Infinity;
    /** What goes into a dry queue in any case: one message, twice as large each time, at most the portable one. */
    this.least = PORTABLE_MESSAGE;
    this.full = false;
    /** Answers since the evidence last grew by a quarter, and what it was then. */
    this.flat = 0;
    this.grown = FIRST;
    /** @type {Place | null} How far the queue is filled in this turn, because it was dry when it began. */
    this.dry = null;
    /** @type {Place[]} Some pings, and those that wait for an answer. */
    this.places = [];
    /** @type {Place[]} */
    this.waiting = [];
    /** The other end takes 64 at once and 10 a second, with those that keep the connection alive. */
    this.pings = new Allowance(20, 5);
    /** @type {number | null} Since when the queue is not dry. */
    this.busy = null;
    this.window = { at: 0, sent: 0 };
    this.before = 0;
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
   * @param {number} now
   * @param {number} buffered Bytes in the engine's queue.
   */
  room(now, buffered) {
    if (now - this.learnedAt > STALE) this.forget(now);
    let least = 0;
    if (buffered > 0) {
      this.bound(now, this.total - buffered);
    } else {
      this.begin(now);
      least = this.least;
    }
    const filled = this.dry?.at === now ? this.dry.sent : this.mark;
    const room = Math.max(filled - buffered, least);
    if (room < SMALLEST_BULK) {
      this.full = true;
      return 0;
    }
    return Math.min(room, Math.max(this.turn, least));
  }

  /**
   * Whether a ping is to be sent, behind what was sent so far.
   *
   * @param {number} now
   */
  asks(now) {
    const { places, waiting, total } = this;
    if (total - places[places.length - 1].sent < APART || waiting.length >= UNANSWERED) return false;
    // Answers are told apart by when they were asked for.
    if (waiting.length && now - waiting[waiting.length - 1].at < DISTINCT) return false;
    if (!this.pings.take(now)) return false;
    const place = { at: now, sent: total };
    if (places.push(place) > PLACES) places.shift();
    waiting.push(place);
    return true;
  }

  /**
   * A ping was answered.
   *
   * @param {number} now
   * @param {number} took Milliseconds since it was sent.
   */
  answered(now, took) {
    let arrived = 0;
    while (this.waiting.length && this.waiting[0].at <= now - took + DISTINCT / 2) {
      arrived = /** @type {Place} */ (this.waiting.shift()).sent;
    }
    if (!arrived) return;
    let rate = 0;
    for (const { at, sent } of this.places) {
      if (sent < arrived && at < now) rate = Math.max(rate, (arrived - sent) / (now - at));
    }
    if (this.opening) {
      this.flat += 1;
      if (rate > 1.25 * this.grown) {
        this.grown = rate;
        this.flat = 0;
      }
    }
    if (rate > this.believed) this.believe(rate);
    if (rate > this.believed / 2) this.learnedAt = now;
  }

  /** Whether the congestion window still opens, as far as is known. */
  get opening() {
    return this.flat < FLAT;
  }

  /** The queue's size at which to fill it again. */
  get low() {
    return Math.floor(this.mark / 2);
  }

  /** @param {number} now */
  forget(now) {
    this.learnedAt = now;
    this.least = PORTABLE_MESSAGE;
    this.flat = 0;
    this.grown = FIRST;
    this.places = [{ at: now, sent: this.total }];
    this.believe(FIRST);
  }

  /** @param {number} rate */
  believe(rate) {
    this.believed = rate;
    this.mark = Math.min(Math.max(Math.floor(rate * DELAY), LEAST_MARK), LARGEST_MARK);
    this.turn = Math.min(Math.max(Math.floor(rate * TURN), SMALLEST_BULK), LARGEST_MESSAGE);
  }

  /**
   * The queue is dry.
   *
   * @param {number} now
   */
  begin(now) {
    const { places, total } = this;
    if (this.full) {
      this.full = false;
      this.least = Math.min(2 * this.least, PORTABLE_MESSAGE);
    }
    const opening = this.opening ? Math.floor(this.believed * OPENING * this.roundTrip) : 0;
    this.dry = { at: now, sent: Math.min(Math.max(this.mark, opening), LARGEST_MARK) };
    this.busy = null;
    // Where hardly anything was sent since, a stretch may begin now as well.
    if (total - places[places.length - 1].sent < APART) places[places.length - 1] = { at: now, sent: total };
  }

  /**
   * A ceiling: what left the queue while there was always something in it.
   *
   * @param {number} now
   * @param {number} drained
   */
  bound(now, drained) {
    const here = { at: now, sent: drained };
    if (this.busy === null) {
      this.busy = now;
      this.window = here;
      this.before = 0;
      return;
    }
    const began = this.window.at;
    const elapsed = now - began;
    if (elapsed < Math.max(WINDOW, ROUND_TRIPS * this.roundTrip)) return;
    const rate = (drained - this.window.sent) / elapsed;
    const last = this.before;
    this.window = here;
    this.before = rate;
    if (began === this.busy) return; // there is no other one yet, and in it a window that was open may have taken much
    this.learnedAt = now;
    this.least = SMALLEST_BULK;
    this.flat = FLAT;
    // The better of two: an acknowledgement that is late makes one of them too low.
    const ceiling = Math.max(rate, last);
    if (ceiling < this.believed) {
      this.places = [{ at: now, sent: this.total }];
      this.believe(ceiling);
    }
    if (began - this.busy >= this.roundTrip + ROUTER) {
      this.rate = (rate + last) / 2;
      this.measuredAt = now;
    }
  }
}
