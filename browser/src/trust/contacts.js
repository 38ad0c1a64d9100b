/**
 * Contacts: the names that a user gave to keys, and the names under which keys were first met.
 *
 * The first are a decision of the user's. The second are trust on first use: the first time that a share is opened, its
 * name on that hub is remembered with its owner's key, so that somebody else who takes the name is noticed.
 */

import { PeerPouchError } from '../errors.js';
import { fromText, toText } from './bytes.js';
import { fingerprint, readFingerprint } from './identity.js';
import * as keystore from './keystore.js';

/** Characters of a name: what fits a line of a listing. */
const MAX_NAME = 200;
const MAX_CONTACTS = 10_000;
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

  /** By name. @returns {Contact[]} */
  list() {
    return [...this.#kept.contacts].map(([text, known]) => ({ ...known, key: fromText(text) }))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  /** The contact with this name, whole key or fingerprint, or null. @param {string} text */
  find(text) {
    let print = text;
    try {
      print = readFingerprint(text);
    } catch {
      // It is a name or a whole key.
    }
    const match = (/** @type {Contact} */ each) =>
      each.name === text ? 0 : toText(each.key) === text ? 1 : each.fingerprint === print ? 2 : 3;
    const found = this.list().sort((a, b) => match(a) - match(b))[0];
    return found && match(found) < 3 ? found : null;
  }
}

export class Contacts {
  #read;
  #change;

  /**
   * In memory; {@link load} gives those that the browser keeps.
   *
   * @param {{read: () => Promise<Kept | undefined>,
   *   change: (update: (there: Kept | undefined) => Kept) => Promise<unknown>}} [store]
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

  async book() {
    return new Book((await this.#read()) ?? empty());
  }

  async list() {
    return (await this.book()).list();
  }

  /** See {@link Book.nameOf}. @param {Uint8Array} key */
  async nameOf(key) {
    return (await this.book()).nameOf(key);
  }

  /** See {@link Book.judge}. @param {string} name @param {Uint8Array} key @param {string} scope */
  async judge(name, key, scope) {
    return (await this.book()).judge(name, key, scope);
  }

  /** See {@link Book.find}. @param {string} text */
  async find(text) {
    return (await this.book()).find(text);
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
    const text = typeof key === 'string' ? toText(fromText(key, { size: 32 })) : toText(key);
    if ([...name].length > MAX_NAME || name !== name.trim() || !/^(?:[^\p{C}\p{Z}]| )+$/u.test(name)) {
      throw new PeerPouchError('bad_request', `A contact's name has 1 to ${MAX_NAME} printable characters.`);
    }
    const print = await fingerprint(fromText(text));
    await this.#change((there) => {
      const { contacts, seen } = copy(there);
      for (const [other, known] of contacts) {
        if (known.name !== name || other === text) continue;
        if (!replace) throw new PeerPouchError('conflict', `Another key has the name ${name}: ${known.fingerprint}.`);
        contacts.delete(other);
      }
      if (contacts.size >= MAX_CONTACTS && !contacts.has(text)) {
        throw new PeerPouchError('bad_request', `There are ${MAX_CONTACTS} contacts already.`);
      }
      contacts.set(text, { name, fingerprint: print, added: now });
      return { contacts, seen };
    });
  }

  /** Take away the contact with this name, whole key or fingerprint. @param {string} text */
  async remove(text) {
    const found = await this.find(text);
    if (!found) throw new PeerPouchError('not_found', `There is no contact ${text}.`);
    await this.#change((there) => {
      const kept = copy(there);
      kept.contacts.delete(toText(found.key));
      return kept;
    });
    return found;
  }

  /**
   * Note the key under which a name was first met; nothing happens if one is noted already.
   *
   * @param {string} name @param {Uint8Array} key
   * @param {{scope: string, now: number, confirmed?: boolean}} options With `confirmed`, a changed key is noted in
   *   place
   *   of the old one.
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
const copy = (kept) => (kept ? { contacts: new Map(kept.contacts), seen: new Map(kept.seen) } : empty());
