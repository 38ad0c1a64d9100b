/** Work that goes one after another, or so many at a time. */

export class Turns {
  #free;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {number} [atOnce] */
  constructor(atOnce = 1) {
    this.#free = atOnce;
  }

  /** Whether nobody has a turn or waits for one. @param {number} atOnce */
  isIdle(atOnce) {
    return this.#free === atOnce;
  }

  /**
   * Run `work` when its turn comes, in the order of asking.
   *
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async take(work) {
    if (this.#free > 0) this.#free--;
    else await new Promise((/** @type {(value: void) => void} */ resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next(); // the turn goes on to it, without becoming free in between
      else this.#free++;
    }
  }
}
