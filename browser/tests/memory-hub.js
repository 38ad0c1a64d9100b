/**
 * A hub in memory with as much of PouchDB's API as a hub needs, which tests can break, read and forge.
 *
 * `fail` is raised by whatever is asked of it while set, live feeds included; `written` has every document that was ever
 * written, in order: what an evil hub remembers; `calls` counts; `feeds` are the live feeds that are open.
 */
const copy = (value) => JSON.parse(JSON.stringify(value));
const pouchError = (status, name) => Object.assign(new Error(name), { status, name, reason: name });

export class MemoryHub {
  name = 'https://user:hunter2@hub.example/pouch';
  fail = null;
  selectors = true;
  written = [];
  calls = {};
  beforeWrite = null;
  #docs = new Map();
  #seqs = new Map();
  #seq = 0;
  #bells = new Set();

  // What an evil hub does behind everybody's back.

  raw(id) {
    const doc = this.#docs.get(id);
    return doc && !doc._deleted ? copy(doc) : undefined;
  }

  ids(prefix = '') {
    return [...this.#docs.keys()].filter((id) => id.startsWith(prefix) && this.raw(id)).sort();
  }

  /** Make this the current document, whatever there is. */
  force(doc) {
    const generation = parseInt(this.#docs.get(doc._id)?._rev ?? '0') + 1;
    this.#store({ ...copy(doc), _rev: `${generation}-forced${this.#seq}` });
  }

  /** Break every connection, and refuse new ones until called with null. */
  lose(error) {
    this.fail = error;
    if (error) for (const bell of this.#bells) bell.error?.(error);
  }

  get feeds() {
    return this.#bells.size;
  }

  // What PouchDB has.

  async info() {
    await this.#called('info');
    return { db_name: 'memory', update_seq: this.#seq };
  }

  async get(id) {
    await this.#called('get');
    const doc = this.raw(id);
    if (!doc) throw pouchError(404, 'not_found');
    return doc;
  }

  async put(doc) {
    await this.#called('put');
    return this.#write(copy(doc));
  }

  async remove(_id, _rev) {
    await this.#called('remove');
    return this.#write({ _id, _rev, _deleted: true });
  }

  async bulkDocs(docs) {
    await this.#called('bulkDocs');
    return docs.map((doc) => {
      try {
        return this.#write(copy(doc));
      } catch (error) {
        return Object.assign(error, { error: true, id: doc._id });
      }
    });
  }

  async allDocs({ startkey, endkey, skip = 0, limit, include_docs }) {
    await this.#called('allDocs');
    const ids = this.ids().filter((id) => startkey <= id && id <= endkey).slice(skip, skip + limit);
    const rows = ids.map((id) => ({ id, value: { rev: this.raw(id)._rev }, ...(include_docs && { doc: this.raw(id) }) }));
    await null;
    return { rows };
  }

  changes({ live, since, limit = Infinity, selector }) {
    if (live) return this.#ring();
    return (async () => {
      await this.#called('changes');
      if (selector && !this.selectors) throw pouchError(400, 'bad_request');
      const later = [...this.#seqs].filter(([, seq]) => seq > since).sort((a, b) => a[1] - b[1]);
      const wanted = later.filter(([id]) => !selector || matches(selector, this.#docs.get(id))).slice(0, limit);
      const results = wanted.map(([id, seq]) => {
        const doc = copy(this.#docs.get(id));
        return { id, seq, changes: [{ rev: doc._rev }], doc, ...(doc._deleted && { deleted: true }) };
      });
      return { results, last_seq: results.length < limit ? this.#seq : results[results.length - 1].seq };
    })();
  }

  #ring() {
    const bell = {};
    this.#bells.add(bell);
    const feed = {
      on: (event, fn) => { bell[event] = fn; return feed; },
      catch: () => {},
      cancel: () => this.#bells.delete(bell),
    };
    return feed;
  }

  #write(doc) {
    this.beforeWrite?.(doc);
    const old = this.#docs.get(doc._id);
    const living = old && !old._deleted ? old : undefined;
    if ((living?._rev ?? undefined) !== (doc._rev ?? undefined)) throw pouchError(409, 'conflict');
    const rev = `${parseInt(old?._rev ?? '0') + 1}-${this.#seq + 1}`;
    this.#store({ ...doc, _rev: rev });
    return { ok: true, id: doc._id, rev };
  }

  #store(doc) {
    this.#seq++;
    this.#docs.set(doc._id, doc);
    this.#seqs.set(doc._id, this.#seq);
    this.written.push(copy(doc));
    for (const bell of this.#bells) bell.change?.();
  }

  async #called(method) {
    this.calls[method] = (this.calls[method] ?? 0) + 1;
    await null;
    if (this.fail) throw this.fail;
  }
}

/** The few operators that the hub's selector uses. */
function matches(selector, doc) {
  return Object.entries(selector).every(([field, condition]) => {
    if (field === '$or') return condition.some((choice) => matches(choice, doc));
    if (!(field in doc)) return false;
    const { $gte = '', $lte = '\u{10ffff}', $eq = doc[field] } = condition;
    return doc[field] >= $gte && doc[field] <= $lte && doc[field] === $eq;
  });
}
