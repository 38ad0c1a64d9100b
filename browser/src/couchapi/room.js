/**
 * Room for bodies: what all visitors of a page together can make it hold.
 *
 * A body is held whole while it is read and handled, and a limit for each does not bound all of them: one visitor may
 * have 64 requests under way, and a body that inflates costs it little. So only small bodies are held freely; a larger
 * one waits for a place, which it does without holding up others, since what is not read gives no credit to its sender.
 */

import { within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { Turns } from '../turns.js';

/** Bytes of a body that needs no place: 64 of them, which one connection can have, are 16 MiB. */
const SMALL = 256 * 1024;

/** Bytes of one that needs a medium place; a replicator's batch has 1 MiB. */
const MEDIUM = 4 * 1024 * 1024;

/** Bytes of one that needs a large place: the limit of JSON. */
export const LARGE = 128 * 1024 * 1024;

/** Medium places of each visitor, as many batches as a replicator has under way: 16 MiB. */
const MEDIUM_EACH = 4;

/** Large places of each visitor, and of all: 512 MiB. */
const LARGE_EACH = 1;
const LARGE_ALL = 4;

/** Places for what is still larger, attachments all of them: Blobs, which a browser may put on its disk. */
const HUGE_ALL = 1;

/**
 * Of a body with a place at least so many bytes come in a millisecond, but for so many milliseconds in all; else it loses
 * the place, so that nobody keeps others out by sending slowly.
 */
const SLOWEST = 16;
const GRACE = 30_000;

/** The places of one page. */
export class Room {
  large = new Turns(LARGE_ALL);
  huge = new Turns(HUGE_ALL);
  /** @type {Map<string, { medium: Turns, large: Turns, bodies: number }>} Who has larger bodies under way. */
  visitors = new Map();
}

/** One body that is being read, and the places that it has. */
export class Body {
  #room;
  #who;
  #clock;
  #size = 0;
  #places = 0;
  #patience = GRACE;
  /** Ends the hold on all places. @type {() => void} */
  #free = () => {};
  /** @type {Promise<void>} */
  #handled = new Promise((resolve) => { this.#free = resolve; });

  /** @param {Room} room @param {string} who @param {import('../clock.js').Clock} clock */
  constructor(room, who, clock) {
    this.#room = room;
    this.#who = who;
    this.#clock = clock;
  }

  /**
   * Go on to hold so many bytes more: waits for the places that this takes. A body takes them in one order, and whoever
   * has the last one waits for nobody, so that there is no circle.
   *
   * @param {number} more
   */
  async grow(more) {
    this.#size += more;
    const { visitors, large, huge } = this.#room;
    if (this.#size > SMALL && this.#places === 0) {
      let visitor = visitors.get(this.#who);
      if (!visitor) {
        visitor = { medium: new Turns(MEDIUM_EACH), large: new Turns(LARGE_EACH), bodies: 0 };
        visitors.set(this.#who, visitor);
      }
      visitor.bodies += 1;
      this.#places = 1;
      await this.#take(visitor.medium);
    }
    if (this.#size > MEDIUM && this.#places === 1) {
      this.#places = 2;
      await this.#take(/** @type {any} */ (visitors.get(this.#who)).large);
      await this.#take(large);
    }
    if (this.#size > LARGE && this.#places === 2) {
      this.#places = 3;
      await this.#take(huge);
    }
  }

  /** @param {Turns} turns @returns {Promise<void>} */
  #take(turns) {
    return new Promise((resolve) => {
      void turns.take(() => {
        resolve();
        return this.#handled;
      });
    });
  }

  /**
   * What comes next of it. Only waiting for its sender counts as slow, not what is done here meanwhile.
   *
   * @template {{ value?: Uint8Array }} T
   * @param {Promise<T>} next
   * @returns {Promise<T>} Rejects with `timeout`: others may want its place, and it comes too slowly.
   */
  async wait(next) {
    if (!this.#places) return next;
    const began = this.#clock.monotonic();
    const found = await within(this.#clock, this.#patience, () => next).catch((error) => {
      if (error.error !== 'timeout') throw error;
      throw new PeerPouchError('timeout', "The request's body came too slowly, and others wait.");
    });
    this.#patience += (found.value?.length ?? 0) / SLOWEST - (this.#clock.monotonic() - began);
    return found;
  }

  /** Nothing of it is held any more. */
  release() {
    this.#free();
    const visitor = this.#places ? this.#room.visitors.get(this.#who) : undefined;
    this.#places = 0;
    if (visitor && (visitor.bodies -= 1) === 0) this.#room.visitors.delete(this.#who);
  }
}
