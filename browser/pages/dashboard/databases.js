/** The server's databases, with how fast they change, and what the server does by itself. */

import { action, bytes, h, noticeBox, number, reasonOf } from './dom.js';
import { Plot, Rate } from './plots.js';
import * as server from './server.js';

/** Milliseconds between two looks at the server. */
const PERIOD = 2000;

/** What the paths of connections are called. */
/** @type {Record<string, string>} */
export const PATHS = { direct: 'direct', reflexive: 'direct, through NAT', relayed: 'through a relay' };

/** @param {any} seq The count of changes that a sequence begins with. */
const countOf = (seq) => parseInt(String(seq), 10) || 0;

export class DatabasesView {
  /** @param {{ roles: string[] }} user */
  constructor(user) {
    this.isAdmin = user.roles.includes('_admin');
    /**
     * @type {Map<string, { row: HTMLElement, docs: HTMLElement, size: HTMLElement, plot: Plot, rate: Rate, now:
     *   HTMLElement }>}
     */
    this.rows = new Map();
    this.notice = noticeBox();
    this.body = h('tbody');
    this.empty = h('p', { class: 'quiet padded' }, 'No databases yet.');
    this.own = h('section', { class: 'stack', hidden: true });
    /** By session. @type {Map<string, { rate: Rate, plot: Plot }>} */
    this.visitors = new Map();
    const table = h(
      'table',
      {},
      h('caption', { class: 'hidden-label' }, 'Databases of this server'),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'Name'),
          h('th', { scope: 'col', class: 'number' }, 'Documents'),
          h('th', { scope: 'col', class: 'number wide' }, 'Size'),
          h('th', { scope: 'col' }, 'Changes a second'),
        ),
      ),
      this.body,
    );
    this.element = h(
      'div',
      { class: 'stack' },
      h('div', { class: 'row spread' }, h('h1', {}, 'Databases'), this.isAdmin ? this.creation() : null),
      this.notice,
      h('div', { class: 'card flush' }, table, this.empty),
      this.own,
    );
    this.timer = setInterval(() => this.refresh(), PERIOD);
    this.refresh();
  }

  creation() {
    const name = h('input', {
      'aria-label': 'Name of a new database',
      placeholder: 'New database',
      required: true,
      pattern: '[a-z][a-z0-9_$\\(\\)+\\/\\-]*',
      title: 'Small letters, digits and _$()+-/, a letter first',
      autocapitalize: 'none',
    });
    return h(
      'form',
      {
        class: 'row',
        onsubmit: action(this.notice, async () => {
          await server.createDatabase(name.value);
          name.value = '';
          await this.refresh();
        }),
      },
      name,
      h('button', { class: 'primary', type: 'submit' }, 'Create'),
    );
  }

  async refresh() {
    if (document.hidden || this.busy) return;
    this.busy = true;
    try {
      const found = await server.databases();
      const names = new Set(found.map(({ name }) => name));
      for (const [name, { row }] of this.rows) {
        if (!names.has(name)) {
          row.remove();
          this.rows.delete(name);
        }
      }
      found.forEach(({ name, info }) => this.update(name, info));
      this.empty.hidden = found.length > 0;
      if (this.isAdmin) this.showOwn(await server.status());
    } catch (error) {
      this.notice.textContent = reasonOf(error);
    } finally {
      this.busy = false;
    }
  }

  /** @param {string} name @param {any} info */
  update(name, info) {
    const known = this.rows.get(name) ?? this.add(name);
    known.docs.textContent = number(info.doc_count);
    known.size.textContent = bytes(info.sizes?.file ?? 0);
    const rate = known.rate.read(countOf(info.update_seq));
    known.plot.push(rate);
    known.now.textContent = rate < 0.05 ? '0' : rate.toFixed(rate < 10 ? 1 : 0);
  }

  /** @param {string} name */
  add(name) {
    const docs = h('td', { class: 'number' });
    const size = h('td', { class: 'number wide' });
    const now = h('span', { class: 'small rate' });
    const plot = new Plot(`Changes a second in ${name}`, (value) => value.toFixed(1));
    const row = h(
      'tr',
      {},
      h('th', { scope: 'row' }, h('a', { href: `#/db/${encodeURIComponent(name)}`, class: 'wrap' }, name)),
      docs,
      size,
      h('td', {}, h('div', { class: 'row nowrap' }, plot.element, now)),
    );
    const next = [...this.rows.keys()].filter((other) => other > name).sort()[0];
    this.body.insertBefore(row, next === undefined ? null : (this.rows.get(next)?.row ?? null));
    const known = { row, docs, size, plot, rate: new Rate(), now };
    this.rows.set(name, known);
    return known;
  }

  /** What the server shares and replicates by itself. @param {any} status */
  showOwn(status) {
    const shares = status?.shares ?? [];
    const jobs = status?.replications ?? [];
    this.own.hidden = shares.length + jobs.length === 0;
    this.own.replaceChildren(
      h('h2', {}, 'What the server does by itself'),
      h(
        'ul',
        { class: 'card plainlist' },
        shares.map((/** @type {any} */ share) =>
          h(
            'li',
            {},
            h(
              'span',
              {},
              'Shares ',
              h('a', { href: `#/db/${encodeURIComponent(share.database)}` }, share.database),
              share.name === share.database ? '' : ` as “${share.name}”`,
              ' ',
              state(share.state),
            ),
            h(
              'span',
              { class: 'quiet small' },
              share.opened === 1 ? 'opened once' : `opened ${number(share.opened)} times`,
            ),
            share.error ? h('span', { class: 'small wrap' }, share.error.reason) : null,
            (share.visitors ?? []).map((/** @type {any} */ visitor) => this.visitor(visitor)),
          ),
        ),
        jobs.map((/** @type {any} */ job) =>
          h(
            'li',
            {},
            h('span', { class: 'wrap' }, `Replicates ${job.source} → ${job.target}`),
            state(job.state ?? job.info?.state ?? 'running'),
          ),
        ),
      ),
    );
  }

  /** Somebody who is connected to the server. @param {any} facts */
  visitor({ fingerprint, contact, session, path, round_trip: trip, sent, received }) {
    const known = this.visitors.get(session) ?? {
      rate: new Rate(),
      plot: new Plot(`Bytes a second with ${contact ?? fingerprint}`, (value) => `${bytes(value)}/s`),
    };
    this.visitors.set(session, known);
    const rate = known.rate.read(sent + received);
    known.plot.push(rate);
    const how = [
      PATHS[path] ?? 'connected',
      trip === null ? null : `round trip ${Math.round(trip * 1000)} ms`,
      `${bytes(rate)}/s`,
    ];
    return h(
      'div',
      { class: 'row' },
      known.plot.element,
      h('span', { class: 'small wrap' }, contact ? `${contact}, ` : '', h('span', { class: 'mono' }, fingerprint)),
      h('span', { class: 'small quiet' }, how.filter(Boolean).join(', ')),
    );
  }

  close() {
    clearInterval(this.timer);
  }
}

/** @param {string} name */
function state(name) {
  const kind = { shared: 'good', running: 'good', waiting: 'warn', crashing: 'bad', failed: 'bad' }[name] ?? '';
  return h('span', { class: `badge ${kind}` }, name);
}
