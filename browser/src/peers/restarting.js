/**
 * ICE restart: another path for a connection whose path broke, so that nothing on it is lost. The offer of a restart
 * travels inside an ordinary offer, in the field `restart` (`docs/protocol/connections.md`).
 */

import { sleep } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { checkSdp } from '../transport/sdp.js';

/** Milliseconds of silence, in which a ping was not answered. A third of the time until the peer is given up is left. */
const SILENCE = 6000;
/** Milliseconds that a peer has to answer a ping after this machine's network has changed. */
const ANSWER_WITHIN = 1500;
/** Milliseconds after a restart before the path is judged again: what was done shows in a round trip. */
const PAUSE = 2000;

/**
 * The DTLS fingerprints of an SDP, which say whose certificate it is.
 *
 * @param {string} sdp
 */
const fingerprints = (sdp) =>
  sdp.split(/\r?\n/).filter((line) => line.startsWith('a=fingerprint:')).map((line) => line.trim().toLowerCase()).sort().join();

const isOffline = () => globalThis.navigator?.onLine === false;

/** Calls back when the browser tells that its network has changed; gives what ends that. @param {() => void} tell */
function onNetworkChange(tell) {
  const { connection } = /** @type {any} */ (globalThis.navigator ?? {});
  globalThis.addEventListener?.('online', tell);
  connection?.addEventListener?.('change', tell);
  return () => {
    globalThis.removeEventListener?.('online', tell);
    connection?.removeEventListener?.('change', tell);
  };
}

/** Watches the path of one link, and finds another one when it seems to be broken. */
export class Restarting {
  /**
   * @param {import('./pool.js').Pool} pool
   * @param {import('./connection.js').Connection} connection
   * @param {import('../transport/link.js').Link} link
   */
  constructor(pool, connection, link) {
    this.pool = pool;
    this.connection = connection;
    this.link = link;
    this.clock = pool.clock;
    /** @type {number | null} When the network changed, while nothing was heard since. */
    this.changedAt = null;
    this.cancel = () => {};
    this.isBusy = false;
    const forget = onNetworkChange(() => this.changed());
    void link.over.then(() => {
      forget();
      this.cancel();
    });
    this.plan(SILENCE);
  }

  // Watching

  changed() {
    if (this.link.isOver || isOffline()) return;
    const now = this.clock.monotonic();
    this.changedAt = now;
    this.link.connection.ping(now);
    this.link.pump();
    this.plan(ANSWER_WITHIN);
  }

  /** @param {number} ms */
  plan(ms) {
    this.cancel();
    if (!this.link.isOver) this.cancel = this.clock.timer(ms, () => void this.check());
  }

  async check() {
    if (this.isBusy || this.link.isOver) return;
    const now = this.clock.monotonic();
    const { heardAt } = this.link.liveness;
    if (this.changedAt !== null && heardAt >= this.changedAt) this.changedAt = null;
    const moved = this.changedAt !== null && now - this.changedAt >= ANSWER_WITHIN;
    // Without any network there is no other path either.
    if (!isOffline() && (moved || now - heardAt >= SILENCE)) {
      this.isBusy = true;
      await this.mend().catch(() => {}); // it will be judged again
      await sleep(this.clock, PAUSE);
      this.isBusy = false;
      this.plan(0);
    } else {
      this.plan(this.changedAt === null ? Math.max(heardAt + SILENCE - now, PAUSE / 2) : ANSWER_WITHIN);
    }
  }

  /** Offer a restart to the peer, if we use a share of its: whom else could an offer be sent to? */
  async mend() {
    const { pool, connection } = this;
    pool.hub.doubt?.();
    const lease = [...pool.leases].find((each) => each.connection === connection);
    if (!lease || connection.pending || connection.live() !== this.link) return;
    const deadline = this.clock.monotonic() + lease.timeout;
    await pool.begin(connection, lease.shareId, lease.ownInfo, deadline, this).outcome;
  }

  // Our own restart, beside an offer for a new connection

  /** What is added to the offer's body; nothing if the link can't be restarted any more. */
  async describe() {
    const { engine } = this.link;
    try {
      await this.rollback();
      await engine.pc.setLocalDescription(await engine.pc.createOffer({ iceRestart: true }));
      return { restart: await engine.gathered() };
    } catch {
      return {};
    }
  }

  /**
   * Whether the answer goes on with the link, which is restarted then.
   *
   * @param {any} answer
   * @throws {PeerPouchError} `invalid_signal`: it pretends to, and is of another connection.
   */
  async taken({ restart }) {
    if (restart === undefined || restart === null || this.link.isOver) return this.rollback();
    this.checkSame(restart);
    await this.link.engine.accept(restart);
    this.forgive();
  }

  /** Take an own offer back that was not answered. */
  async rollback() {
    const { pc } = this.link.engine;
    if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' }).catch(() => {});
  }

  // The other end's

  /**
   * The answer to the other end's restart, or null where it is not of this link, or can't be done.
   *
   * @param {unknown} description
   */
  async answer(description) {
    if (this.link.isOver) return null;
    try {
      this.checkSame(description);
      await this.rollback();
      const sdp = await this.link.engine.answer(/** @type {string} */ (description));
      this.forgive();
      return this.link.isOver ? null : sdp;
    } catch {
      return null;
    }
  }

  /** The description must be of the very certificate that the connection was made with. @param {unknown} sdp */
  checkSame(sdp) {
    const own = fingerprints(this.link.remote);
    if (typeof sdp !== 'string' || !own || fingerprints(checkSdp(sdp)) !== own) {
      throw new PeerPouchError('invalid_signal', 'The restart is not of this connection.');
    }
  }

  /** Another path is being tried: the peer has at least one more interval to be heard. */
  forgive() {
    const { liveness } = this.link;
    liveness.heardAt = Math.max(liveness.heardAt, this.clock.monotonic() - (liveness.patience - liveness.interval));
  }
}
