/** Peer connections without a network: enough of RTCPeerConnection for what the plugin does with one. */

let lastId = 0;

const afterTurns = (turns, work) => (turns ? setImmediate(() => afterTurns(turns - 1, work)) : work());

const all = new Map();

class FakeChannel {
  constructor(pc, label, protocol) {
    Object.assign(this, { pc, label, protocol, readyState: 'connecting', bufferedAmountLowThreshold: 0 });
    this.onmessage = this.onopen = this.onclose = this.onbufferedamountlow = null;
    this.queue = [];
    this.held = false;
    this.dropping = false;
  }

  get bufferedAmount() {
    return this.queue.reduce((size, message) => size + message.byteLength, 0);
  }

  /** Stop delivering what is sent, or go on: a path that is blocked. */
  hold(held) {
    this.held = held;
    if (!held) this.flush();
  }

  send(data) {
    if (this.readyState !== 'open') throw new Error('InvalidStateError');
    if (this.dropping) return;
    this.queue.push(data.slice().buffer);
    setImmediate(() => this.flush());
  }

  flush() {
    while (!this.held && this.queue.length) {
      const before = this.bufferedAmount;
      const data = this.queue.shift();
      const crossed = before > this.bufferedAmountLowThreshold && this.bufferedAmount <= this.bufferedAmountLowThreshold;
      if (this.other?.readyState === 'open') this.other.onmessage?.({ data });
      if (crossed) this.onbufferedamountlow?.();
    }
  }

  open() {
    if (this.readyState !== 'connecting') return;
    this.readyState = 'open';
    this.onopen?.();
  }

  close() {
    if (this.readyState === 'closed') return;
    setImmediate(() => {
      this.flush();
      this.shut();
      this.other?.shut();
    });
  }

  shut() {
    if (this.readyState === 'closed') return;
    this.readyState = 'closed';
    this.onclose?.();
  }
}

export class FakePeerConnection {
  static open = new Set();
  /** Set to make connections that never open. */
  static blocked = false;
  /** Set to tell of a channel after what came first on it, as Chromium may. */
  static tardy = false;
  /** Set to tell of a channel, as open, before it takes what is sent, as Chromium may; statistics come after that. */
  static hasty = false;

  constructor(configuration) {
    this.configuration = configuration;
    this.id = String((lastId += 1));
    this.connectionState = 'new';
    this.iceGatheringState = 'complete';
    this.localDescription = null;
    this.signalingState = 'stable';
    this.credentials = 1;
    all.set(this.id, this);
    FakePeerConnection.open.add(this);
  }

  createDataChannel(label, { protocol }) {
    this.channel = new FakeChannel(this, label, protocol);
    return this.channel;
  }

  describe(type) {
    const sdp = `v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=fingerprint:sha-256 ${this.id}\r\n`;
    return { type, sdp: `${sdp}a=ice-ufrag:${this.credentials}\r\na=candidate:1 1 UDP 1 192.0.2.${this.id} 9 typ host\r\n` };
  }

  async createOffer({ iceRestart = false } = {}) {
    if (iceRestart) this.credentials += 1;
    return this.describe('offer');
  }

  async createAnswer() {
    return this.describe('answer');
  }

  async setLocalDescription(description) {
    if (this.connectionState === 'closed') throw new Error('InvalidStateError');
    this.signalingState = description.type === 'offer' ? 'have-local-offer' : 'stable';
    if (description.type !== 'rollback') this.localDescription = description;
  }

  async setRemoteDescription({ type, sdp }) {
    if ((type === 'answer') !== (this.signalingState === 'have-local-offer')) throw new Error('InvalidStateError');
    this.signalingState = 'stable';
    const other = all.get(/fingerprint:sha-256 (\d+)/.exec(sdp)?.[1]);
    if (!other) throw new Error('no such description');
    this.other = other;
    other.other = this;
    if (type === 'answer' && this.channel?.readyState === 'open') { // ICE was restarted: another path is there
      for (const pc of [this, other]) pc.channel.hold(false);
      return;
    }
    if (type === 'answer' && !FakePeerConnection.blocked) setImmediate(() => this.connect(other));
  }

  connect(other) {
    if (!FakePeerConnection.open.has(this) || !FakePeerConnection.open.has(other)) return;
    const channel = new FakeChannel(other, this.channel.label, this.channel.protocol);
    other.channel = channel;
    channel.other = this.channel;
    this.channel.other = channel;
    channel.readyState = 'open';
    this.channel.readyState = 'open';
    if (FakePeerConnection.hasty) {
      channel.dropping = true;
      other.taking = new Promise((resolve) => {
        afterTurns(10, () => {
          channel.dropping = false;
          resolve();
        });
      });
    }
    const tell = () => other.ondatachannel?.({ channel });
    if (FakePeerConnection.tardy) afterTurns(10, tell); // by turns of the loop: by time, a busy machine might tell too soon
    else tell();
    this.channel.onopen?.();
  }

  async getStats() {
    await this.taking;
    return new Map([
      ['T', { type: 'transport', selectedCandidatePairId: 'P' }],
      ['P', { type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: 0.005 }],
      ['L', { address: '192.0.2.1', port: 1, candidateType: 'host' }],
      ['R', { address: '192.0.2.2', port: 2, candidateType: 'prflx' }],
    ]);
  }

  /** The path leads nowhere any more. */
  break() {
    for (const pc of [this, this.other]) pc.channel.hold(true);
  }

  /** As when the process is killed: nothing more comes from here, and nobody is told. */
  vanish() {
    if (this.channel?.other) this.channel.other.other = null;
    if (this.channel) {
      this.channel.other = null;
      this.channel.held = true;
    }
  }

  close() {
    if (this.connectionState === 'closed') return;
    this.connectionState = 'closed';
    FakePeerConnection.open.delete(this);
    this.channel?.shut();
    this.channel?.other?.shut();
  }
}
