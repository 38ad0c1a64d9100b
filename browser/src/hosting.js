/** What only a page needs that shares databases: it is loaded when one does. */

import { Access } from './access/access.js';
import { within } from './clock.js';
import { PeerPouchError } from './errors.js';
import { Openings } from './hub/admission.js';
import { Door } from './hub/door.js';
import { withoutCredentials } from './hub/names.js';
import { OwnShare } from './owning.js';
import { toText } from './trust/bytes.js';
import { fingerprint } from './trust/identity.js';
import { Invitations } from './trust/invitations.js';
import { disclose } from './trust/invite-text.js';
import { Turns } from './turns.js';

/** Milliseconds that `onRemote` has: time to ask a person, and less than the hub and the opener wait. */
const DECIDE_WITHIN = 25_000;

/**
 * @typedef {{
 *   name?: string, info?: any, access?: any, peers?: (Uint8Array | string)[], onRemote?: (event: any) => unknown,
 *   onSent?: (progress: any) => void,
 * }} ShareOptions `name`: for people, 1 to 200 characters. `info`: any JSON of at most 8 KiB, for everybody who reads the
 *   hub. `access`: `'read-write'` (the default), `'read-only'`, `{ read, write, select, validate }`, or a function that
 *   gives one of them, or null to refuse, for a peer. `peers`: who may come: keys, fingerprints, names of contacts; `[]`
 *   for the invited only. `onRemote`: called for everybody who opens the share, before any connection is made; its
 *   event's `preventDefault(reason)` refuses. `onSent`: called with `{ peer, id, attachment, sent, length }` while somebody
 *   reads an attachment: it took so many of its bytes, counted from the attachment's beginning.
 */

/** The owner of everything that a page shares at one meeting place. */
export class Host {
  #turns = new Turns();
  #openings = new Openings();
  /** @type {Map<string, number>} How often each key was shut out of each share, as far as it ever was. */
  #revoked = new Map();
  /** @type {import('./hub/answerer.js').Decide} */
  #decide = (asked) => this.reception.decide(asked);

  /**
   * @param {import('./meeting.js').Meeting} meeting
   * @param {import('./peers/reception.js').Reception} reception
   */
  constructor(meeting, reception) {
    this.meeting = meeting;
    this.reception = reception;
  }

  /**
   * Share a database; sharing it again changes what is given here.
   *
   * @param {any} database A PouchDB of this page.
   * @param {ShareOptions} [options]
   * @returns {Promise<OwnShare>} Rejects with `bad_request` or `hub_unreachable`.
   */
  async share(database, { name = database.name, info = null, onSent, ...rules } = {}) {
    const door = await this.#door(database, name, rules);
    const uuid = await database.id();
    return this.#turns.take(async () => {
      const id = await this.meeting.client.shareId(uuid);
      const share = new OwnShare({ id, name, info, database, door, host: this, onSent });
      const before = this.meeting.own.get(id);
      this.meeting.own.set(id, share); // served before it is published: whoever finds it can open it
      try {
        await this.meeting.client.publish({ uuid, name, info, decide: this.#decide });
      } catch (error) {
        if (before) this.meeting.own.set(id, before);
        else this.meeting.own.delete(id);
        throw error;
      }
      // Those who were let in by other rules ask again, and go on if the new ones let them.
      if (before) this.reception.revoke(id);
      return share;
    });
  }

  /** @param {any} database @param {string} name @param {Pick<ShareOptions, 'access' | 'peers' | 'onRemote'>} rules */
  #door(database, name, { access, peers, onRemote }) {
    const { clock, contacts } = this.meeting;
    const invitations = new Invitations(database, clock);
    return Door.make(name, { access, peers, onRemote, invitations, contacts, parse: Access.parse });
  }

  /**
   * Other rules from now on. Who is connected asks again, and who is being decided on is decided on by the new ones.
   *
   * @param {OwnShare} share
   * @param {Pick<ShareOptions, 'access' | 'peers' | 'onRemote'>} rules
   */
  async change(share, rules) {
    const door = await this.#door(share.database, share.name, rules);
    await this.#turns.take(async () => {
      const now = this.meeting.own.get(share.id);
      if (!now) throw new PeerPouchError('share_not_found', 'This database is shared no more.');
      now.door = share.door = door;
      this.reception.revoke(share.id, undefined, 'The owner has other rules now; ask again.');
    });
  }

  /**
   * Share a database no more: withdraw it, and close what is connected for it.
   *
   * @param {any} database What was given to {@link share}, or what that gave.
   */
  async unshare(database) {
    await this.#turns.take(async () => {
      const share = [...this.meeting.own.values()].find((own) => own === database || own.database === database);
      if (!share) throw new PeerPouchError('share_not_found', 'That database is not shared by this page at this hub.');
      this.meeting.own.delete(share.id);
      this.reception.revoke(share.id);
      await this.meeting.client.withdraw(share.id);
    });
  }

  /**
   * End what is under way for a key that was shut out of a share, and let it not in if it is just being decided on.
   *
   * @param {string} id
   * @param {Uint8Array} key
   */
  shutOut(id, key) {
    const who = `${id} ${toText(key)}`;
    this.#revoked.set(who, (this.#revoked.get(who) ?? 0) + 1);
    this.reception.revoke(id, key);
  }

  /**
   * The hub's address as an invite carries it.
   *
   * @param {boolean} credentials
   */
  addressForOthers(credentials) {
    return credentials ? this.meeting.database.name : withoutCredentials(this.meeting.database.name);
  }

  /** @type {import('./peers/pool.js').Welcome} */
  async welcome({ peer, share, info, signal }) {
    const own = this.meeting.own.get(share);
    if (!own) throw new PeerPouchError('share_not_found', 'No such share is here.');
    const { key, session } = peer;
    const contact = await this.meeting.contacts.nameOf(key).catch(() => null); // damaged contacts do not close the door
    const remote = { key, session, fingerprint: await fingerprint(key), contact };
    const told = disclose(info);
    const who = `${share} ${toText(key)}`;
    const revoked = this.#revoked.get(who);
    // Asked again whenever it matters: there are waits from here until the peer is let in.
    const { door } = own;
    const serves = () =>
      this.meeting.own.get(share) === own && own.door === door && this.#revoked.get(who) === revoked;
    const decide = async () => {
      const grant = await door.decide(remote, share, told.info, told.token);
      return door.accessOf(grant);
    };
    const inTime = () => within(this.meeting.clock, DECIDE_WITHIN, decide, signal);
    const access = await this.#openings.enter(toText(key), inTime).catch((error) => {
      if (error.error !== 'timeout') throw error;
      throw new PeerPouchError('forbidden', 'The other side did not decide in time.');
    });
    const { handler, revoke } = await own.app(access, remote);
    if (!serves()) throw new PeerPouchError('share_not_found', 'No such share is here, or not for you any more.');
        return { info: own.info, handler, revoke, serves };
  }
}
