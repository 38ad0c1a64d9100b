import { hex } from '../trust/bytes.js';

/**
 * An address: what a connection is made to. A key and a session's id: two tabs of one person are two addresses.
 *
 * @typedef {{ key: Uint8Array, session: string }} Address
 * @typedef {import('../transport/link.js').Link} Link
 * @typedef {import('../transport/server.js').Handler} Handler
 * @typedef {{
 *   handler: Handler, access?: unknown, revoke?: (reason?: string) => void, serves?: () => boolean,
 * }} Guest What serves a share to one peer; `access`: by what rules; `revoke`: ends what is under way; `serves`: whether the
 *   peer is still let in, which may have changed since it was decided on.
 * @typedef {{ shareId: string, info: unknown, outcome: Promise<unknown>, isRestart: boolean }} Attempt An offer that is
 *   under way; `outcome` gives the sharer's info. `isRestart`: the path of a link seemed to be broken; nobody asked for it.
 */

/** @param {Address} address */
export const addressText = ({ key, session }) => `${hex(key)}.${session}`;

/** What is known of the connection to one address, and who uses it. */
export class Connection {
  /** @param {Address} address */
  constructor(address) {
    this.address = address;
    /** Compares as addresses do: by their keys, as bytes, and then by their session ids, as text. */
    this.text = addressText(address);
    /** @type {Link | null} The open link; one that has ended stays only until its end was noticed. */
    this.link = null;
    /** @type {Attempt | null} Our offer that is under way. */
    this.attempt = null;
    /** @type {{ controller: AbortController, finished: Promise<void> } | null} The other's: let in, not open yet. */
    this.answering = null;
    /** How many of the other end's offers are being decided on, so that the entry is kept. */
    this.deciding = 0;
    /** @type {Map<string, number>} How many leases and openers of ours use the connection, by share. */
    this.users = new Map();
    /** @type {Map<string, unknown>} The other's shares that we were let in to over `link`, and what it says of them. */
    this.opened = new Map();
    /** @type {Map<string, Guest>} Our shares that the other was let in to, and what serves them to it. */
    this.admitted = new Map();
    /** @type {Map<string, Promise<void>>} Shares that the other end is being told we do not use any more. */
    this.releases = new Map();
    /** @type {(() => void) | null} Cancels the count-down while nobody uses the link. */
    this.idle = null;
    /** @type {Set<() => void>} */
    this.waiting = new Set();
  }

  /** The link. One that has ended is dropped, with all that was open over it, even before its end was noticed. */
  live() {
    if (this.link?.isOver) this.drop(this.link);
    return this.link;
  }

  /** Whether either end has a use for the connection. */
  get inUse() {
    return this.admitted.size > 0 || this.users.size > 0;
  }

  /** Whether a link is being made, by either end. */
  get pending() {
    return this.attempt !== null || this.answering !== null;
  }

  /** @param {string} shareId */
  enter(shareId) {
    this.users.set(shareId, (this.users.get(shareId) ?? 0) + 1);
  }

  /**
   * Count one user less; whether it was the share's last.
   *
   * @param {string} shareId
   */
  leave(shareId) {
    const left = (this.users.get(shareId) ?? 1) - 1;
    if (left > 0) this.users.set(shareId, left);
    else this.users.delete(shareId);
    return left <= 0;
  }

  /**
   * Let the other end in to a share of ours. What is under way goes on if it is let in by the same rules again.
   *
   * @param {string} shareId
   * @param {Guest} guest
   */
  admit(shareId, guest) {
    const before = this.admitted.get(shareId);
    if (before && before.access !== undefined && before.access === guest.access) return;
    before?.revoke?.('The owner let you in anew; ask again.');
    this.admitted.set(shareId, guest);
  }

  /**
   * @param {string} shareId
   * @param {string} [reason]
   */
  letOut(shareId, reason) {
    this.admitted.get(shareId)?.revoke?.(reason);
    this.admitted.delete(shareId);
  }

  letOutOfAll() {
    for (const shareId of [...this.admitted.keys()]) this.letOut(shareId);
  }

  giveUpAnswering() {
    this.answering?.controller.abort();
    this.answering = null;
  }

  /**
   * Take a new link into use, and give the one that it replaces. What was open over that is open no more.
   *
   * @param {Link} link
   */
  install(link) {
    const old = this.link;
    this.link = link;
    this.opened.clear();
    for (const tell of this.waiting) tell();
    this.waiting.clear();
    return old;
  }

  /**
   * Forget a link that has ended, with all that was open over it; whether it was still the one in use.
   *
   * @param {Link} link
   */
  drop(link) {
    if (this.link !== link) return false;
    this.link = null;
    this.opened.clear();
    this.letOutOfAll();
    return true;
  }

  /** Wait until the next link is there. */
  linked() {
    return new Promise((/** @type {(value: void) => void} */ resolve) => this.waiting.add(resolve));
  }
}
