/**
 * One small store in IndexedDB: whole values under names, changed in one step, by whichever tab.
 *
 * IndexedDB keeps private keys as the opaque objects that they are, and serialises transactions among all tabs of an
 * origin. A value is small (a key pair, a book of names), so each change reads and writes all of it.
 */

const DATABASE = 'peerpouch';
const STORE = 'kept';

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    if (!globalThis.indexedDB) throw new Error('There is no IndexedDB here.');
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Read a value and put another in its place, with nobody in between.
 *
 * @template T
 * @param {string} name
 * @param {(there: any) => T} update Gives the new value; called once, and must not wait. When it gives the very value
 *   that it was given, nothing is written. What it throws goes through, and nothing is changed.
 * @returns {Promise<T>} The value that is there now; durable, as far as the browser promises that.
 */
export async function change(name, update) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, 'readwrite');
      const store = transaction.objectStore(STORE);
      const request = store.get(name);
      /** @type {any} */
      let value;
      request.onsuccess = () => {
        try {
          value = update(request.result);
          if (value !== request.result) store.put(value, name);
        } catch (error) {
          reject(error);
          transaction.abort();
        }
      };
      transaction.oncomplete = () => resolve(value);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error('It was not stored.'));
    });
  } finally {
    database.close();
  }
}

/** A value, or undefined. @param {string} name @returns {Promise<any>} */
export async function read(name) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const request = database.transaction(STORE, 'readonly').objectStore(STORE).get(name);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } finally {
    database.close();
  }
}
