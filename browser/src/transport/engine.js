/** One RTCPeerConnection with its one data channel: offers and answers have all candidates inside. */

import { sleep } from '../clock.js';
import { PeerPouchError } from '../errors.js';

const LABEL = 'peerpouch';
const PROTOCOL = 'peerpouch.1';

/**
 * How connections are made.
 *
 * @typedef {{
 *   RTCPeerConnection: typeof RTCPeerConnection,
 *   iceServers: RTCIceServer[] | (() => Promise<RTCIceServer[]>),
 *   policy: RTCIceTransportPolicy,
 *   gathering: number,
 * }} RTCOptions `iceServers`: STUN and TURN servers, or what fetches them anew for each connection. `policy`: `relay` uses
 *   TURN servers only, so that the peer does not learn this machine's addresses. `gathering`: milliseconds that an offer
 *   or answer waits for candidates at most; a dead STUN server would cost 40 seconds.
 *
 * @typedef {{
 *   local: string | null, remote: string | null, localType: string | null, remoteType: string | null,
 *   roundTrip: number | null,
 * }} Path Candidates' types as in SDP; milliseconds.
 */

export class Engine {
  /**
   * @param {RTCPeerConnection} pc
   * @param {number} gathering
   * @param {import('../clock.js').Clock} clock
   */
  constructor(pc, gathering, clock) {
    this.pc = pc;
    this.gathering = gathering;
    this.clock = clock;
    /** @type {RTCDataChannel | null} */
    this.channel = null;
    /** @type {unknown[]} What arrives before the channel has an owner. */
    this.early = [];
    /** @type {(reason: string) => void} Called when the connection is lost. */
    this.onLost = () => {};
    /** @type {(channel: RTCDataChannel) => void} */
    this.tellOpen = () => {};
    /** @type {(error: PeerPouchError) => void} */
    this.tellFailed = () => {};
    /** @type {Promise<RTCDataChannel>} The channel, once it is open. */
    this.opened = new Promise((resolve, reject) => {
      this.tellOpen = resolve;
      this.tellFailed = reject;
    });
    this.opened.catch(() => {}); // nobody may be waiting when the engine gives up
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'failed' || pc.connectionState === 'closed') {
        this.fail('ICE found no path to the peer, or lost it.');
      }
    };
    pc.ondatachannel = (event) => this.adopt(event.channel, () => this.announced());
  }

  /**
   * @param {RTCOptions} options
   * @param {import('../clock.js').Clock} clock
   */
  static async make({ RTCPeerConnection: Make, iceServers, policy, gathering }, clock) {
    const servers = typeof iceServers === 'function' ? await iceServers() : iceServers;
    try {
      return new Engine(new Make({ iceServers: servers, iceTransportPolicy: policy }), gathering, clock);
    } catch (error) {
      const reason = `The browser does not accept the ICE servers: ${/** @type {Error} */ (error).message}`;
      throw new PeerPouchError('not_implemented', reason, { cause: error });
    }
  }

  /**
   * Wait until the engine itself has opened a channel that it tells of. Chromium calls the peer's channel open when it
   * tells of it, which its engine's thread orders only after that: what is sent in between is dropped without an error.
   * It would be the HELLO for which the peer waits. Statistics are asked for on that thread, behind the order.
   */
  async announced() {
    try {
      await this.pc.getStats();
    } catch {} // it is closed, which `fail` tells
  }

  /**
   * @param {RTCDataChannel} channel
   * @param {() => Promise<void>} [ready] What is waited for, beside the channel, before it counts as open.
   */
  adopt(channel, ready = async () => {}) {
    if (this.channel || channel.label !== LABEL) {
      channel.close();
      return;
    }
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.onmessage = (event) => this.early.push(event.data); // few: the peer waits for HELLO
    const open = () => void ready().then(() => this.tellOpen(channel));
    channel.onopen = open;
    channel.onclose = () => this.fail('The peer closed the connection.');
    if (channel.readyState === 'open') open();
  }

  /** @param {string} reason */
  fail(reason) {
    this.tellFailed(new PeerPouchError('peer_unreachable', reason));
    this.onLost(reason);
  }

  async offer() {
    this.adopt(this.pc.createDataChannel(LABEL, { protocol: PROTOCOL }));
    await this.pc.setLocalDescription(await this.pc.createOffer());
    return this.gathered();
  }

  /** @param {string} offer */
  async answer(offer) {
    await this.remote('offer', offer);
    await this.pc.setLocalDescription(await this.pc.createAnswer());
    return this.gathered();
  }

  /** @param {string} answer */
  accept(answer) {
    return this.remote('answer', answer);
  }

  /**
   * @param {'offer' | 'answer'} type
   * @param {string} sdp
   */
  async remote(type, sdp) {
    try {
      await this.pc.setRemoteDescription({ type, sdp });
    } catch (error) {
      const reason = `The browser does not accept the session description: ${/** @type {Error} */ (error).message}`;
      throw new PeerPouchError('invalid_signal', reason, { cause: error });
    }
  }

  /** The local description, when all candidates are known or the time for that is up. */
  async gathered() {
    const { pc } = this;
    const complete = new AbortController();
    pc.onicegatheringstatechange = () => {
      if (pc.iceGatheringState === 'complete') complete.abort();
    };
    // After the first time the state is still that of the last gathering, so it counts only with what it gave.
    if (pc.localDescription?.sdp.includes('a=candidate:')) pc.onicegatheringstatechange(new Event(''));
    await sleep(this.clock, this.gathering, complete.signal).catch(() => {});
    pc.onicegatheringstatechange = null;
    if (!pc.localDescription) {
      throw new PeerPouchError('peer_unreachable', 'The connection was closed while it was being made.');
    }
    return pc.localDescription.sdp;
  }

  /** @returns {Promise<Path>} */
  async path() {
    /** @type {Map<string, any>} */
    const report = new Map(/** @type {any} */ (await this.pc.getStats().catch(() => [])));
    const all = [...report.values()];
    const transport = all.find((stats) => stats.type === 'transport');
    // Firefox has no transport; there the pair itself says that it is selected.
    const pair =
      report.get(transport?.selectedCandidatePairId) ??
      all.find((stats) => stats.type === 'candidate-pair' && (stats.selected ?? stats.nominated));
    const local = report.get(pair?.localCandidateId);
    const remote = report.get(pair?.remoteCandidateId);
    const seconds = pair?.currentRoundTripTime;
    return {
      local: local?.address ? `${local.address}:${local.port}` : null,
      remote: remote?.address ? `${remote.address}:${remote.port}` : null,
      localType: local?.candidateType ?? null,
      remoteType: remote?.candidateType ?? null,
      roundTrip: seconds === undefined ? null : 1000 * seconds,
    };
  }

  /** Free everything. What is queued is lost: close the channel first. */
  close() {
    this.pc.onconnectionstatechange = null;
    this.pc.close();
    this.fail('The connection was closed.');
  }
}
