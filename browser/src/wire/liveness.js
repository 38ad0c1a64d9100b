/**
 * When to ask the peer for a sign of life, and when to believe that it is gone.
 *
 * Whatever arrives is a sign of life. After `interval` of silence a ping is due, and again after each further one; after
 * `patience` the peer is dead. Three seconds and nine let two pings get lost and keep the promise that a killed peer is
 * noticed within ten.
 *
 * A laptop that slept, a loop that was blocked: then nobody listened, so silence proves nothing. The first check after a
 * pause of this end counts as `interval` of silence, once for each silence; in a background tab, whose timers run once a
 * minute, that comes to its verdict at the second. The owner calls `check` when `due` says, and the timer is made anew
 * with each message.
 */
export class Liveness {
  /**
   * @param {number} now Monotonic milliseconds, as everywhere here.
   * @param {{ interval?: number, patience?: number }} [options]
   */
  constructor(now, { interval = 3000, patience = 9000 } = {}) {
    this.interval = interval;
    this.patience = patience;
    this.heardAt = this.checkedAt = this.askedAt = now;
    this.forgiven = false;
  }

  /**
   * Something arrived.
   *
   * @param {number} now
   */
  heard(now) {
    this.heardAt = this.checkedAt = this.askedAt = now;
    this.forgiven = false;
  }

  /**
   * What to do now.
   *
   * @param {number} now
   * @returns {'wait' | 'ping' | 'dead'}
   */
  check(now) {
    const paused = now - this.checkedAt > 2 * this.interval;
    this.checkedAt = now;
    if (paused && !this.forgiven) {
      this.forgiven = true;
      this.heardAt = Math.max(this.heardAt, now - this.interval);
    }
    if (now - this.heardAt >= this.patience) return 'dead';
    if (now - this.heardAt >= this.interval && now - this.askedAt >= this.interval) {
      this.askedAt = now;
      return 'ping';
    }
    return 'wait';
  }

  /**
   * Milliseconds until `check` is to be called next.
   *
   * @param {number} now
   */
  due(now) {
    const ask = Math.max(this.heardAt, this.askedAt) + this.interval;
    return Math.max(0, Math.min(ask, this.heardAt + this.patience) - now);
  }
}
