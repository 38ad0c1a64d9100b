/** Who may come to a share, and what those may do: access, peers, invites and `onRemote`, put together. */

import { PeerPouchError } from '../errors.js';
import { equal, toText } from '../trust/bytes.js';
import { fingerprint, readFingerprint } from '../trust/identity.js';

/** @typedef {import('../access/access.js').Access} Access */
/**
 * Who opens a share; the signature was verified.
 *
 * @typedef {{ key: Uint8Array, session: string, fingerprint: string, contact: string | null }} RemotePeer
 */
/**
 * Why a peer was let in: by the rules of the share, or by an invite that says what it gives.
 *
 * @typedef {{ remote: RemotePeer, invited: boolean, access: Access | null }} Grant
 */

const FAILED = 'The other side could not let you in.';
const NOT_ASKED = 'The owner shares this with others only.';
const INVITED_ONLY = 'This share is for those who were invited.';
const REFUSED = 'The owner does not let you in.';
const REVOKED = 'The owner does not share this with you any more.';

/** Refusals that reach the opener as they are; anything else that goes wrong is this side's own matter. */
const SAID = new Set(['forbidden', 'unauthorized', 'share_not_found']);

/** @param {string} reason */
const forbidden = (reason) => new PeerPouchError('forbidden', reason);

/** Somebody opens a share; nothing was connected yet. */
export class RemoteEvent {
  /** @type {string | null} */
  #refusal = null;

  /** @param {string} share @param {RemotePeer} peer @param {any} info */
  constructor(share, peer, info) {
    /** The id of the share that is opened. */
    this.share = share;
    /** Who: `key`, `fingerprint`, `contact` and `session`. */
    this.peer = peer;
    /** What the opener tells of itself, any JSON; verified by nobody. */
    this.info = info;
  }

  /** Refuse; the opener gets `forbidden` with this reason. Whatever is given refuses. @param {string} [reason] */
  preventDefault(reason) {
    this.#refusal = typeof reason === 'string' && reason.trim() ? reason : REFUSED;
  }

  get defaultPrevented() {
    return this.#refusal !== null;
  }

  /** The reason of the refusal, or null. */
  get refusal() {
    return this.#refusal;
  }
}

/**
 * @typedef {object} Rules
 * @property {any} [access] What those who come may do, or a function that says it for each.
 * @property {(Uint8Array | string)[]} [peers] Who may come; undefined for anybody. The invited may in any case.
 * @property {(event: RemoteEvent) => unknown} [onRemote] Asked at last.
 * @property {import('../trust/invitations.js').Invitations} invitations The database's.
 * @property {import('../trust/contacts.js').Contacts} contacts The names that `peers` may use.
 * @property {(value: any) => Promise<Access>} parse What makes an access of what users give.
 */

export class Door {
  #parse;
  #contacts;
  #isDefault;

  /** Use {@link make}. @param {string} name @param {Rules} rules */
  constructor(name, { access, peers, onRemote, invitations, contacts, parse }) {
    if (peers !== undefined && peers !== null && !Array.isArray(peers)) {
      throw new PeerPouchError('bad_request', 'peers is a list.');
    }
    if (onRemote !== undefined && onRemote !== null && typeof onRemote !== 'function') {
      throw new PeerPouchError('bad_request', 'onRemote is a function.');
    }
    this.name = name;
    this.peers = peers ? [...peers] : null;
    this.onRemote = onRemote ?? null;
    this.invitations = invitations;
    this.#contacts = contacts;
    this.#parse = parse;
    // Nothing says who may come: then an invite says it.
    this.#isDefault = !peers && !onRemote && typeof access !== 'function' && !access?.peers;
    /** @type {Access | ((remote: RemotePeer) => any)} */
    this.access = access;
  }

  /**
   * @param {string} name The share's, for the console.
   * @param {Rules} rules
   * @returns {Promise<Door>} Rejects with `bad_request` or `invalid_selector` if the access, or `peers`, is none.
   */
  static async make(name, rules) {
    const { access, parse } = rules;
    return new Door(name, { ...rules, access: typeof access === 'function' ? access : await parse(access ?? 'read-write') });
  }

  /**
   * Let somebody in, or throw why not: `forbidden`, `unauthorized` or `share_not_found`, with a reason that it is told.
   *
   * @param {RemotePeer} remote @param {string} share @param {any} info @param {Uint8Array | null} token
   * @returns {Promise<Grant>}
   */
  async decide(remote, share, info, token) {
    try {
      const grant = await this.#grant(remote, token);
      await this.accessOf(grant);
      if (this.onRemote) {
        const event = new RemoteEvent(share, remote, info);
        await this.onRemote(event);
        if (event.refusal !== null) throw forbidden(event.refusal);
      }
      return grant;
    } catch (error) {
      if (error instanceof PeerPouchError && SAID.has(error.error)) throw error;
      console.error(`peerpouch: somebody could not be let in to the share ${this.name}:`, error);
      throw forbidden(FAILED);
    }
  }

  /** @param {RemotePeer} remote @param {Uint8Array | null} token @returns {Promise<Grant>} */
  async #grant(remote, token) {
    if (await this.invitations.isRevoked(remote.key)) throw forbidden(REVOKED);
    if (token) {
      const given = await this.invitations.redeem(token, remote.key);
      return { remote, invited: true, access: given === null ? null : await this.#parse(given) };
    }
    if (this.#isDefault && (await this.invitations.any())) throw forbidden(INVITED_ONLY);
    return { remote, invited: false, access: null };
  }

  /**
   * What somebody who was let in may do now, by the rules as they are now; throws `forbidden` if that is nothing.
   *
   * @param {Grant} grant
   * @returns {Promise<Access>}
   */
  async accessOf({ remote, invited, access }) {
    if (access) return access;
    if (!invited && this.peers && !(await this.#names(this.peers, remote))) throw forbidden(NOT_ASKED);
    const given = typeof this.access === 'function' ? await this.#asked(this.access, remote) : this.access;
    if (!invited && given.peers && !(await this.#names(given.peers, remote))) throw forbidden(NOT_ASKED);
    return given;
  }

  /** @param {(remote: RemotePeer) => any} ask @param {RemotePeer} remote @returns {Promise<Access>} */
  async #asked(ask, remote) {
    const given = await ask(remote);
    if (given === null || given === undefined) throw forbidden(NOT_ASKED);
    return this.#parse(given);
  }

  /** Whether somebody is among these: public keys as bytes or text, fingerprints, names of contacts.
   * @param {unknown[]} peers @param {RemotePeer} remote */
  async #names(peers, { key }) {
    const text = toText(key);
    const print = await fingerprint(key);
    for (const peer of peers) {
      if (peer instanceof Uint8Array ? equal(peer, key) : peer === text) return true;
      if (typeof peer !== 'string') continue;
      if (asFingerprint(peer) === print) return true;
      const contact = await this.#contacts.find(peer);
      if (contact && equal(contact.key, key)) return true;
    }
    return false;
  }
}

/** @param {string} text */
function asFingerprint(text) {
  try {
    return readFingerprint(text);
  } catch {
    return null;
  }
}
