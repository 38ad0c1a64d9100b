/** The attachments of a document: previews of what a browser can show, files to keep, new ones to add. */

import { action, announce, bytes, h, noticeBox } from './dom.js';

/** Bytes up to which a picture is shown unasked. */
const SMALL = 2_000_000;

/** Characters of a text that are shown. */
const EXCERPT = 20_000;

/**
 * Types that a browser shows without running anything. A blob's address belongs to this page's origin, so an SVG or HTML
 * that somebody opens in a tab of its own ("Open image in new tab") would act as this page does.
 */
const INERT = /^(image\/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)|(audio|video)\/[\w.-]+)$/;

/** What kind of element shows a type of content. @param {string} type */
function kindOf(type) {
  if (/^image\//.test(type)) return 'img';
  if (/^audio\//.test(type)) return 'audio';
  if (/^video\//.test(type)) return 'video';
  return /^text\/|json|javascript|xml/.test(type) ? 'text' : null;
}

export class Attachments {
  /** @param {any} db @param {any} doc @param {() => Promise<void>} done Called when one was added or removed. */
  constructor(db, doc, done) {
    this.db = db;
    this.doc = doc;
    this.done = done;
    /** @type {string[]} */
    this.urls = [];
    this.closed = false;
    this.notice = noticeBox();
    const entries = Object.entries(doc._attachments ?? {});
    const file = h('input', { type: 'file', id: 'file', class: 'grow' });
    file.addEventListener(
      'change',
      action(this.notice, async () => {
        const [chosen] = file.files ?? [];
        await db.putAttachment(doc._id, chosen.name, doc._rev, chosen, chosen.type || 'application/octet-stream');
        announce(`${chosen.name} was added`);
        await done();
      }),
    );
    this.element = h(
      'section',
      { class: 'stack', 'aria-label': 'Attachments' },
      h('h3', {}, entries.length ? 'Attachments' : 'No attachments'),
      h(
        'ul',
        { class: 'plainlist attachments' },
        entries.map(([name, entry]) => this.item(name, entry)),
      ),
      this.notice,
      h('div', { class: 'row' }, h('label', { for: 'file' }, 'Add a file'), file),
    );
  }

  /** @param {string} name @param {{ content_type: string, length: number }} entry */
  item(name, { content_type: type, length }) {
    const place = h('div', { class: 'preview' });
    const kind = kindOf(type);
    const preview = action(this.notice, () => this.preview(name, type, kind, place));
    const keep = action(this.notice, async () => {
      const href = await this.url(name, 'application/octet-stream');
      const link = h('a', { href, download: name.split('/').at(-1) });
      link.click();
    });
    const remove = action(this.notice, async () => {
      if (!confirm(`Remove ${name}?`)) return;
      await this.db.removeAttachment(this.doc._id, name, this.doc._rev);
      await this.done();
    });
    const show = kind ? h('button', { type: 'button', onclick: preview }, 'Preview') : null;
    if (kind === 'img' && length <= SMALL) {
      if (show) show.hidden = true;
      this.preview(name, type, kind, place).catch(() => {
        if (show) show.hidden = false;
      });
    }
    return h(
      'li',
      {},
      h(
        'div',
        { class: 'row' },
        h('strong', { class: 'wrap' }, name),
        h('span', { class: 'quiet small' }, `${type}, ${bytes(length)}`),
      ),
      place,
      h(
        'div',
        { class: 'row' },
        show,
        h('button', { type: 'button', onclick: keep, 'aria-label': `Save as file: ${name}` }, 'Save as file'),
        h(
          'button',
          { type: 'button', class: 'danger plain', onclick: remove, 'aria-label': `Remove ${name}` },
          'Remove',
        ),
      ),
    );
  }

  /** @param {string} name @returns {Promise<Blob>} */
  content(name) {
    return this.db.getAttachment(this.doc._id, name, { rev: this.doc._rev });
  }

  /** An address for the content, as long as this is shown. @param {string} name @param {string} type */
  async url(name, type) {
    const blob = await this.content(name);
    // A picture may be an SVG, which a `data:` address shows, and which belongs to nobody's origin.
    if (/^image\/svg\+xml\b/i.test(type)) return dataUrl(blob.slice(0, blob.size, 'image/svg+xml'));
    if (!INERT.test(type)) type = 'application/octet-stream';
    const url = URL.createObjectURL(blob.type === type ? blob : blob.slice(0, blob.size, type));
    if (this.closed) URL.revokeObjectURL(url);
    else this.urls.push(url);
    return url;
  }

  /** @param {string} name @param {string} type @param {string | null} kind @param {HTMLElement} place */
  async preview(name, type, kind, place) {
    if (kind === 'text') {
      const text = await (await this.content(name)).slice(0, EXCERPT).text();
      place.replaceChildren(h('pre', { tabindex: 0, 'aria-label': `Content of ${name}` }, text));
    } else {
      const src = await this.url(name, type);
      place.replaceChildren(h(/** @type {'img' | 'audio' | 'video'} */ (kind), kind === 'img' ? { src, alt: name } : { src, controls: true, 'aria-label': name }));
    }
  }

  close() {
    this.closed = true;
    this.urls.forEach((url) => URL.revokeObjectURL(url));
  }
}

/** @param {Blob} blob @returns {Promise<string>} */
function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
