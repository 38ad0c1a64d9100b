/**
 * What one end of a channel takes from the other, and what it keeps for it. Every number has its reason.
 *
 * `docs/protocol/channel.md` is the specification. Times are milliseconds, sizes bytes.
 */

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** The portable size of a WebRTC message: every engine and browser takes it. No end may advertise less. */
export const PORTABLE_MESSAGE = 16 * KIB;
/** A frame's length has 16 bits; above 64 KiB no engine is faster, and small messages wait longer behind large ones. */
export const LARGEST_MESSAGE = 64 * KIB;
/** A frame of bulk is not made smaller than this, so that its 8 bytes of header stay below one percent. */
export const SMALLEST_BULK = KIB;
/** The largest number that every language holds in a signed 32-bit integer. */
export const LARGEST_CREDIT = 2 ** 31 - 1;
export const LARGEST_STREAM = 2 ** 32 - 1;

/**
 * The most that a hostile peer can make this end hold is `connectionCredit` in received bodies, and
 * `2 * maxStreams * sendBuffer` (plus one chunk of the application for each stream) in unsent ones.
 *
 * @typedef {typeof DEFAULTS} Limits
 */
const DEFAULTS = {
  /** Bytes of one message, and so of one frame with its header. */
  maxMessage: LARGEST_MESSAGE,
  /** Streams that the peer may have open at once. A replication uses about ten, a page one for each image. */
  maxStreams: 64,
  /** Bytes of body that the peer may send on a new stream before any were consumed: a batch of 500 small documents. */
  streamCredit: 128 * KIB,
  /** Bytes of a stream's window when its application keeps consuming: 60 MB/s at 50 ms round trip need 3 MB. */
  maxStreamWindow: 4 * MIB,
  /** The window that a request gives its response at once, so that no round trip is spent on each doubling of it. */
  responseWindow: MIB,
  /** What all windows may have in sum above `streamCredit` each: four of the largest, sixteen of a response. */
  windowPool: 16 * MIB,
  /** The windows of all streams that both ends can open, and the pool: less would let unread streams stop others. */
  connectionCredit: 2 * 64 * 128 * KIB + 16 * MIB,
  /** Bytes of an encoded head. With its header and a CREDIT behind it, it fits the portable message. */
  maxHead: PORTABLE_MESSAGE - 20,
  /** Headers of one head: HTTP servers take 100. */
  maxHeaders: 100,
  /** Unsent bytes of a stream above which its application waits: four of the largest frames, so it never runs dry. */
  sendBuffer: 256 * KIB,
  /** Control frames that wait because the path is blocked: more come only from a peer that does not read answers. */
  maxControlFrames: 1024,
  /** Pings without their pong. The liveness policy has three on the way at most. */
  maxPings: 8,
  /** Pings that the peer may send at once, and per second: a heartbeat is one in three seconds. */
  pingBurst: 64,
  pingRate: 10,
  /** Streams that the peer may reset at once, and per second: each request starts work here (as CVE-2023-44487). */
  resetBurst: 512,
  resetRate: 100,
  /**
   * Frames that carry nothing, at once and per second, above those that follow from requests and from what was sent: no
   * credit bounds them, and what this end does not keep up with would pile up in the browser.
   */
  idleBurst: 16_384,
  idleRate: 5000,
  /** Bytes of DATA below which a frame that does not end its body counts as carrying nothing. */
  leastData: 16,
  /** Bytes that a stream may send in one go and still pass as interactive, ahead of bulk. */
  interactiveBurst: 16 * KIB,
  /** Bytes of interactive frames after which one bulk frame goes, so that bulk never starves. */
  interactiveShare: 64 * KIB,
};

/**
 * @param {Partial<Limits>} [changes]
 * @returns {Limits}
 */
export function limits(changes) {
  const all = { ...DEFAULTS, ...changes };
  if (
    !(PORTABLE_MESSAGE <= all.maxMessage && all.maxMessage <= LARGEST_MESSAGE) ||
    !(all.maxHead > 0 && all.maxHead <= PORTABLE_MESSAGE - 20) ||
    !(1 <= all.streamCredit && all.streamCredit <= all.connectionCredit && all.connectionCredit <= LARGEST_CREDIT) ||
    all.maxStreams < 1
  ) {
    throw new RangeError('These limits can not be kept together.');
  }
  return all;
}

/** A token bucket: `burst` at once, then `rate` per second. */
export class Allowance {
  /**
   * @param {number} burst
   * @param {number} rate
   */
  constructor(burst, rate) {
    this.burst = burst;
    this.rate = rate;
    this.left = burst;
    /** @type {number | null} */
    this.at = null;
  }

  /**
   * Take one; false if there is none.
   *
   * @param {number} now Monotonic milliseconds.
   */
  take(now) {
    if (this.at === null || now > this.at) {
      if (this.at !== null) this.left = Math.min(this.burst, this.left + ((now - this.at) / 1000) * this.rate);
      this.at = now;
    }
    if (this.left < 1) return false;
    this.left -= 1;
    return true;
  }

  /**
   * Put back as many, up to the burst.
   *
   * @param {number} amount
   */
  give(amount) {
    this.left = Math.min(this.burst, this.left + amount);
  }
}
