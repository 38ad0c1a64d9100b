/**
 * Letting other peers in to what is shared here: the pool's answering half, which is loaded when a page shares something.
 * The rules are the pool's.
 */

import { orAborted, within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { addressText } from './connection.js';
import { checkAlive } from './control.js';
import { controlled } from './controlled.js';

/**
 * @typedef {import('./connection.js').Address} Address
 * @typedef {import('./connection.js').Connection} Connection
 * @typedef {import('./connection.js').Guest} Guest
 * @typedef {import('../transport/link.js').Link} Link
 * @typedef {import('../transport/server.js').Handler} Handler
 * @typedef {import('../transport/webrtc.js').Pending} Pending
 */

export class Reception {
  /** @param {import('./pool.js').Pool} pool */
  constructor(pool) {
    this.pool = pool;
  }

  /**
   * Decide on a verified offer: the answer's body, or the refusal is thrown. What `HubClient.publish` takes.
   *
   * @param {{ peer: Address, share: string, body: any, signal?: AbortSignal }} opening
   * @returns {Promise<{ info: unknown, sdp: string | null, restart?: string }>}
   */
  async decide({ peer, share, body, signal }) {
    this.pool.checkOpen();
    const sdp = body?.sdp;
    if (typeof sdp !== 'string' || addressText(peer) === this.pool.own) {
      throw new PeerPouchError('invalid_signal', 'The offer is malformed.');
    }
    this.checkRoom(peer);
    const { info, ...guest } = await this.pool.welcome({ peer, share, info: body.info ?? null, signal });
    this.pool.checkOpen();
    this.checkRoom(peer);
    const connection = this.pool.connection(peer);
    connection.deciding += 1;
    try {
      const link = connection.live();
      const again = body.restart && !this.crosses(connection) && (await link?.restarting?.answer(body.restart));
      if (again && connection.live() === link) {
        connection.admit(share, guest);
        return { info, sdp: null, restart: again };
      }
      return { info, sdp: await this.answerSdp(connection, share, guest, sdp) };
    } finally {
      connection.deciding -= 1;
      this.pool.settleDown(connection);
    }
  }

  /** Whether an offer of ours is under way that counts before the other end's. @param {Connection} connection */
  crosses(connection) {
    return connection.attempt !== null && this.pool.own < connection.text;
  }

  /**
   * @param {Connection} connection
   * @param {string} shareId
   * @param {Guest} guest
   * @param {string} sdp
   * @returns {Promise<string | null>}
   */
  async answerSdp(connection, shareId, guest, sdp) {
    const link = connection.live();
    // Whoever has a working connection asks over it, so it seems to be lost to the other end; unless this offer crossed
    // with the one that made it, and was late.
    if (link && !(await this.isAlive(link))) this.pool.lose(connection, link);
    if (connection.live()) {
      connection.admit(shareId, guest);
      return null;
    }
    if (connection.answering) {
      connection.giveUpAnswering(); // the peer gave it up too, or it would not offer again
    } else if (this.crosses(connection)) {
      connection.admit(shareId, guest);
      return null;
    }
    connection.admit(shareId, guest);
    const controller = new AbortController();
    const pending = this.pool.transport.answer(sdp, this.handler(connection.address));
    const answering = { controller, finished: this.finish(connection, pending, controller.signal) };
    connection.answering = answering;
    void answering.finished.then(() => {
      if (connection.answering === answering) connection.answering = null;
      this.pool.settleDown(connection);
    });
    const given = await orAborted(pending, controller.signal).catch((error) => {
      if (!controller.signal.aborted) throw error;
      throw new PeerPouchError('forbidden', 'This offer was given up for a newer one.');
    });
    return given.sdp;
  }

  /**
   * Wait until the channel of an answered offer is open. Does not reject: whoever waits looks for the link.
   *
   * @param {Connection} connection
   * @param {Promise<Pending>} made
   * @param {AbortSignal} signal
   */
  async finish(connection, made, signal) {
    let pending = null;
    try {
      pending = await made;
      signal.throwIfAborted();
      this.pool.checkOpen();
      this.pool.install(connection, await pending.connect({ timeout: this.pool.limits.halfOpen, signal }));
    } catch {
      pending?.abandon(); // the answer's sender is told by `answerSdp`, the opener by its own end
    }
  }

  /**
   * What serves the requests of one peer.
   *
   * @param {Address} peer
   * @returns {Handler}
   */
  handler(peer) {
    const text = addressText(peer);
    const found = () => this.pool.connections.get(text);
    return controlled({
      opened: async (share, info) => {
        const link = found()?.live();
        const { info: told, ...guest } = await this.pool.welcome({ peer, share, info });
        const connection = found();
        if (!connection || !link || connection.live() !== link) {
          throw new PeerPouchError('peer_unreachable', 'The connection was closed.');
        }
        connection.admit(share, guest);
        this.pool.settleDown(connection);
        return told;
      },
      released: (share) => {
        const connection = found();
        if (!connection) return;
        connection.letOut(share);
        this.pool.settleDown(connection);
      },
      admitted: (share) => {
        const connection = found();
        connection?.live(); // what was let in over a link that has ended is out
        const guest = connection?.admitted.get(share);
        return guest && (guest.serves?.() ?? true) ? guest.handler : undefined;
      },
    });
  }

  /**
   * Let nobody (or nobody with this key) use a share any more; close what was open for it alone.
   *
   * @param {string} shareId
   * @param {Uint8Array} [key]
   * @param {string} [reason] What they are told whose feeds end.
   */
  revoke(shareId, key, reason = 'The owner does not share this with you any more.') {
    const prefix = key && addressText({ key, session: '' });
    for (const connection of [...this.pool.connections.values()]) {
      if (!connection.admitted.has(shareId) || (prefix && !connection.text.startsWith(prefix))) continue;
      connection.letOut(shareId, reason);
      if (connection.inUse) continue;
      connection.giveUpAnswering();
      if (connection.link) this.pool.lose(connection, connection.link);
      this.pool.settleDown(connection);
    }
  }

  /** @param {Address} peer */
  checkRoom(peer) {
    const text = addressText(peer);
    const key = addressText({ key: peer.key, session: '' });
    const others = [...this.pool.connections.values()].filter((entry) => entry.text !== text);
    if (
      others.filter((entry) => entry.answering).length >= this.pool.limits.halfOpens ||
      others.length >= this.pool.limits.links ||
      others.filter((entry) => entry.text.startsWith(key)).length >= this.pool.limits.linksPerKey
    ) {
      throw new PeerPouchError('too_many_requests', 'Too many connections are open or being made; try again later.');
    }
  }

  /** @param {Link} link */
  async isAlive(link) {
    try {
      await within(this.pool.clock, this.pool.limits.alive, (signal) => checkAlive(link, signal), this.pool.closing.signal);
      return !link.isOver;
    } catch {
      return false;
    }
  }
}
