/** The bounds of a pool; milliseconds, except where said otherwise. Every number has its reason. */

/** Opening a share: a hub that is polled answers within a few seconds, and ICE through TURN takes a few more. */
export const CONNECT_TIMEOUT = 30_000;

/** @typedef {typeof DEFAULTS} PoolLimits */
const DEFAULTS = {
  /** How long a link that nobody uses is kept. A few seconds make opening one share after the other cheap. */
  idle: 30_000,
  /** How long an answered offer may take until its channel is open. */
  halfOpen: 20_000,
  /** How many of them there may be. Each holds a peer connection, about a megabyte. */
  halfOpens: 64,
  /** How many connections others may have made to this end; a browser refuses to have more than 500. */
  links: 400,
  /** How many of them may be of one key, which is one person's devices and tabs. */
  linksPerKey: 16,
  /** How long to wait for the other's connection after our offer gave way to it. */
  settle: 8000,
  /** How long a link may take to show that it still works, when its other end seems to want a new one. */
  alive: 2000,
  /** How long draining a link may take, and telling that a share is not used any more. */
  farewell: 5000,
};

/**
 * @param {Partial<PoolLimits>} [changes]
 * @returns {PoolLimits}
 */
export const poolLimits = (changes) => ({ ...DEFAULTS, ...changes });
