/** The owner's half of a hub client, which a page loads when it shares something for the first time. */

import { LEASE, checkDescription, checkLease } from './announcing.js';
import { Answerer, DECIDE_WITHIN } from './answerer.js';
import { Collector } from './collector.js';
import { Publisher } from './publisher.js';

/** @typedef {import('./answerer.js').Decide} Decide */

export class Owner {
  /**
   * @param {import('./database.js').HubDatabase} database @param {import('../trust/sealing.js').SessionKey} key
   * @param {import('./client.js').Options & {clock: any, contacts: any, random: () => number}} options
   * @param {boolean} tidies Whether this client tidies up the hub.
   */
  constructor(database, key, options, tidies) {
    const { identity, contacts, clock, random, lease = LEASE, decideWithin = DECIDE_WITHIN } = options;
    checkLease(lease);
    this.collector = tidies ? new Collector(database, clock) : null;
    this.tidying = false;
    this.publisher = new Publisher(database, clock, identity, key, random, lease);
    this.answerer = new Answerer(database, clock, identity, key, contacts, decideWithin);
  }

  /** See `HubClient.publish`. @param {string} id @param {Uint8Array} digest @param {string} name @param {any} info
   * @param {Decide} decide */
  async publish(id, digest, name, info, decide) {
    checkDescription(name, info);
    const isNew = !this.publisher.get(id);
    this.answerer.serve(id, decide); // before anybody can find it
    try {
      await this.publisher.publish(id, digest, name, info);
    } catch (error) {
      if (isNew) this.answerer.forget(id);
      throw error;
    }
    if (!this.tidying) void this.collector?.run();
    this.tidying = true;
  }
}
