/** The versions of a document that are in conflict, with what they differ in, and the choice of one. */

import { action, announce, h, noticeBox, reasonOf } from './dom.js';
import { bodyOf } from './browser.js';

export class Conflicts {
  /** @param {any} db @param {any} winner With `_conflicts`. @param {() => Promise<void>} done */
  constructor(db, winner, done) {
    this.db = db;
    this.winner = winner;
    this.done = done;
    this.notice = noticeBox();
    this.list = h('div', { class: 'versions' }, h('p', { class: 'quiet' }, 'Reading the versions…'));
    this.element = h(
      'section',
      { class: 'conflicts stack', 'aria-label': 'Conflict' },
      h('h3', {}, 'Two people changed this at the same time'),
      h(
        'p',
        { class: 'small' },
        'All versions are kept until you choose one. The first is what everybody sees now. To combine them, edit and save it below, then keep it.',
      ),
      this.list,
      this.notice,
    );
    this.read();
  }

  async read() {
    try {
      const others = await Promise.all(this.winner._conflicts.map((/** @type {string} */ rev) => this.db.get(this.winner._id, { rev })));
      const versions = [this.winner, ...others];
      const differing = differences(versions);
      this.list.replaceChildren(...versions.map((version, n) => this.card(version, n, differing)));
    } catch (error) {
      this.notice.textContent = reasonOf(error);
    }
  }

  /** @param {any} version @param {number} n @param {string[]} differing */
  card(version, n, differing) {
    const keep = action(this.notice, async () => {
      const leaves = [this.winner._rev, ...this.winner._conflicts].filter((rev) => rev !== version._rev);
      const rows = await this.db.bulkDocs(leaves.map((_rev) => ({ _id: version._id, _rev, _deleted: true })));
      const failed = rows.find((/** @type {any} */ row) => row.error);
      if (failed) throw failed;
      announce('The conflict is resolved');
      await this.done();
    });
    return h(
      'article',
      { class: 'version', 'aria-label': `Version ${n + 1}` },
      h(
        'div',
        { class: 'row spread' },
        h('strong', {}, `Version ${n + 1}`),
        n === 0 ? h('span', { class: 'badge' }, 'seen now') : null,
      ),
      h(
        'dl',
        {},
        differing.map((name) => [
          h('dt', {}, name === '_attachments' ? 'attachments' : name),
          h('dd', { class: 'mono wrap' }, shown(version, name)),
        ]),
      ),
      differing.length ? null : h('p', { class: 'quiet small' }, 'No difference in the content.'),
      h('p', { class: 'quiet small mono wrap' }, version._rev),
      h('button', { type: 'button', onclick: keep }, 'Keep this one'),
    );
  }
}

/** The names of the fields in which versions differ. @param {any[]} versions */
export function differences(versions) {
  const bodies = versions.map((version) => /** @type {Record<string, any>} */ ({
    ...bodyOf(version),
    ...(version._attachments ? { _attachments: digests(version) } : {}),
  }));
  const names = [...new Set(bodies.flatMap(Object.keys))];
  return names.filter((name) => new Set(bodies.map((body) => JSON.stringify(body[name]))).size > 1);
}

/** @param {any} version */
const digests = (version) =>
  Object.fromEntries(Object.entries(version._attachments).map(([name, { digest }]) => [name, digest]));

/** @param {any} version @param {string} name */
function shown(version, name) {
  if (name === '_attachments') return Object.keys(version._attachments ?? {}).join(', ') || '–';
  return version[name] === undefined ? '–' : JSON.stringify(version[name]);
}
