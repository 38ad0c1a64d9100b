/**
 * The owner's end of signals: offers come in by the feed, are verified and decided on, and answered in their document.
 *
 * Nothing is kept of an opener that was not let in, and nobody makes us work without bound: offers that are forged or
 * seen before cost one decryption, pending decisions are bounded, and so are refusals on their way to the hub.
 */

import { sleep, within } from '../clock.js';
import { PeerPouchError } from '../errors.js';
import { toText } from '../trust/bytes.js';
import { fingerprint } from '../trust/identity.js';
import { MAX_PENDING, Openings, Replays } from './admission.js';
import * as receiving from './receiving.js';
import { firstId } from './signals.js';

/** @typedef {{key: Uint8Array, session: string, fingerprint: string, name: string | null}} RemotePeer Who opens a share;
 * the signature was verified. `name` is the owner's own for the key, or null. */
/** @typedef {{peer: RemotePeer, share: string, body: any, signal: AbortSignal}} Opening */
/** @typedef {(opening: Opening) => Promise<any>} Decide Gives the answer's body, or throws the PeerPouchError that the
 * opener is told. */

/** Milliseconds for a decision and the answer's making: time to ask a person, and less than openers wait. */
export const DECIDE_WITHIN = 30_000;
/** Offers in hand, refusals included. What comes beyond is not even refused; its opener's time limit tells it. */
const MAX_TASKS = 2 * MAX_PENDING;
const ATTEMPTS = 4;
const RETRY_AFTER = 1000;

export class Answerer {
  #database;
  #clock;
  #identity;
  #session;
  #contacts;
  #decideWithin;
  /** @type {Map<string, Decide>} */
  #handlers = new Map();
  #replays = new Replays();
  #openings = new Openings();
  #tasks = 0;
  #ending = new AbortController();
  #prefix;
  /** Signals that were forged, altered, replayed or malformed, since the start. */
  refusedSignals = 0;

  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../clock.js').Clock} clock
   * @param {import('../trust/identity.js').Identity} identity The owner.
   * @param {import('../trust/sealing.js').SessionKey} session The owner's session.
   * @param {import('../trust/contacts.js').Contacts} contacts To name openers.
   * @param {number} decideWithin Milliseconds that a handler has.
   */
  constructor(database, clock, identity, session, contacts, decideWithin) {
    this.#database = database;
    this.#clock = clock;
    this.#identity = identity;
    this.#session = session;
    this.#contacts = contacts;
    this.#decideWithin = decideWithin;
    this.#prefix = firstId(session.id);
  }

  /** Have `decide` called for the offers to a share. @param {string} shareId @param {Decide} decide */
  serve(shareId, decide) {
    this.#handlers.set(shareId, decide);
  }

  /** Answer offers to this share with `share_not_found`. @param {string} shareId */
  forget(shareId) {
    this.#handlers.delete(shareId);
  }

  /** Drop what is being decided. */
  close() {
    this.#handlers.clear();
    this.#ending.abort();
  }

  /** Note a change of a signal in the hub. @param {import('./database.js').Change} change */
  async changed({ id, deleted, doc }) {
    if (!id.startsWith(this.#prefix) || deleted || !doc?.offer || this.#ending.signal.aborted) return;
    if (this.#tasks >= MAX_TASKS) return;
    let offer;
    try {
      offer = await receiving.openOffer(doc, this.#identity.text, this.#session);
    } catch (error) {
      if (/** @type {any} */ (error).error !== 'invalid_signal') throw error;
      this.#refuseSignal(id, error);
      return;
    }
    const outcome = this.#judge(offer);
    if (!outcome) return;
    this.#tasks++;
    void this.#answer(doc, offer, outcome).finally(() => this.#tasks--);
  }

  /**
   * Who decides on an offer, or the error that refuses it; undefined if it is to be passed over in silence.
   *
   * @param {receiving.Offer} offer
   */
  #judge({ documentId, nonce, time, shareId }) {
    const now = this.#clock.now();
    try {
      receiving.checkTime(time, now);
    } catch (error) {
      this.#refuseSignal(documentId, error);
      return /** @type {PeerPouchError} */ (error);
    }
    try {
      if (!this.#replays.admit(nonce, time, now)) {
        this.#refuseSignal(documentId, new PeerPouchError('invalid_signal', 'The offer was seen before.'));
        return undefined;
      }
    } catch (error) {
      return /** @type {PeerPouchError} */ (error);
    }
    return this.#handlers.get(shareId) ??
      new PeerPouchError('share_not_found', 'There is no such share here any more.');
  }

  /** @param {string} id @param {unknown} error */
  #refuseSignal(id, error) {
    this.refusedSignals++;
    console.debug(`peerpouch: the signal ${id.slice(0, 80)} was refused:`, /** @type {any} */ (error).reason);
  }

  /** @param {any} document @param {receiving.Offer} offer @param {Decide | PeerPouchError} outcome */
  async #answer(document, offer, outcome) {
    try {
      const decided = outcome instanceof PeerPouchError ? outcome : await this.#decide(offer, outcome);
      const make = (/** @type {any} */ what) => receiving.makeAnswer(this.#identity, this.#session, offer, what);
      const answer = await make(decided).catch((error) => {
        console.error('peerpouch: the answer could not be made:', error);
        return make(receiving.REFUSED);
      });
      if (!this.#ending.signal.aborted) await this.#write(receiving.withAnswer(document, answer));
    } catch (error) {
      if (!this.#ending.signal.aborted) console.debug('peerpouch: an offer could not be answered:', error);
    }
  }

  /** @param {receiving.Offer} offer @param {Decide} decide */
  async #decide({ sender, shareId: share, body }, decide) {
    try {
      const work = async (/** @type {AbortSignal} */ signal) => {
        const name = await this.#contacts.nameOf(sender.key).catch(() => null); // no reason to close the door
        const peer = { key: sender.key, session: sender.session, fingerprint: await fingerprint(sender.key), name };
        return decide({ peer, share, body, signal });
      };
      return await this.#openings.enter(toText(sender.key), () =>
        within(this.#clock, this.#decideWithin, work, this.#ending.signal));
    } catch (error) {
      if (receiving.isRefusal(error)) return error;
      if (/** @type {any} */ (error).error === 'timeout') {
        return new PeerPouchError('forbidden', 'The other side did not decide in time.');
      }
      // What went wrong is the owner's, and stays here.
      if (!this.#ending.signal.aborted) console.error('peerpouch: deciding on a peer failed:', error);
      return receiving.REFUSED;
    }
  }

  /** @param {any} document */
  async #write(document) {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      try {
        await this.#database.put(document);
        return;
      } catch (error) {
        const { status } = /** @type {any} */ (error);
        if (status === 404) return;
        if (status === 409) {
          // Somebody else wrote into it. The opener takes our answer only, so ours goes on top; unless the opener gave
          // up and deleted it.
          const current = await this.#database.get(document._id);
          if (!current) return;
          document = { ...document, _rev: current._rev };
        } else if (attempt < ATTEMPTS) {
          await sleep(this.#clock, RETRY_AFTER, this.#ending.signal);
        } else {
          throw error;
        }
      }
    }
  }
}
