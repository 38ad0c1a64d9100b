/** Which offers are looked at: none twice, and never too many at once. Pure. */

import { PeerPouchError } from '../errors.js';
import { TOLERANCE } from './leases.js';

/** Nonces remembered: 4 a second over the half hour for which an offer's time can be valid. */
const MAX_REMEMBERED = 8192;
/** Milliseconds by which an offer's time may still be ahead of our clock while half of the places are taken. */
const AHEAD = 5000;

/** Openings decided on at one time. Each may hold a peer connection in the making, which costs about a megabyte. */
export const MAX_PENDING = 64;
/** Of one key: its holder opens several shares at once, and leaves room for others. */
export const MAX_PENDING_PER_KEY = 16;

/** @param {string} reason */
const tooMany = (reason) => new PeerPouchError('too_many_requests', reason);

/**
 * Offers that were seen, so that none is taken twice.
 *
 * An offer is remembered while its time would let it pass. When there are too many, the oldest is forgotten and with it
 * every offer as old: a flood makes offers from slow clocks fail, but lets no replay pass. So that a flood with times
 * from the future does not make all others look old, those get half of the places only. After a restart nothing needs
 * to be remembered, because nothing sealed to the last session can be opened any more.
 */
export class Replays {
  /** @type {Set<string>} */
  #seen = new Set();
  /** By time, the oldest first. @type {{time: number, nonce: string}[]} */
  #byTime = [];
  #floor = -1;

  get size() {
    return this.#seen.size;
  }

  /**
   * @param {string} nonce The offer's.
   * @param {number} time The offer's, checked against the clock before.
   * @param {number} now By the recipient's clock.
   * @returns {boolean} Whether this offer is new.
   * @throws {PeerPouchError} `too_many_requests` if offers from clocks that are ahead can't be looked at.
   */
  admit(nonce, time, now) {
    while (this.#byTime.length && this.#byTime[0].time < now - TOLERANCE) this.#forgetFirst();
    if (this.#seen.has(nonce) || time <= this.#floor) return false;
    if (2 * this.#byTime.length >= MAX_REMEMBERED && time > now + AHEAD) {
      throw tooMany('Too many openings at the moment, and the opener\'s clock is ahead; try again later.');
    }
    this.#seen.add(nonce);
    let place = this.#byTime.length; // times come nearly in order, so few are passed
    while (place > 0 && this.#byTime[place - 1].time > time) place--;
    this.#byTime.splice(place, 0, { time, nonce });
    if (this.#byTime.length > MAX_REMEMBERED) this.#forgetFirst();
    return true;
  }

  #forgetFirst() {
    const { time, nonce } = /** @type {{time: number, nonce: string}} */ (this.#byTime.shift());
    // The floor stays: should the clock be set back, what was forgotten does not become new again.
    this.#floor = time;
    this.#seen.delete(nonce);
  }
}

/** How many openings are being decided on, in all and for each key. */
export class Openings {
  /** @type {Map<string, number>} */
  #byKey = new Map();
  #all = 0;

  /**
   * Count one opening while `work` runs.
   *
   * @template T
   * @param {string} key @param {() => Promise<T>} work
   * @throws {PeerPouchError} `too_many_requests` if there are too many already.
   */
  async enter(key, work) {
    const own = this.#byKey.get(key) ?? 0;
    if (this.#all >= MAX_PENDING || own >= MAX_PENDING_PER_KEY) {
      throw tooMany('Too many openings are pending; try again in a moment.');
    }
    this.#all++;
    this.#byKey.set(key, own + 1);
    try {
      return await work();
    } finally {
      this.#all--;
      const left = /** @type {number} */ (this.#byKey.get(key)) - 1;
      if (left) this.#byKey.set(key, left);
      else this.#byKey.delete(key);
    }
  }
}
