/**
 * The pool: one connection per pair of addresses, whoever began it and however many shares go over it.
 *
 * Rules that hold throughout:
 *
 * 1. The other end is asked before anything is made. An offer is answered only after `welcome` let its sender in to the
 *    share that it names; until then it costs no peer connection and no entry in any table.
 * 2. What a peer was let in to is in `Connection.admitted`, which lives exactly as long as the link over which (or for
 *    which) it was let in. Every request of a peer is looked up there.
 * 3. A table entry changes only between two awaits. Whatever awaits checks again afterwards.
 * 4. Offers that cross are settled by the addresses: the lower address's offer makes the connection. The other's offer is
 *    still decided on, and answered without an SDP, which means: use the connection that is there, or coming.
 * 5. Nothing waits without a limit, and what fails says at which step.
 */

import { orAborted, systemClock, within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { lazily } from '../lazy.js';
import { Connection, addressText } from './connection.js';
import { aliveAnswer, openShare, releaseShare } from './control.js';
import { Lease } from './lease.js';
import { CONNECT_TIMEOUT, poolLimits } from './limits.js';

/**
 * @typedef {import('./connection.js').Address} Address
 * @typedef {import('./connection.js').Guest} Guest
 * @typedef {import('../transport/link.js').Link} Link
 * @typedef {import('../transport/server.js').Handler} Handler
 * @typedef {import('./restarting.js').Restarting} Restarting
 * @typedef {import('../transport/webrtc.js').Pending} Pending
 * @typedef {Address & { fingerprint?: string, name?: string | null }} Peer Who asks, verified by its signature.
 *
 * @typedef {(asked: { peer: Address, share: string, info: unknown, signal?: AbortSignal }) =>
 *   Promise<Guest & { info: unknown }>} Welcome Lets a peer in to one of our shares: what it is told, and what serves it; or
 *   throws the refusal. It has a time limit of its own.
 *
 * @typedef {{
 *   find: (shareId: string) => Promise<{ key: Uint8Array, session: string }>,
 *   signal: (shareId: string, body: object, options: { timeout: number, signal?: AbortSignal }) => Promise<any>,
 *   doubt?: () => void,
 * }} Signals What a pool needs of a hub's client.
 *
 * @typedef {{
 *   offer: (handler: Handler) => Promise<Pending>, answer: (sdp: string, handler: Handler) => Promise<Pending>,
 * }} Transport
 */

/** The share is served by another address than the one that was called. */
class Moved extends PeerPouchError {}

/** What is said of one share, and nothing of another that waits for the same connection. */
const OF_ONE_SHARE = new Set(['forbidden', 'share_not_found', 'not_found', 'too_many_requests']);

export class Pool {
  /**
   * @param {{
   *   address: Address, hub: Signals, welcome: Welcome, transport: Transport,
   *   clock?: import('../clock.js').Clock, limits?: Partial<import('./limits.js').PoolLimits>,
   * }} options
   */
  constructor({ address, hub, welcome, transport, clock = systemClock, limits }) {
    this.own = addressText(address);
    this.hub = hub;
    this.welcome = welcome;
    this.transport = transport;
    this.clock = clock;
    this.limits = poolLimits(limits);
    /** @type {Map<string, Connection>} */
    this.connections = new Map();
    /** @type {Set<Lease>} */
    this.leases = new Set();
    this.closing = new AbortController();
    /** @type {Set<Promise<unknown>>} What closing waits for. */
    this.endings = new Set();
  }

  // Opening other peers' shares

  /**
   * Open a share. Its owner is asked, also when there is a connection already.
   *
   * @param {string} shareId
   * @param {{ info?: unknown, timeout?: number, signal?: AbortSignal }} [options] `info`: any JSON for the owner. `timeout`:
   *   milliseconds, for this and for each reconnection.
   * @returns {Promise<Lease>} Rejects with `share_not_found`, `forbidden`, `hub_unreachable`, `peer_unreachable` (which step
   *   failed is in the reason), `invalid_signal`.
   */
  async open(shareId, { info = null, timeout = CONNECT_TIMEOUT, signal } = {}) {
    const lease = this.lease(shareId, { info, timeout });
    try {
      await lease.reach(true, signal);
    } catch (error) {
      lease.release();
      throw error;
    }
    return lease;
  }

  /**
   * A use of a share that connects with its first request.
   *
   * @param {string} shareId
   * @param {{ info?: unknown, timeout?: number }} [options]
   */
  lease(shareId, { info = null, timeout = CONNECT_TIMEOUT } = {}) {
    this.checkOpen();
    const lease = new Lease(this, shareId, info, timeout);
    this.leases.add(lease);
    return lease;
  }

  /**
   * The connection over which a share is open to us, entered as a user of it, and the sharer's info.
   *
   * @param {string} shareId
   * @param {unknown} info
   * @param {{ timeout: number, ask: boolean, signal: AbortSignal }} options
   */
  async reach(shareId, info, { timeout, ask, signal }) {
    const deadline = this.clock.monotonic() + timeout;
    for (;;) {
      const address = await this.inTime(deadline, () => this.hub.find(shareId), 'the hub was read', signal);
      this.checkOpen();
      if (addressText(address) === this.own) {
        throw new PeerPouchError('bad_request', 'This very hub object serves this share: use its database directly.');
      }
      const connection = this.connection(address);
      connection.enter(shareId);
      this.settleDown(connection);
      try {
        return { connection, info: await this.openOn(connection, shareId, info, { deadline, ask, signal }) };
      } catch (error) {
        this.leave(connection, shareId);
        if (!(error instanceof Moved)) throw error;
        this.checkTime(deadline, 'the peer, which was restarted, was reached at its new address');
      }
    }
  }

  /**
   * @param {Connection} connection
   * @param {string} shareId
   * @param {unknown} info
   * @param {{ deadline: number, ask: boolean, signal: AbortSignal }} options
   * @returns {Promise<unknown>}
   */
  async openOn(connection, shareId, info, { deadline, ask, signal }) {
    for (;;) {
      this.checkOpen();
      signal.throwIfAborted();
      const link = connection.live();
      if (link) {
        if (!ask && connection.opened.has(shareId)) return connection.opened.get(shareId);
        try {
          return await this.openOver(connection, link, shareId, info, deadline, signal);
        } catch (error) {
          const isLost = error instanceof PeerPouchError && error.error === 'peer_unreachable' && link.isOver;
          if (!isLost || this.remaining(deadline) <= 0) throw error;
          continue;
        }
      }
      const { answering } = connection;
      if (answering) {
        await this.inTime(deadline, () => answering.finished, "the peer's own offer was answered", signal);
        continue;
      }
      // An attempt of our own keeps to the time limit by itself, and says more about why it failed.
      const isOwn = !connection.attempt;
      const attempt = connection.attempt ?? this.begin(connection, shareId, info, deadline);
      const isSame = attempt.shareId === shareId && JSON.stringify(attempt.info) === JSON.stringify(info);
      try {
        const found = await (isOwn
          ? orAborted(attempt.outcome, signal)
          : this.inTime(deadline, () => attempt.outcome, 'the peer was waited for', signal));
        if (isSame) return found;
      } catch (error) {
        const { error: name } = error instanceof PeerPouchError ? error : { error: '' };
        // It began before we asked, and had less time than we have.
        if (attempt.isRestart && name === 'peer_unreachable' && this.remaining(deadline) > 0) continue;
        if (isSame || !OF_ONE_SHARE.has(name)) throw error;
      }
    }
  }

  /**
   * @param {Connection} connection
   * @param {Link} link
   * @param {string} shareId
   * @param {unknown} info
   * @param {number} deadline
   * @param {AbortSignal} signal
   */
  async openOver(connection, link, shareId, info, deadline, signal) {
    const release = connection.releases.get(shareId);
    // Overtaking it, we would be let in first and out then.
    if (release) await this.inTime(deadline, () => release, 'the peer was told of the end of an earlier use', signal);
    const found = await this.inTime(
      deadline,
      (inner) => openShare(link, shareId, info, inner),
      'the peer decided whether to let us in',
      signal,
    );
    if (connection.link === link) connection.opened.set(shareId, found);
    return found;
  }

  /**
   * @param {Connection} connection
   * @param {string} shareId
   * @param {unknown} info
   * @param {number} deadline
   * @param {Restarting} [restart] Of a link whose path seems to be broken.
   */
  begin(connection, shareId, info, deadline, restart) {
    const outcome = this.tryConnecting(connection, shareId, info, deadline, restart).finally(() => {
      connection.attempt = null;
      this.settleDown(connection);
    });
    outcome.catch(() => {}); // who waits for it may have given up
    const attempt = (connection.attempt = { shareId, info, outcome, isRestart: !!restart });
    return attempt;
  }

  /**
   * @param {Connection} connection
   * @param {string} shareId
   * @param {unknown} info
   * @param {number} deadline
   * @param {Restarting} [restart]
   */
  async tryConnecting(connection, shareId, info, deadline, restart) {
    for (;;) {
      this.checkTime(deadline, 'the crossing offers were settled');
      const answer = await this.offer(connection, shareId, info, deadline, restart);
      restart = undefined;
      if (answer.restart && !connection.live()) continue; // too late: the link has ended meanwhile
      if (answer.sdp !== null || (await this.gaveWay(connection, deadline))) {
        const found = answer.info ?? null;
        connection.opened.set(shareId, found);
        return found;
      }
    }
  }

  /**
   * Send an offer, and make the connection unless the answer says to use another.
   *
   * @param {Connection} connection
   * @param {string} shareId
   * @param {unknown} info
   * @param {number} deadline
   * @param {Restarting} [restart]
   * @returns {Promise<{ sdp: string | null, info?: unknown, restart?: unknown }>} The answer.
   */
  async offer(connection, shareId, info, deadline, restart) {
    const { signal } = this.closing;
    const pending = await this.transport.offer(this.handler(connection.address));
    try {
      const body = { share: shareId, info, sdp: pending.sdp, ...(await restart?.describe()) };
      const answer = await this.hub.signal(shareId, body, { timeout: this.remaining(deadline), signal });
      // An owner that was restarted meanwhile answers from its new address: a connection to that must not be kept under
      // the old one, or whoever looks for the new one later waits for a connection that is there already.
      const address = await this.inTime(deadline, () => this.hub.find(shareId), 'the hub was read again', signal);
      if (addressText(address) !== connection.text) {
        throw new Moved('peer_unreachable', 'The peer was restarted while it was called.');
      }
      await restart?.taken(answer);
      const sdp = answer.sdp ?? null;
      if (sdp === null) pending.abandon();
      else if (typeof sdp !== 'string') throw new PeerPouchError('invalid_signal', "The answer's SDP is malformed.");
      else this.install(connection, await pending.connect({ sdp, timeout: this.remaining(deadline), signal }));
      return { sdp, info: answer.info, restart: answer.restart };
    } catch (error) {
      pending.abandon();
      await restart?.rollback();
      throw error;
    }
  }

  /**
   * Wait for the connection that the other end's offer makes; whether it came.
   *
   * @param {Connection} connection
   * @param {number} deadline
   */
  async gaveWay(connection, deadline) {
    if (connection.live()) return true;
    const wait = Math.min(this.limits.settle, this.remaining(deadline));
    return within(this.clock, wait, () => connection.linked(), this.closing.signal).then(
      () => true,
      () => false,
    );
  }

  // Letting other peers in: see `reception.js`

  /** What lets other peers in. Who only opens shares never loads it. */
  reception = lazily(async () => {
    const { Reception } = await import('./reception.js');
    return new Reception(this);
  });

  /**
   * What serves the requests of one peer.
   *
   * @param {Address} peer
   * @returns {Handler}
   */
  handler(peer) {
    return async (request) => aliveAnswer(request) ?? (await this.reception()).handler(peer)(request);
  }

  // Links

  /**
   * @param {Connection} connection
   * @param {Link} link
   */
  install(connection, link) {
    if (this.closing.signal.aborted) {
      this.farewell(link);
      return;
    }
    const old = connection.install(link);
    if (old) this.farewell(old);
    void import('../connected.js').then(({ equip }) => equip(this, connection, link), () => {}); // it works without
    void link.over.then((error) => {
      if (error) this.hub.doubt?.(); // lost with this machine's network, perhaps, and the hub's feed with it
      connection.drop(link);
      this.settleDown(connection);
    });
    this.settleDown(connection);
  }

  /**
   * Take a link out of use, and close it behind the scenes.
   *
   * @param {Connection} connection
   * @param {Link} link
   */
  lose(connection, link) {
    if (connection.drop(link)) this.farewell(link);
  }

  /** @param {Link} link */
  farewell(link) {
    this.atEnd(within(this.clock, this.limits.farewell, () => link.close()));
  }

  /**
   * Have closing wait for something that ends by itself.
   *
   * @param {Promise<unknown>} work
   */
  atEnd(work) {
    const ended = work.catch(() => {}).finally(() => this.endings.delete(ended));
    this.endings.add(ended);
  }

  // Uses

  /**
   * @param {Address} address
   * @returns {Connection}
   */
  connection(address) {
    const text = addressText(address);
    let connection = this.connections.get(text);
    if (!connection) this.connections.set(text, (connection = new Connection(address)));
    return connection;
  }

  /**
   * One user of a share less. Upon the last, its owner is told.
   *
   * @param {Connection} connection
   * @param {string} shareId
   */
  leave(connection, shareId) {
    const link = connection.live();
    if (connection.leave(shareId) && connection.opened.delete(shareId) && link && !this.closing.signal.aborted) {
      const told = within(this.clock, this.limits.farewell, (signal) => releaseShare(link, shareId, signal))
        .catch(() => {}) // it learns it when the connection ends
        .finally(() => {
          if (connection.releases.get(shareId) === told) connection.releases.delete(shareId);
        });
      connection.releases.set(shareId, told);
    }
    this.settleDown(connection);
  }

  /**
   * What follows from a change of a connection's link or uses: counting down, or forgetting it.
   *
   * @param {Connection} connection
   */
  settleDown(connection) {
    if (!connection.link && !connection.pending) {
      connection.letOutOfAll();
      const isKept = connection.users.size || connection.deciding;
      if (!isKept && this.connections.get(connection.text) === connection) this.connections.delete(connection.text);
    }
    const isUnused = connection.link && !connection.inUse && !connection.pending && !this.closing.signal.aborted;
    if (isUnused && !connection.idle) {
      connection.idle = this.clock.timer(this.limits.idle, () => {
        connection.idle = null;
        if (connection.link) this.lose(connection, connection.link);
        this.settleDown(connection);
      });
    } else if (!isUnused && connection.idle) {
      connection.idle();
      connection.idle = null;
    }
  }

  // Time and the end

  /** @param {number} deadline */
  remaining(deadline) {
    return Math.max(0, deadline - this.clock.monotonic());
  }

  /**
   * @param {number} deadline
   * @param {string} step
   */
  checkTime(deadline, step) {
    if (this.remaining(deadline) <= 0) {
      throw new PeerPouchError('peer_unreachable', `The time limit ran out before ${step}.`);
    }
  }

  /**
   * @template T
   * @param {number} deadline
   * @param {(signal: AbortSignal) => Promise<T>} work
   * @param {string} step
   * @param {AbortSignal} signal
   * @returns {Promise<T>}
   */
  async inTime(deadline, work, step, signal) {
    try {
      return await within(this.clock, this.remaining(deadline), work, signal);
    } catch (error) {
      if (this.remaining(deadline) > 0 || !(error instanceof PeerPouchError) || error.error !== 'timeout') throw error;
      throw new PeerPouchError('peer_unreachable', `The time limit ran out while ${step}.`, { cause: error });
    }
  }

  checkOpen() {
    if (this.closing.signal.aborted) throw new PeerPouchError('database_closed', 'The hub was closed.');
  }

  /**
   * The connection over which a share of somebody's is used, if there is one.
   *
   * @param {Uint8Array} key
   * @param {string} shareId
   */
  connectionFor(key, shareId) {
    const prefix = addressText({ key, session: '' });
    return [...this.connections.values()].find(({ text, users }) => text.startsWith(prefix) && users.has(shareId));
  }

  /** The page goes away: tell the peers, as far as there is time. */
  farewellAtOnce() {
    for (const { link } of this.connections.values()) link?.leave();
  }

  /** Close all leases and links, after draining them, and wait until everything has ended. */
  async close() {
    this.closing.abort(new PeerPouchError('database_closed', 'The hub was closed.'));
    for (const lease of [...this.leases]) lease.release();
    for (const connection of [...this.connections.values()]) {
      connection.giveUpAnswering();
      connection.letOutOfAll();
      connection.idle?.();
      connection.idle = null;
      if (connection.link) this.lose(connection, connection.link);
    }
    this.connections.clear();
    await Promise.all(this.endings);
  }
}
