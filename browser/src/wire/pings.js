import { Code, FrameType, Malformed, frame, viewOf } from './frames.js';
import { Allowance } from './limits.js';

const SIZE = 8;

/** Asking the other end for a sign of life, and answering; `now` is monotonic milliseconds. */
export class Pings {
  /** @param {import('./limits.js').Limits} limits */
  constructor(limits) {
    /** @type {number | null} The shortest time that a ping took: what the path takes when no queue is in the way. */
    this.roundTrip = null;
    this.most = limits.maxPings;
    this.number = 0;
    /** @type {Map<number, number>} When those that are not answered were sent. */
    this.sent = new Map();
    this.allowance = new Allowance(limits.pingBurst, limits.pingRate);
  }

  /**
   * The PING frames to send: one, or none where as many as may be are unanswered.
   *
   * @param {number} now
   */
  ask(now) {
    if (this.sent.size >= this.most) return [];
    this.number += 1;
    this.sent.set(this.number, now);
    const token = new Uint8Array(SIZE);
    viewOf(token).setBigUint64(0, BigInt(this.number));
    return [frame(FrameType.PING, 0, token)];
  }

  /**
   * The PONG frame for a PING that came.
   *
   * @param {Uint8Array} payload
   * @param {number} now
   */
  answer(payload, now) {
    if (payload.length !== SIZE) throw new Malformed('PING does not have eight bytes.');
    if (!this.allowance.take(now)) throw new Malformed('The other side sends too many pings.', Code.EXCESS);
    return frame(FrameType.PONG, 0, payload);
  }

  /**
   * A PONG came; gives how many milliseconds its ping took, or null if none waits for it.
   *
   * @param {Uint8Array} payload
   * @param {number} now
   */
  answered(payload, now) {
    if (payload.length !== SIZE) return null;
    const number = Number(viewOf(payload).getBigUint64(0));
    const at = this.sent.get(number);
    if (at === undefined) return null;
    // Channels keep their order: a ping before this one will not be answered any more.
    for (const earlier of this.sent.keys()) if (earlier <= number) this.sent.delete(earlier);
    const took = Math.max(0, now - at);
    this.roundTrip = Math.min(took, this.roundTrip ?? took);
    return took;
  }

  clear() {
    this.sent.clear();
  }
}
