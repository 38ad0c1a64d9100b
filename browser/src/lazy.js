/** Parts of the plugin that a page loads when it needs them first. */

import { PeerPouchError } from './errors.js';

/**
 * What `load` gives, asked for once; after a failure the next call tries again.
 *
 * @template T
 * @param {() => Promise<T>} load
 * @returns {() => Promise<T>} Rejects with `connection_failed` where the part can't be loaded, and with what `load` throws of
 *   our errors.
 */
export function lazily(load) {
  /** @type {Promise<T> | null} */
  let loading = null;
  return () => (loading ??= load().catch((cause) => {
    loading = null;
    if (cause instanceof PeerPouchError) throw cause;
    throw new PeerPouchError('connection_failed', `A part of the plugin was not loaded: ${cause.message}`, { cause });
  }));
}
