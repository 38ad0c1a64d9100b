/** Contacts listed, found and named: loaded when a page does that. */

import { PeerPouchError } from '../errors.js';
import { fromText, toText } from './bytes.js';
import { MAX_NAME, copy } from './contacts.js';
import { fingerprint, readFingerprint } from './identity.js';

/** @typedef {import('./contacts.js').Change} Change */
/** @typedef {import('./contacts.js').Contact} Contact */
/** @typedef {import('./contacts.js').Kept} Kept */

const MAX_CONTACTS = 10_000;

/** By name. @param {Kept} kept @returns {Contact[]} */
export function list(kept) {
  return [...kept.contacts].map(([text, known]) => ({ ...known, key: fromText(text) }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** The contact with this name, whole key or fingerprint, or null. @param {Kept} kept @param {string} text */
export function find(kept, text) {
  let print = text;
  try {
    print = readFingerprint(text);
  } catch {
    // It is a name or a whole key.
  }
  const match = (/** @type {Contact} */ each) =>
    each.name === text ? 0 : toText(each.key) === text ? 1 : each.fingerprint === print ? 2 : 3;
  const found = list(kept).sort((a, b) => match(a) - match(b))[0];
  return found && match(found) < 3 ? found : null;
}

/**
 * See {@link import('./contacts.js').Contacts.add}.
 *
 * @param {Change} change @param {string} name @param {Uint8Array | string} key
 * @param {{now: number, replace: boolean}} options
 */
export async function add(change, name, key, { now, replace }) {
  const text = typeof key === 'string' ? toText(fromText(key, { size: 32 })) : toText(key);
  if ([...name].length > MAX_NAME || name !== name.trim() || !/^(?:[^\p{C}\p{Z}]| )+$/u.test(name)) {
    throw new PeerPouchError('bad_request', `A contact's name has 1 to ${MAX_NAME} printable characters.`);
  }
  const print = await fingerprint(fromText(text));
  await change((there) => {
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

/** See {@link import('./contacts.js').Contacts.remove}. @param {Kept} kept @param {Change} change @param {string} text */
export async function remove(kept, change, text) {
  const found = find(kept, text);
  if (!found) throw new PeerPouchError('not_found', `There is no contact ${text}.`);
  await change((there) => {
    const left = copy(there);
    left.contacts.delete(toText(found.key));
    return left;
  });
  return found;
}
