/**
 * Time, behind one small port, so that tests can turn the clock themselves.
 *
 * All times are milliseconds. `now` is the wall clock, which may be wrong and may jump; `monotonic` only ever grows.
 */

import { PeerPouchError } from './errors.js';

/**
 * @typedef {object} Clock
 * @property {() => number} now Milliseconds since 1970.
 * @property {() => number} monotonic Milliseconds since some moment.
 * @property {(ms: number, fn: () => void) => (() => void)} timer Calls `fn` once, after `ms`; gives what cancels it.
 */

/** The longest wait of `setTimeout`; more would fire at once. */
const LONGEST = 2 ** 31 - 1;

/** @type {Clock} */
export const systemClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, fn) {
    const id = setTimeout(fn, Math.min(ms, LONGEST));
    return () => clearTimeout(id);
  },
};

/** What an aborted signal rejects with: the reason it was given, or the platform's own AbortError.
 * @param {AbortSignal} signal */
const reasonOf = (signal) => signal.reason ?? new DOMException('aborted', 'AbortError');

/**
 * What `promise` gives, unless `signal` is aborted before that: then it rejects with the signal's reason.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export function orAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(reasonOf(signal));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/**
 * @param {Clock} clock
 * @param {number} ms
 * @param {AbortSignal} [signal] Ends the wait; the promise then rejects with the signal's reason.
 * @returns {Promise<void>}
 */
export function sleep(clock, ms, signal) {
  /** @type {() => void} */
  let cancel = () => {};
  const slept = new Promise((/** @type {(value: void) => void} */ resolve) => {
    cancel = clock.timer(Math.max(0, ms), resolve);
  });
  return orAborted(slept, signal).finally(cancel);
}

/**
 * What `work` gives, if it does so in time. Its `signal` is aborted when the time is up, when `outer` is aborted, and
 * when it has ended, so whatever hangs on it is freed in every case.
 *
 * @template T
 * @param {Clock} clock
 * @param {number} ms
 * @param {(signal: AbortSignal) => Promise<T>} work
 * @param {AbortSignal} [outer]
 * @returns {Promise<T>} Rejects with PeerPouchError `timeout` when the time is up.
 */
export async function within(clock, ms, work, outer) {
  const controller = new AbortController();
  const abort = () => controller.abort(outer && reasonOf(outer));
  if (outer?.aborted) abort();
  outer?.addEventListener('abort', abort, { once: true });
  const cancel = clock.timer(Math.max(0, ms), () =>
    controller.abort(new PeerPouchError('timeout', `Nothing came within ${ms / 1000} seconds.`)));
  try {
    return await orAborted(work(controller.signal), controller.signal);
  } finally {
    cancel();
    outer?.removeEventListener('abort', abort);
    controller.abort();
  }
}

/**
 * How long to wait before the next attempt: doubling from `first` up to `most`, less up to half by chance, so that all
 * who lost the same hub do not come back at once.
 *
 * @param {number} attempt From 0.
 * @param {{first: number, most: number, random: () => number}} options Milliseconds, and chance from 0 to 1.
 */
export function backoff(attempt, { first, most, random }) {
  return Math.min(most, first * 2 ** Math.min(attempt, 30)) * (0.5 + random() / 2);
}
