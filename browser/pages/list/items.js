/**
 * The items of a list, edited in place; what two devices changed at once is shown in both versions, to be chosen from.
 */

import { action, announce, h, randomId, reasonOf } from '../dashboard/dom.js';

let newest = 0;

/** Ids sort by the time of making, so a list has one order on every device; also of items that were made at once. */
function newId() {
  newest = Math.max(Date.now(), newest + 1);
  return `item:${String(newest).padStart(15, '0')}:${randomId().slice(0, 8)}`;
}

const RANGE = { startkey: 'item:', endkey: 'item:\ufff0' };

export class ItemsView {
  /** @param {any} database @param {HTMLElement} notice Where errors are shown. */
  constructor(database, notice) {
    this.database = database;
    this.notice = notice;
    /** @type {Map<string, Item>} */
    this.items = new Map();
    this.field = h('input', {
      class: 'grow', id: 'new', placeholder: 'Add something', 'aria-label': 'New item', autocomplete: 'off',
      required: true, maxLength: 500,
    });
    this.list = h('ul', { class: 'plainlist items', 'aria-label': 'Items' });
    this.empty = h('p', { class: 'quiet padded' }, 'Nothing here yet.');
    const form = h('form', { class: 'row padded', onsubmit: (/** @type {Event} */ event) => this.add(event) }, this.field,
      h('button', { class: 'primary', type: 'submit' }, 'Add'));
    this.element = h('div', { class: 'card flush' }, form, this.list, this.empty);
  }

  async begin() {
    // Taken before the list is read: what is written between the two is in the feed.
    const since = (await this.database.info()).update_seq;
    await this.read();
    // Whoever changed something, this device or another one by replication: the list is read anew, once at a time.
    this.feed = this.database.changes({ since, live: true }).on('change', () => this.refresh());
  }

  close() {
    this.feed?.cancel();
  }

  async refresh() {
    this.again = true;
    if (this.reading) return;
    this.reading = true;
    try {
      while (this.again) {
        this.again = false;
        await this.read();
      }
    } catch (error) {
      this.notice.textContent = reasonOf(error);
    } finally {
      this.reading = false;
    }
  }

  async read() {
    const { rows } = await this.database.allDocs({ ...RANGE, include_docs: true, conflicts: true });
    const present = new Set(rows.map((/** @type {any} */ { id }) => id));
    for (const [id, item] of this.items) {
      if (present.has(id)) continue;
      item.element.remove();
      this.items.delete(id);
    }
    for (const [place, { id, doc }] of rows.entries()) {
      const item = this.items.get(id) ?? new Item(this.database, id, this.notice);
      this.items.set(id, item);
      await item.show(doc);
      const there = this.list.children[place] ?? null;
      if (there !== item.element) this.list.insertBefore(item.element, there);
    }
    this.empty.hidden = rows.length > 0;
  }

  /** The field is free for the next item at once: who types faster than the disk writes loses nothing. @param {Event} event */
  async add(event) {
    event.preventDefault();
    const text = this.field.value.trim();
    if (!text) return;
    this.field.value = '';
    this.field.focus();
    this.notice.textContent = '';
    try {
      await this.database.put({ _id: newId(), text, done: false });
      announce(`${text} was added`);
    } catch (error) {
      this.field.value ||= text;
      this.notice.textContent = reasonOf(error);
    }
  }
}

/** One item: its element stays, so that what is being typed in it stays too. */
class Item {
  /** @param {any} database @param {string} id @param {HTMLElement} notice */
  constructor(database, id, notice) {
    this.database = database;
    this.id = id;
    this.notice = notice;
    /** @type {any} */
    this.doc = null;
    this.box = h('input', { type: 'checkbox', onchange: () => this.write({ done: this.box.checked }) });
    const rename = () => this.write({ text: this.field.value.trim() });
    this.field = h('input', { class: 'grow text', maxLength: 500, onchange: rename });
    this.remove = h('button', { class: 'plain', onclick: action(notice, () => this.database.remove(this.doc)) }, '✕');
    this.versions = h('div', { class: 'versions' });
    this.element = h('li', {}, h('div', { class: 'row nowrap' }, this.box, this.field, this.remove), this.versions);
  }

  /** @param {any} doc The winner, with its conflicts. */
  async show(doc) {
    const text = String(doc.text ?? '');
    // What is being typed is not replaced; it is written over what came meanwhile, which is then one's own decision.
    if (document.activeElement !== this.field) this.field.value = text;
    this.doc = doc;
    this.box.checked = doc.done === true;
    this.element.classList.toggle('done', doc.done === true);
    this.box.setAttribute('aria-label', `Done: ${text}`);
    this.field.setAttribute('aria-label', `Item: ${text}`);
    this.remove.setAttribute('aria-label', `Remove ${text}`);
    const revs = /** @type {string[]} */ (doc._conflicts ?? []);
    const losing = await Promise.all(revs.map((rev) => this.database.get(this.id, { rev })));
    const leaves = [doc, ...losing];
    this.versions.replaceChildren(...(losing.length ? [
      h('p', { class: 'small' }, 'Changed on two devices at once. Which one is right?'),
      h('div', { class: 'row' }, leaves.map((leaf) => this.choice(leaf, leaves))),
    ] : []));
  }

  /** @param {any} leaf @param {any[]} leaves */
  choice(leaf, leaves) {
    const told = `${leaf.text}${leaf.done ? ' ✓' : ''}`;
    const keep = action(this.notice, () => this.keep(leaf, leaves));
    return h('button', { onclick: keep, 'aria-label': `Keep: ${told}` }, told);
  }

  /** The winner gets the chosen content, and the others end: the same on every device, whoever chooses first.
   * @param {any} leaf @param {any[]} leaves */
  async keep(leaf, leaves) {
    const { _conflicts, ...winner } = this.doc;
    const changed = { ...winner, text: leaf.text, done: leaf.done };
    const ended = leaves.filter(({ _rev }) => _rev !== winner._rev)
      .map(({ _rev }) => ({ _id: this.id, _rev, _deleted: true }));
    const results = await this.database.bulkDocs([changed, ...ended]);
    const failed = results.find((/** @type {any} */ { error }) => error);
    if (failed) throw failed;
    announce(`Kept: ${leaf.text}`);
  }

  /** Changes one field, whatever came in by replication meanwhile. @param {Record<string, unknown>} change */
  async write(change) {
    this.notice.textContent = '';
    try {
      await this.database.put({ ...(await this.database.get(this.id)), ...change });
    } catch (error) {
      if (/** @type {any} */ (error).status === 409) await this.write(change);
      else this.notice.textContent = reasonOf(error);
    }
  }
}
