/**
 * What came of a file, kept in the browser's own database: a page that is loaded again, or opened tomorrow, goes on from
 * there, and a large file takes no memory.
 */

const NAME = 'peerpouch received';
/** Bytes of a piece: what is lost at most, of a quick transfer, when the page ends. */
const PIECE = 4 << 20;
/** Milliseconds after which a smaller piece is kept, of a slow one. */
const PAUSE = 2000;
/** Milliseconds for which what nobody came back for takes room on a device. */
const FORGET = 7 * 86_400_000;
/** Milliseconds in which the browser has begun to copy a finished file to where its visitor wants it. */
const COPY = 60_000;

/** @typedef {{ key: string, tag: string, size: number, received: number, count: number, touched: number }} Entry */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
const kept = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onabort = () => reject(transaction.error ?? new Error('The browser did not keep what came.'));
});

/** @param {string} text */
async function hash(text) {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('files', { keyPath: 'key' });
    request.result.createObjectStore('pieces'); // by [key, number]
  };
  return done(request);
}

/**
 * Do something with what is kept of a file, which no other tab of this browser touches meanwhile.
 *
 * @template T
 * @param {string} name Of the file, and secret: of it only a hash is kept.
 * @param {(pieces: Pieces | null) => Promise<T>} work Given `null` where another tab receives the same file, or where the
 *   browser keeps nothing, as in some private windows.
 * @returns {Promise<T>}
 */
export async function withPieces(name, work) {
  const key = await hash(name);
  /** @param {boolean} isAlone */
  const run = async (isAlone) => {
    const db = isAlone ? await open().catch(() => null) : null;
    if (!db) return work(null);
    try {
      await forget(db);
      const pieces = await Pieces.find(db, key);
      // The sender is asked for the last piece again, since it alone can tell that its content is still the same.
      if (pieces.isWhole) await pieces.dropLast();
      return await work(pieces);
    } finally {
      db.close();
    }
  };
  if (!navigator.locks) return run(false);
  return navigator.locks.request(`${NAME} ${key}`, { ifAvailable: true }, (lock) => run(lock !== null));
}

/** Bytes that are kept of a file. @param {string} name @returns {Promise<number>} */
export async function keptOf(name) {
  const db = await open().catch(() => null);
  try {
    const { entry } = db ? await Pieces.find(db, await hash(name)) : { entry: null };
    return entry && !isOver(entry) ? entry.received : 0;
  } finally {
    db?.close();
  }
}

/** @param {Entry} entry */
const isOver = ({ touched }) => Math.abs(Date.now() - touched) > FORGET;

/** Remove what is finished, and what nobody came back for. @param {IDBDatabase} db */
async function forget(db) {
  const entries = /** @type {Entry[]} */ (await done(db.transaction('files').objectStore('files').getAll()));
  for (const entry of entries.filter(isOver)) await new Pieces(db, entry.key, entry).clear();
}

/** What is kept of one file. */
export class Pieces {
  /** @param {IDBDatabase} db @param {string} key @param {Entry | null} entry */
  constructor(db, key, entry) {
    this.db = db;
    this.key = key;
    this.entry = entry;
  }

  /** @param {IDBDatabase} db @param {string} key */
  static async find(db, key) {
    return new Pieces(db, key, (await done(db.transaction('files').objectStore('files').get(key))) ?? null);
  }

  get received() {
    return this.entry?.received ?? 0;
  }

  /** Where a download goes on; undefined at the beginning. */
  get from() {
    const { entry } = this;
    return entry?.received ? { received: entry.received, tag: entry.tag } : undefined;
  }

  /** Whether all of it is there. */
  get isWhole() {
    return this.entry !== null && this.entry.received === this.entry.size;
  }

  get range() {
    return IDBKeyRange.bound([this.key], [this.key, []]);
  }

  /** Remove it all. */
  async clear() {
    const transaction = this.db.transaction(['files', 'pieces'], 'readwrite');
    transaction.objectStore('files').delete(this.key);
    transaction.objectStore('pieces').delete(this.range);
    await kept(transaction);
    this.entry = null;
  }

  /** Forget the last piece. */
  async dropLast() {
    const entry = /** @type {Entry} */ (this.entry);
    const transaction = this.db.transaction(['files', 'pieces'], 'readwrite');
    const pieces = transaction.objectStore('pieces');
    const key = [this.key, entry.count - 1];
    const last = /** @type {Blob | undefined} */ (await done(pieces.get(key)));
    pieces.delete(key);
    this.entry = { ...entry, received: entry.received - (last?.size ?? entry.received), count: entry.count - 1 };
    transaction.objectStore('files').put(this.entry);
    await kept(transaction);
  }

  /** It is handed over: what is kept is of no use any more, once the browser has its copy. */
  async finish() {
    const transaction = this.db.transaction('files', 'readwrite');
    transaction.objectStore('files').put({ ...this.entry, touched: 0 });
    await kept(transaction);
    setTimeout(() => void open().then((db) => forget(db).finally(() => db.close())).catch(() => {}), COPY);
  }

  /**
   * Take what a download brings behind what is there, or in its place if it is another content.
   *
   * @param {any} download With a tag and a size.
   */
  async take(download) {
    if (!download.continued || !this.entry) {
      await this.clear();
      this.entry = { key: this.key, tag: download.tag, size: download.size, received: 0, count: 0, touched: Date.now() };
    }
    const reader = download.body.getReader();
    /** @type {Uint8Array[]} */
    let parts = [];
    let size = 0;
    let since = performance.now();
    try {
      for (;;) {
        const { done: isDone, value } = await reader.read();
        if (value) {
          parts.push(value);
          size += value.length;
        }
        if (size && (isDone || size >= PIECE || performance.now() - since >= PAUSE)) {
          await this.add(new Blob(/** @type {BlobPart[]} */ (parts)));
          [parts, size, since] = [[], 0, performance.now()];
        }
        if (isDone) return;
      }
    } catch (error) {
      await reader.cancel().catch(() => {});
      if (/** @type {Error} */ (error).name !== 'QuotaExceededError') throw error;
      throw new Error('There is no room for the rest of the file on this device. Make room, and go on.', { cause: error });
    }
  }

  /** Keep one more piece: all of it counts, or none. @param {Blob} piece */
  async add(piece) {
    const entry = /** @type {Entry} */ (this.entry);
    const next = { ...entry, received: entry.received + piece.size, count: entry.count + 1, touched: Date.now() };
    const transaction = this.db.transaction(['files', 'pieces'], 'readwrite');
    transaction.objectStore('pieces').put(piece, [this.key, entry.count]);
    transaction.objectStore('files').put(next);
    await kept(transaction);
    this.entry = next;
  }

  /** The whole content, of what the browser has on disk. Rejects, and forgets it, when something of it is missing. */
  async blob() {
    const parts = await done(this.db.transaction('pieces').objectStore('pieces').getAll(this.range));
    const blob = new Blob(/** @type {Blob[]} */ (parts));
    if (blob.size === this.entry?.size && parts.length === this.entry.count) return blob;
    await this.clear();
    throw new Error('The browser lost a part of what it had kept. Begin again.');
  }
}
