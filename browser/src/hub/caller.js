/** The opener's end of signals: one document with the offer, the answer in it, and the document deleted. */

import { within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { toText } from '../trust/bytes.js';
import { Turns } from '../turns.js';
import { hubErrors } from './errors.js';
import { TOLERANCE } from './leases.js';
import * as shares from './shares.js';
import * as signals from './signals.js';

/** @typedef {import('./shares.js').Share} Share */
/** @typedef {import('./database.js').Change} Change */

/** Offers that one session has on their way to one owner, who takes twice as many of a key; more wait their turn. */
const MAX_CALLS = 8;
const ATTEMPTS = 4;
/** Milliseconds that closing spends on deleting what is left in the hub. */
const CLEAN_WITHIN = 2000;

/** The share that was asked is served by another session now. */
class Moved {
  /** @param {Share} share */
  constructor(share) {
    this.share = share;
  }
}

/** One offer that waits for its answer. */
class Call {
  /** The last answer that was not the owner's. @type {PeerPouchError | undefined} */
  refused;
  done = false;
  /** @type {(value: {body?: any, error?: PeerPouchError, moved?: Moved}) => void} */
  #resolve = () => {};
  /** @type {Promise<{body?: any, error?: PeerPouchError, moved?: Moved}>} */
  answer = new Promise((resolve) => { this.#resolve = resolve; });

  /** @param {signals.SentOffer} sent */
  constructor(sent) {
    this.sent = sent;
  }

  /** @param {{body?: any, error?: PeerPouchError, moved?: Moved}} answer */
  end(answer) {
    this.done = true;
    this.#resolve(answer);
  }
}

export class Caller {
  #database;
  #clock;
  #feed;
  #directory;
  #identity;
  #session;
  #replyTo;
  /** @type {Map<string, Call>} */
  #calls = new Map();
  /** By owner's key. @type {Map<string, Turns>} */
  #turns = new Map();
  /** @type {Set<Promise<void>>} */
  #cleaning = new Set();

  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock
   * @param {import('./feed.js').Feed} feed Brings the answers. @param {import('./directory.js').Directory} directory
   * @param {import('../trust/identity.js').Identity} identity The opener.
   * @param {string} session The id of the opener's session.
   * @param {string} replyTo The tag by which the feed finds this session's answers.
   */
  constructor(database, clock, feed, directory, identity, session, replyTo) {
    this.#database = database;
    this.#clock = clock;
    this.#feed = feed;
    this.#directory = directory;
    this.#identity = identity;
    this.#session = session;
    this.#replyTo = replyTo;
  }

  /**
   * A share that can be opened.
   *
   * @param {string} shareId
   * @returns {Promise<Share>} Rejects with `share_not_found`, `clock_skew` or `hub_unreachable`.
   */
  async find(shareId) {
    const found = await this.#directory.find(shareId);
    if (!found) {
      throw new PeerPouchError('share_not_found', `The hub has no share ${shareId}, or it was withdrawn.`);
    }
    const { share, verdict } = found;
    const minutes = Math.round((this.#clock.now() - share.renewed) / 60_000);
    if (verdict === 'from the future') {
      throw new PeerPouchError('clock_skew', `The share ${share.name} was renewed ${-minutes} minutes in the future ` +
        `by our clock; ${TOLERANCE / 60_000} minutes are tolerated. Set both clocks, or watch until it is renewed again.`);
    }
    if (verdict === 'expired') {
      throw new PeerPouchError('share_not_found', `The share ${share.name} was last renewed ${Math.max(minutes, 0)} ` +
        'minutes ago by our clock: its owner is gone, or one of both clocks is wrong.');
    }
    return share;
  }

  /**
   * Send an offer and wait for its answer.
   *
   * @param {string} shareId @param {any} body
   * @param {{timeout: number, signal?: AbortSignal}} options Milliseconds; what gives the call up.
   */
  async call(shareId, body, { timeout, signal }) {
    /** @type {Call | undefined} */
    let call;
    const run = async (/** @type {AbortSignal} */ over) => {
      const [share] = await Promise.all([this.find(shareId), this.#feed.start()]); // one round trip less
      return this.#inTurn(share.key, async () => {
        let asked = share;
        for (;;) {
          over.throwIfAborted(); // the turn may have come too late
          call = await this.#make(asked, body);
          const { moved, ...answer } = await this.#answerTo(call, over);
          if (!moved) return answer;
          asked = moved.share;
        }
      });
    };
    let answer;
    try {
      answer = await within(this.#clock, timeout, run, signal);
    } catch (error) {
      throw /** @type {any} */ (error).error === 'timeout' ? this.#noAnswer(call, timeout) : error;
    }
    if (answer.error) throw answer.error;
    return answer.body;
  }

  /** Note a change of a share, after the directory did: an owner that restarted can't open what was sealed to its last
   * session, so an offer is made again to the new one. @param {string} shareId */
  shareChanged(shareId) {
    for (const call of this.#calls.values()) {
      const asked = call.sent.share;
      const share = this.#directory.get(shareId);
      if (asked.id === shareId && share && share.session !== asked.session) call.end({ moved: new Moved(share) });
    }
  }

  /** Note a change of a signal. @param {Change} change */
  async signalChanged({ id, doc }) {
    const call = this.#calls.get(id);
    if (!call || call.done || !doc?.answer) return;
    try {
      call.end(await signals.openAnswer(doc, call.sent));
    } catch (error) {
      // Whoever can write to the hub can put this there; the owner's own answer may still come on top of it.
      call.refused = /** @type {PeerPouchError} */ (error);
      console.warn('peerpouch: an answer was refused:', call.refused.reason);
    }
  }

  /** End what is waiting, and delete what is left in the hub, as far as that works at once. */
  async close() {
    for (const call of this.#calls.values()) {
      call.end({ error: new PeerPouchError('hub_unreachable', 'The hub was closed while an answer was awaited.') });
    }
    await null; // the callers wake, and begin to delete their signals
    const cleaning = async () => { while (this.#cleaning.size) await Promise.all(this.#cleaning); };
    await within(this.#clock, CLEAN_WITHIN, cleaning).catch(() => {});
  }

  /** @param {Uint8Array} key @param {() => Promise<any>} work */
  async #inTurn(key, work) {
    const owner = toText(key);
    const turns = this.#turns.get(owner) ?? new Turns(MAX_CALLS);
    this.#turns.set(owner, turns);
    try {
      return await turns.take(work);
    } finally {
      if (turns.isIdle(MAX_CALLS)) this.#turns.delete(owner);
    }
  }

  /** @param {Share} share @param {any} body */
  async #make(share, body) {
    const time = this.#directory.offerTime(share);
    const options = { session: this.#session, replyTo: this.#replyTo, time };
    return new Call(await signals.makeOffer(this.#identity, share, body, options));
  }

  /** @param {Call} call @param {AbortSignal} over @returns {ReturnType<() => Call['answer']>} */
  async #answerTo(call, over) {
    const { document } = call.sent;
    const giveUp = () => call.end({});
    over.addEventListener('abort', giveUp, { once: true });
    this.#calls.set(document._id, call);
    try {
      await this.#send(call);
      if (this.#feed.error) this.#feed.doubt(); // the hub is there again, and the answer comes by the feed
      if (over.aborted) giveUp();
      return await call.answer;
    } finally {
      over.removeEventListener('abort', giveUp);
      this.#calls.delete(document._id);
      // In the background: the answer must not wait for that.
      const cleaning = this.#delete(document._id).finally(() => this.#cleaning.delete(cleaning));
      this.#cleaning.add(cleaning);
    }
  }

  /** @param {Call} call */
  async #send(call) {
    const { document, share: asked } = call.sent;
    // A public hub takes no signals for a session that serves nothing there any more.
    const written = await hubErrors('send a signal', this.#database.put(document).catch((error) => {
      if (error.status !== 404) throw error;
      return null;
    }));
    if (written) return;
    const share = await this.find(asked.id);
    if (share.session === asked.session) {
      throw new PeerPouchError('hub_unreachable', 'The hub takes no signals for a share that it lists.');
    }
    call.end({ moved: new Moved(share) });
  }

  /** @param {string} id */
  async #delete(id) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        const document = await this.#database.get(id);
        if (document) await this.#database.remove(id, document._rev);
        return;
      } catch (error) {
        if (/** @type {any} */ (error).status !== 409) return; // it expires; a conflict: answered just now
      }
    }
  }

  /** @param {Call | undefined} call @param {number} timeout */
  #noAnswer(call, timeout) {
    const seconds = timeout / 1000;
    if (call?.refused) {
      return new PeerPouchError('invalid_signal', `The only answers that came within ${seconds} seconds were not the ` +
        `owner's: ${call.refused.reason} Somebody interferes at the hub.`);
    }
    if (this.#feed.error) {
      return new PeerPouchError('hub_unreachable',
        `The hub was lost while waiting for an answer: ${this.#feed.error.reason}`);
    }
    if (!call) {
      return new PeerPouchError('hub_unreachable', `No offer could be sent within ${seconds} seconds: the hub is ` +
        'slow, or earlier offers still wait.');
    }
    return new PeerPouchError('peer_unreachable', `The owner of ${call.sent.share.name} did not answer within ` +
      `${seconds} seconds; it may be gone.`);
  }
}
