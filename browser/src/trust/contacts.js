/**
 * Contacts: the names that a user gave to keys, and the names under which keys were first met.
 *
 * The first are a decision of the user's. The second are trust on first use: the first time that a share is opened, its
 * name on that hub is remembered with its owner's key, so that somebody else who takes the name is noticed.
 */

import { lazily } from '../lazy.js';
import { toText } from './bytes.js';
import * as keystore from './keystore.js';

/** Characters of a name: what fits a line of a listing. */
export const MAX_NAME = 200;
/** Names remembered. Only opening a share adds one, so nobody but the user fills it; past it the oldest goes. */
const MAX_SEEN = 10_000;

/** @typedef {{name: string, key: Uint8Array, fingerprint: string, added: number}} Contact */
/**
 * What is known of the key behind a name. `contact`: the user named this key; `seen`: the name was first met under this
 * very key; `new`: neither was met before; `changed`: the name was first met under another key.
 *
 * @typedef {'contact' | 'seen' | 'new' | 'changed'} Trust
 */
/**
 * @typedef {object} Kept
 * @property {Map<string, {name: string, fingerprint: string, added: number}>} contacts By whole key.
 * @property {Map<string, {key: string, first: number}>} seen By scope and name.
 */

/** @typedef {(update: (there: Kept | undefined) => Kept) => Promise<unknown>} Change */

/** What only pages need that list contacts, or name somebody. */
const naming = lazily(() => import('./naming.js'));

/** @param {string} scope @param {string} name */
const placeOf = (scope, name) => JSON.stringify([scope, [...name].slice(0, MAX_NAME).join('')]);

/** All contacts at one moment, to judge many shares by. */
export class Book {
  #kept;

  /** @param {Kept} kept */
  constructor(kept) {
    this.#kept = kept;
  }

  /** The user's name for a key, or null. @param {Uint8Array} key */
  nameOf(key) {
    return this.#kept.contacts.get(toText(key))?.name ?? null;
  }

  /**
   * What is known of a key that presents itself under a name.
   *
   * @param {string} name The share's. @param {Uint8Array} key Its owner's.
   * @param {string} scope What the name is unique in: the hub's address, without credentials.
   * @returns {Trust}
   */
  judge(name, key, scope) {
    const text = toText(key);
    if (this.#kept.contacts.has(text)) return 'contact';
    const seen = this.#kept.seen.get(placeOf(scope, name));
    return seen === undefined ? 'new' : seen.key === text ? 'seen' : 'changed';
  }
}

export class Contacts {
  #read;
  #change;

  /**
   * In memory; {@link load} gives those that the browser keeps.
   *
   * @param {{read: () => Promise<Kept | undefined>, change: Change}} [store]
   */
  constructor(store) {
    /** @type {Kept | undefined} */
    let book;
    this.#read = store?.read ?? (async () => book);
    this.#change = store?.change ?? (async (update) => { book = update(book); });
  }

  /** The user's contacts in this browser, the same in all of its tabs. */
  static load({ name = 'default' } = {}) {
    const place = `contacts:${name}`;
    return new Contacts({ read: () => keystore.read(place), change: (update) => keystore.change(place, update) });
  }

  async #kept() {
    return (await this.#read()) ?? empty();
  }

  /** All contacts at this moment. */
  async book() {
    return new Book(await this.#kept());
  }

  /** By name. @returns {Promise<Contact[]>} */
  async list() {
    return (await naming()).list(await this.#kept());
  }

  /** See {@link Book.nameOf}. @param {Uint8Array} key */
  async nameOf(key) {
    return (await this.book()).nameOf(key);
  }

  /** See {@link Book.judge}. @param {string} name @param {Uint8Array} key @param {string} scope */
  async judge(name, key, scope) {
    return (await this.book()).judge(name, key, scope);
  }

  /** The contact with this name, whole key or fingerprint, or null. @param {string} text */
  async find(text) {
    return (await naming()).find(await this.#kept(), text);
  }

  /**
   * Name a key; a key that has a name gets the new one.
   *
   * @param {string} name 1 to 200 printable characters.
   * @param {Uint8Array | string} key
   * @param {{now: number, replace?: boolean}} options When, in milliseconds since 1970, and whether the name may be
   *   taken from another key.
   * @throws {PeerPouchError} `conflict` if another key has the name, `bad_request` if the name is not allowed or there
   *   are too many.
   */
  async add(name, key, { now, replace = false }) {
    return (await naming()).add(this.#change, name, key, { now, replace });
  }

  /** Take away the contact with this name, whole key or fingerprint. @param {string} text */
  async remove(text) {
    return (await naming()).remove(await this.#kept(), this.#change, text);
  }

  /**
   * Note the key under which a name was first met; nothing happens if one is noted already.
   *
   * @param {string} name @param {Uint8Array} key
   * @param {{scope: string, now: number, confirmed?: boolean}} options With `confirmed`, a changed key is noted in
   *   place of the old one.
   */
  async remember(name, key, { scope, now, confirmed = false }) {
    const place = placeOf(scope, name);
    const text = toText(key);
    await this.#change((there) => {
      const noted = there?.seen.get(place);
      if (there && noted && (noted.key === text || !confirmed)) return there;
      const kept = copy(there);
      kept.seen.delete(place);
      kept.seen.set(place, { key: text, first: now });
      if (kept.seen.size > MAX_SEEN) kept.seen.delete(/** @type {string} */ (kept.seen.keys().next().value));
      return kept;
    });
  }
}

/** @returns {Kept} */
const empty = () => ({ contacts: new Map(), seen: new Map() });

/** @param {Kept | undefined} kept @returns {Kept} */
export const copy = (kept) => (kept ? { contacts: new Map(kept.contacts), seen: new Map(kept.seen) } : empty());
