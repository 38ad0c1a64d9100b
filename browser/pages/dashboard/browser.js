/**
 * The documents of a database, the server's or one that somebody shares: search, edit, resolve conflicts, look at
 * attachments.
 */

import { Attachments } from './attachments.js';
import { Conflicts } from './conflicts.js';
import { action, announce, h, noticeBox, number, randomId, reasonOf } from './dom.js';

/** Documents of a page. */
const PAGE = 30;

/** Milliseconds after a change before the list is read anew, so that many changes are one reading. */
const SETTLE = 400;

const NEW = 'new document';

/** What a person edits of a document. @param {any} doc */
export const bodyOf = (doc) => Object.fromEntries(Object.entries(doc).filter(([name]) => !name.startsWith('_')));

/** @param {any} value */
export const pretty = (value) => JSON.stringify(value, null, 2);

export class Browser {
  /**
   * @param {{ db: any, title: string, subtitle?: string, path: string[], keep?: boolean }} options `keep`: the
   *   database outlives this view.
   */
  constructor({ db, title, subtitle, path, keep = false }) {
    this.db = db;
    this.path = path;
    this.keep = keep;
    this.query = '';
    /** Where the next page begins. @type {string | null} */
    this.next = null;
    /** @type {Detail | null} */
    this.detail = null;
    this.notice = noticeBox();
    this.count = h('span', { class: 'quiet small' });
    this.list = h('ul', { class: 'documents', 'aria-label': 'Documents' });
    this.more = h('button', { hidden: true, onclick: action(this.notice, () => this.load(true)) }, 'Show more');
    this.pane = h('section', { class: 'pane', 'aria-label': 'Document' });
    this.element = h(
      'div',
      { class: 'stack browser' },
      h(
        'div',
        { class: 'row spread heading' },
        h(
          'div',
          {},
          h('h1', { class: 'wrap' }, title),
          subtitle ? h('p', { class: 'quiet small mono wrap' }, subtitle) : null,
          this.count,
        ),
        h('a', { class: 'button primary', href: `#/${this.address([NEW])}` }, 'New document'),
      ),
      this.searchForm(),
      this.notice,
      h(
        'div',
        { class: 'columns' },
        h(
          'section',
          { class: 'listing', 'aria-label': 'List' },
          h('div', { class: 'card flush' }, this.list),
          this.more,
        ),
        this.pane,
      ),
    );
    const wanted = decodeURIComponent(location.hash.split('/')[3] ?? '');
    this.show(wanted);
    this.load(false).catch((error) => {
      this.notice.textContent = reasonOf(error);
    });
    this.follow();
  }

  /** @param {string[]} more */
  address(more) {
    return [...this.path, ...more].map(encodeURIComponent).join('/');
  }

  searchForm() {
    const input = h('input', {
      id: 'search',
      type: 'search',
      class: 'grow mono',
      placeholder: 'id…  or  {"type": "note"}',
      autocapitalize: 'none',
      autocomplete: 'off',
      spellcheck: false,
    });
    return h(
      'form',
      {
        class: 'row',
        role: 'search',
        onsubmit: action(this.notice, async () => {
          this.query = input.value.trim();
          await this.load(false);
        }),
      },
      h('label', { for: 'search', class: 'hidden-label' }, 'Beginning of an id, or a Mango selector'),
      input,
      h('button', { type: 'submit' }, 'Search'),
    );
  }

  /** Rows of one page: `{ id, doc }`. @param {string | null} from */
  async page(from) {
    if (!this.query.startsWith('{')) {
      const { rows, total_rows } = await this.db.allDocs({
        include_docs: true,
        conflicts: true,
        limit: PAGE + 1,
        startkey: from ?? this.query,
        ...(this.query ? { endkey: `${this.query}\uffff` } : {}),
      });
      this.count.textContent = `${number(total_rows)} documents`;
      this.next = rows.length > PAGE ? rows[PAGE].id : null;
      return rows.slice(0, PAGE).map((/** @type {any} */ { id, doc }) => ({ id, doc }));
    }
    let selector;
    try {
      selector = JSON.parse(this.query);
    } catch {
      throw new Error('This begins like a Mango selector, but is not JSON.');
    }
    const response = await this.db.fetch('_find', {
      method: 'POST',
      headers: new Headers({ 'content-type': 'application/json' }),
      body: JSON.stringify({ selector, limit: PAGE, ...(from === null ? {} : { bookmark: from }) }),
    });
    const found = await response.json();
    if (!response.ok) throw Object.assign(new Error(found.reason), found);
    this.next = found.docs.length === PAGE ? found.bookmark : null;
    return found.docs.map((/** @type {any} */ doc) => ({ id: doc._id, doc }));
  }

  /** @param {boolean} more Whether to go on where the list ends. */
  async load(more) {
    const rows = await this.page(more ? this.next : null);
    const items = rows.map((/** @type {any} */ { id, doc }) => this.item(id, doc));
    if (more) this.list.append(...items);
    else this.list.replaceChildren(...items);
    if (!this.list.children.length)
      this.list.replaceChildren(
        h('li', { class: 'quiet padded' }, this.query ? 'Nothing found.' : 'No documents yet.'),
      );
    this.more.hidden = this.next === null;
    this.mark();
    announce(more ? `${rows.length} more documents` : `${rows.length} documents shown`);
    if (more) items[0]?.querySelector('a').focus();
  }

  /** @param {string} id @param {any} doc */
  item(id, doc) {
    const conflicts = doc._conflicts?.length ?? 0;
    const files = Object.keys(doc._attachments ?? {}).length;
    return h(
      'li',
      {},
      h(
        'a',
        { href: `#/${this.address([id])}`, 'data-id': id },
        h('span', { class: 'id wrap' }, id),
        conflicts ? h('span', { class: 'badge warn' }, conflicts === 1 ? 'conflict' : `${conflicts} conflicts`) : null,
        files ? h('span', { class: 'badge' }, files === 1 ? '1 file' : `${files} files`) : null,
        h('span', { class: 'snippet quiet small' }, JSON.stringify(bodyOf(doc)).slice(0, 160)),
      ),
    );
  }

  /** Shows which document of the list is open. */
  mark() {
    for (const link of this.list.querySelectorAll('a')) {
      if (link.dataset.id === this.detail?.id) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  }

  /** Goes to another document of this database; `false` if it is not of this database. @param {string[]} parts */
  go(parts) {
    if (parts[0] !== this.path[0] || parts[1] !== this.path[1]) return false;
    this.show(parts[2] ?? '');
    return true;
  }

  /** @param {string} id */
  show(id) {
    this.detail?.close();
    this.detail = id === '' ? null : new Detail(this, id);
    this.element.classList.toggle('open', this.detail !== null);
    this.pane.replaceChildren(this.detail?.element ?? h('p', { class: 'quiet padded hint' }, 'Choose a document.'));
    this.mark();
  }

  /** Reads the list anew when something changes. */
  follow() {
    let timer = 0;
    this.feed = this.db
      .changes({ since: 'now', live: true })
      .on('change', (/** @type {any} */ { id, deleted }) => {
        this.detail?.changed(id, deleted);
        clearTimeout(timer);
        // Not while somebody has gone on in the list: it would jump.
        timer = setTimeout(() => this.list.children.length <= PAGE && this.load(false).catch(() => {}), SETTLE);
      })
      .on('error', (/** @type {unknown} */ error) => {
        this.notice.textContent = `This list does not follow changes any more: ${reasonOf(error)}`;
      });
    this.feed.catch(() => {});
  }

  close() {
    this.feed.cancel();
    this.detail?.close();
    if (!this.keep) this.db.close();
  }
}

/** One document. */
class Detail {
  /** @param {Browser} browser @param {string} id */
  constructor(browser, id) {
    this.browser = browser;
    this.id = id;
    this.isNew = id === NEW;
    /** @type {any} */
    this.doc = {};
    /** @type {Attachments | null} */
    this.attachments = null;
    this.notice = noticeBox();
    this.fresh = h('p', { class: 'notice', role: 'status' });
    this.element = h('div', { class: 'card stack' }, h('p', { class: 'quiet' }, 'Reading…'));
    this.read();
  }

  async read() {
    try {
      this.doc = this.isNew ? {} : await this.browser.db.get(this.id, { conflicts: true });
      this.render();
    } catch (error) {
      this.element.replaceChildren(this.heading(), h('p', { class: 'notice bad', role: 'alert' }, reasonOf(error)));
    }
  }

  heading() {
    return h(
      'div',
      { class: 'row spread' },
      h('h2', { class: 'wrap' }, this.isNew ? 'New document' : this.id),
      h(
        'a',
        { href: `#/${this.browser.address([])}`, class: 'button plain', 'aria-label': 'Close the document' },
        'Close',
      ),
    );
  }

  render() {
    this.attachments?.close();
    const { db } = this.browser;
    const id = h('input', { id: 'docid', value: randomId(), class: 'mono', autocapitalize: 'none' });
    const text = h('textarea', {
      id: 'json',
      rows: 14,
      spellcheck: false,
      autocapitalize: 'none',
      value: pretty(bodyOf(this.doc)),
    });
    this.text = text;
    this.saved = text.value;
    const save = action(this.notice, async () => {
      const body = parse(text.value);
      const { _id, _rev, _attachments } = this.doc;
      const wanted = this.isNew ? id.value : _id;
      await db.put({
        ...body,
        _id: wanted,
        ...(this.isNew ? {} : { _rev, ...(_attachments ? { _attachments } : {}) }),
      });
      announce('Saved');
      if (this.isNew) location.hash = `#/${this.browser.address([wanted])}`;
      else await this.read();
      await this.browser.load(false);
    });
    const remove = action(this.notice, async () => {
      if (!confirm(`Delete ${this.id}?`)) return;
      await db.remove(this.doc._id, this.doc._rev);
      location.hash = `#/${this.browser.address([])}`;
      await this.browser.load(false);
    });
    this.fresh.textContent = '';
    const conflicts = this.doc._conflicts?.length
      ? new Conflicts(this.browser.db, this.doc, async () => {
          await this.read();
          await this.browser.load(false);
        }).element
      : null;
    if (!this.isNew) this.attachments = new Attachments(db, this.doc, () => this.read());
    this.element.replaceChildren(
      this.heading(),
      this.isNew ? '' : h('p', { class: 'quiet small mono wrap' }, this.doc._rev),
      this.fresh,
      conflicts ?? '',
      h(
        'form',
        { class: 'stack', onsubmit: save },
        this.isNew ? h('label', { for: 'docid' }, 'Id') : '',
        this.isNew ? id : '',
        h('label', { for: 'json', class: this.isNew ? '' : 'hidden-label' }, 'Content, as JSON'),
        text,
        this.notice,
        h(
          'div',
          { class: 'row' },
          h('button', { class: 'primary', type: 'submit' }, 'Save'),
          this.isNew ? '' : h('button', { class: 'danger', type: 'button', onclick: remove }, 'Delete'),
        ),
      ),
      this.attachments?.element ?? '',
    );
  }

  /** Somebody changed a document. @param {string} id @param {boolean} [deleted] */
  changed(id, deleted) {
    if (id !== this.id || this.isNew || this.text === undefined) return;
    if (deleted) {
      this.fresh.replaceChildren('This document was deleted.');
      return;
    }
    // What somebody is typing is not thrown away.
    if (this.text.value === this.saved) this.read();
    else {
      this.fresh.replaceChildren(
        'This document was changed meanwhile. ',
        h('button', { type: 'button', onclick: () => this.read() }, 'Show the new version'),
      );
    }
  }

  close() {
    this.attachments?.close();
  }
}

/** @param {string} text @returns {Record<string, any>} */
function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${reasonOf(error)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('A document is a JSON object: { … }.');
  return value;
}
