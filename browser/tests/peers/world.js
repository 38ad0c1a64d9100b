/** Peers in memory: pools over connections without a network, a hub of maps, a clock by hand. */

import { PeerPouchError } from '../../src/errors.js';
import { Pool } from '../../src/peers/pool.js';
import { WebRTC } from '../../src/transport/webrtc.js';
import { FakeClock, settle } from '../fake-clock.js';
import { FakePeerConnection } from '../fake-rtc.js';

export class World {
  constructor() {
    this.clock = new FakeClock();
    /** Share id -> what serves it. */
    this.shares = new Map();
    this.nodes = [];
    /** Offers and answers that went through the hub. */
    this.signals = [];
    /** Awaited before an offer is delivered, and before its answer is. */
    this.beforeOffer = async () => {};
    this.beforeAnswer = async () => {};
  }

  /** A session: keys are ordered as their numbers are. */
  node(number, { key = number, limits, session = `session-${String(number).padStart(3, '0')}` } = {}) {
    const node = new Node(this, { key: new Uint8Array(32).fill(key), session }, limits);
    this.nodes.push(node);
    return node;
  }

  async close() {
    const closing = Promise.all(this.nodes.map((node) => node.pool.close()));
    for (let turn = 0; turn < 12; turn += 1) await this.clock.advance(1000);
    await closing;
    for (const pc of FakePeerConnection.open) pc.close();
    FakePeerConnection.blocked = false;
  }
}

class Node {
  constructor(world, address, limits) {
    this.world = world;
    this.address = address;
    this.asked = [];
    /** Set to decide otherwise. */
    this.judge = async () => {};
    this.pool = new Pool({
      address,
      hub: this,
      welcome: (asked) => this.welcome(asked),
      transport: new WebRTC({ RTCPeerConnection: FakePeerConnection, clock: world.clock }),
      clock: world.clock,
      limits,
    });
  }

  share(id) {
    this.world.shares.set(id, this);
    return id;
  }

  async welcome({ peer, share, info }) {
    this.asked.push({ session: peer.session, share, info });
    if (this.world.shares.get(share) !== this) throw new PeerPouchError('share_not_found', 'No such share.');
    await this.judge({ peer, share, info });
    return {
      info: { of: share },
      handler: async (request) => {
        if (request.url === '/hang') return new Promise(() => {});
        const body = request.body ? await new Response(request.body).text() : null;
        return Response.json({ share, url: request.url, to: peer.session, body });
      },
    };
  }

  // The hub's client

  async find(shareId) {
    const owner = this.world.shares.get(shareId);
    if (!owner) throw new PeerPouchError('share_not_found', 'No such share.');
    return owner.address;
  }

  async signal(shareId, body, { signal } = {}) {
    const aborted = new Promise((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason));
    });
    return Promise.race([this.deliver(shareId, structuredClone(body)), aborted]);
  }

  async deliver(shareId, body) {
    await this.world.beforeOffer(this, shareId);
    const owner = this.world.shares.get(shareId);
    if (!owner) throw new PeerPouchError('share_not_found', 'No such share.');
    const record = { from: this.address.session, share: shareId, sdp: undefined };
    this.world.signals.push(record);
    const reception = await owner.pool.reception();
    const answer = await reception.decide({ peer: this.address, share: shareId, body });
    record.sdp = answer.sdp;
    await this.world.beforeAnswer(this, shareId);
    return structuredClone(answer);
  }
}

/** A promise that is fulfilled by hand. */
export function gate() {
  let open;
  const passed = new Promise((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

export { settle };
