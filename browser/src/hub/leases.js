/**
 * Which shares are alive, by clocks that may be wrong. Pure: both times are arguments.
 *
 * A renewal that was *witnessed* (the counter of a session grew while we looked) proves that the owner lived when it
 * came; from then on only our own monotonic clock counts. What was seen once only is judged by the wall clocks, with 15
 * minutes of tolerance, and lives no longer than one lease by our monotonic clock. A hub that repeats an older document
 * of the same session changes nothing.
 */

/** @typedef {import('./shares.js').Share} Share */
/** @typedef {{monotonic: number, now: number}} Times Milliseconds. */
/** @typedef {'alive' | 'expired' | 'from the future'} Verdict */
/** @typedef {{share: Share, seen: number, witnessed: boolean}} Seen */

/** Milliseconds by which two clocks may differ. */
export const TOLERANCE = 15 * 60_000;

/** Shares remembered of one hub: with the largest `info`, 40 MiB. What comes beyond is not listed. */
export const MAX_SHARES = 5000;

export class Leases {
  /** @type {Map<string, Seen>} */
  #seen = new Map();

  get size() {
    return this.#seen.size;
  }

  /**
   * Note a verified share.
   *
   * @param {Share} share @param {number} monotonic Now.
   * @param {boolean} [wanted] Whether it was asked for by its id: then another one goes when the table is full.
   * @returns {boolean} Whether it is remembered: not if it is older than what is known of its session, or the table is
   *   full.
   */
  observe(share, monotonic, wanted = false) {
    const known = this.#seen.get(share.id);
    if (known?.share.session === share.session) {
      if (share.renewal < known.share.renewal) return false;
      if (share.renewal > known.share.renewal) this.#seen.set(share.id, { share, seen: monotonic, witnessed: true });
      return true;
    }
    if (!known && this.#seen.size >= MAX_SHARES) {
      if (!wanted) return false;
      this.#seen.delete(/** @type {string} */ (this.#seen.keys().next().value));
    }
    this.#seen.set(share.id, { share, seen: monotonic, witnessed: false });
    return true;
  }

  /** The ids of all shares remembered, alive or not. */
  ids() {
    return new Set(this.#seen.keys());
  }

  /** The share is gone from the hub. @param {string} shareId */
  forget(shareId) {
    this.#seen.delete(shareId);
  }

  /** What is known of a share, alive or not. @param {string} shareId */
  get(shareId) {
    return this.#seen.get(shareId)?.share;
  }

  /** Whether a share is alive; undefined if it was never seen. @param {string} shareId @param {Times} times */
  judge(shareId, times) {
    const known = this.#seen.get(shareId);
    return known && judge(known, times);
  }

  /** The shares that are alive, in the order of their ids. @param {Times} times */
  alive(times) {
    return [...this.#seen.values()].filter((known) => judge(known, times) === 'alive').map(({ share }) => share)
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Forget what ran out long ago, so that the table holds what the hub holds. @param {number} monotonic */
  dropExpired(monotonic) {
    for (const [shareId, { share, seen }] of this.#seen) {
      if (monotonic - seen > 1000 * share.lease + TOLERANCE) this.#seen.delete(shareId);
    }
  }

  /**
   * The time for an offer to this share: ours, if the owner's clock agrees with it within the tolerance, otherwise the
   * owner's, counted on from its last renewal. So neither side needs a clock that is right.
   *
   * @param {Share} share @param {Times} times
   */
  ownersTime(share, { monotonic, now }) {
    const { share: known, seen } = this.#seen.get(share.id) ?? { share, seen: monotonic };
    const owners = known.renewed + (monotonic - seen);
    return Math.round(Math.abs(now - owners) <= TOLERANCE ? now : owners);
  }
}

/** @param {Seen} known @param {Times} times @returns {Verdict} */
function judge({ share, seen, witnessed }, { monotonic, now }) {
  const lease = 1000 * share.lease;
  if (monotonic - seen > lease) return 'expired';
  if (witnessed) return 'alive';
  const age = now - share.renewed;
  if (age > lease + TOLERANCE) return 'expired';
  return age < -TOLERANCE ? 'from the future' : 'alive';
}
