/** What others share at a hub, as it comes and goes, and what is connected, by which path and how fast. */

import { PATHS } from './databases.js';
import { action, announce, bytes, h, noticeBox, reasonOf } from './dom.js';
import { Plot, Rate } from './plots.js';
import * as server from './server.js';

/** Milliseconds between two looks at a connection. */
const PERIOD = 1000;

/** Remembered in this browser. */
const HUB = 'peerpouch dashboard hub';
const STUN = 'peerpouch dashboard stun';

/** @type {Record<string, [string, string]>} */
const TRUST = {
  contact: ['good', 'known contact'],
  seen: ['', 'seen before'],
  new: ['', 'new'],
  changed: ['bad', 'another key than before'],
};

/**
 * The hub that this page has come to, and what is open there: it stays while one looks at documents.
 *
 * @type {Hub | null}
 */
let hub = null;

class Hub {
  /** @param {any} db @param {string} address @param {any} meeting */
  constructor(db, address, meeting) {
    this.db = db;
    this.address = address;
    this.meeting = meeting;
    /** By their ids. @type {Map<string, any>} */
    this.shares = new Map();
    /**
     * @type {Map<string, { share: any, db: any, sent: Rate, received: Rate, plot: Plot, facts: HTMLElement, element:
     *   HTMLElement }>}
     */
    this.opened = new Map();
    /** Called when something has changed. */
    this.changed = () => {};
    /** Ends the watching of the hub. @type {(() => void) | undefined} */
    this.cancel = undefined;
    this.timer = setInterval(() => this.measure(), PERIOD);
  }

  /** @param {string} address @param {boolean} stun */
  static async join(address, stun) {
    const { default: PeerPouch } = await import('../src/index.js');
    if (!PouchDB.prototype.getSharedDatabases) PouchDB.plugin(PeerPouch);
    const url = /^https?:\/\//.test(address) ? address : server.ROOT + encodeURIComponent(address);
    const db = new PouchDB(url, { skip_setup: true });
    const meeting = await PeerPouch.join(db, stun ? {} : { iceServers: [] });
    const joined = new Hub(db, address, meeting);
    const found = await db.getSharedDatabases({ onChange: (/** @type {any} */ share) => joined.update(share) });
    joined.cancel = found.cancel;
    found.forEach((/** @type {any} */ share) => joined.update(share));
    return joined;
  }

  /** @param {any} share */
  update(share) {
    if (share.deleted && !this.opened.has(share.id)) this.shares.delete(share.id);
    else this.shares.set(share.id, share);
    this.changed();
  }

  /** @param {string} id */
  async open(id) {
    const known = this.opened.get(id);
    if (known) return known;
    const share = this.shares.get(id);
    if (!share) throw new Error('This share is not there any more.');
    const confirmed =
      share.trust !== 'changed' ||
      confirm(
        `“${share.name}” was opened before under another key. It may be somebody else who calls it so. Open it all the same, and remember this key?`,
      );
    if (!confirmed) throw new Error('It was not opened.');
    const db = await share.open({ info: { from: 'the dashboard' }, confirm: share.trust === 'changed' });
    const plot = new Plot(`Bytes a second with ${share.name}`, (value) => `${bytes(value)}/s`);
    const facts = h('span', { class: 'small quiet wrap' }, 'connected');
    const close = h(
      'button',
      { onclick: () => this.close(id), 'aria-label': `Disconnect ${share.name}` },
      'Disconnect',
    );
    const element = h(
      'li',
      {},
      h(
        'div',
        { class: 'row spread' },
        h('a', { href: `#/share/${encodeURIComponent(id)}`, class: 'wrap' }, share.name),
        close,
      ),
      h('div', { class: 'row' }, plot.element, facts),
    );
    const entry = { share, db, sent: new Rate(), received: new Rate(), plot, facts, element };
    this.opened.set(id, entry);
    this.changed();
    return entry;
  }

  /** @param {string} id */
  async close(id) {
    const entry = this.opened.get(id);
    this.opened.delete(id);
    if (entry?.share.deleted) this.shares.delete(id);
    this.changed();
    await entry?.db.close();
  }

  async measure() {
    for (const { db, sent, received, plot, facts } of this.opened.values()) {
      const stats = await db.stats().catch(() => null);
      if (stats === null) {
        plot.push(0);
        facts.textContent = 'not connected: it connects again when it is used';
        continue;
      }
      const [up, down] = [sent.read(stats.sent), received.read(stats.received)];
      plot.push(up + down);
      const trip =
        stats.roundTrip === null || stats.roundTrip === undefined
          ? ''
          : `, round trip ${Math.round(stats.roundTrip)} ms`;
      facts.textContent = `${PATHS[stats.path] ?? 'connecting'}${stats.remote ? ` to ${stats.remote}` : ''}${trip}, ↑ ${bytes(up)}/s ↓ ${bytes(down)}/s`;
    }
  }

  async leave() {
    clearInterval(this.timer);
    this.changed = () => {};
    this.cancel?.();
    for (const { db } of this.opened.values()) await db.close().catch(() => {});
    await this.meeting.close();
    await this.db.close();
  }
}

/** The database of a share that is open, or is opened now. @param {string} id */
export async function openedShare(id) {
  if (hub === null) await rejoin();
  if (hub === null) throw new Error('Choose the hub first.');
  return hub.open(id);
}

/** Comes to the hub that was chosen before. */
async function rejoin() {
  const address = localStorage.getItem(HUB);
  if (hub === null && address) hub = await Hub.join(address, localStorage.getItem(STUN) === 'yes');
}

export class SharesView {
  constructor() {
    this.notice = noticeBox();
    this.body = h('ul', { class: 'plainlist shares', 'aria-label': 'Shares' });
    this.connected = h('ul', { class: 'plainlist', 'aria-label': 'Connections' });
    this.connections = h(
      'section',
      { class: 'stack', hidden: true },
      h('h2', {}, 'Connected'),
      h('div', { class: 'card flush' }, this.connected),
    );
    this.names = h('datalist', { id: 'hubs' });
    this.key = h('p', { class: 'small quiet mono wrap' });
    this.input = h('input', {
      id: 'hub',
      class: 'grow',
      value: localStorage.getItem(HUB) ?? '',
      list: 'hubs',
      autocapitalize: 'none',
      spellcheck: false,
      required: true,
    });
    this.element = h(
      'div',
      { class: 'stack' },
      h('h1', {}, 'Shares'),
      this.hubForm(),
      this.notice,
      this.connections,
      h(
        'section',
        { class: 'stack' },
        h('h2', {}, 'At the hub'),
        h('div', { class: 'card flush' }, this.body),
        this.key,
      ),
    );
    this.begin();
  }

  hubForm() {
    const { input } = this;
    const stun = h('input', { type: 'checkbox', id: 'stun', checked: localStorage.getItem(STUN) === 'yes' });
    return h(
      'form',
      {
        class: 'card stack',
        onsubmit: action(this.notice, async () => {
          const address = input.value.trim();
          await hub?.leave();
          hub = null;
          localStorage.setItem(STUN, stun.checked ? 'yes' : 'no');
          hub = await Hub.join(address, stun.checked);
          localStorage.setItem(HUB, address);
          this.attach();
        }),
      },
      h(
        'div',
        { class: 'row' },
        h('label', { for: 'hub' }, 'Hub'),
        input,
        this.names,
        h('button', { class: 'primary', type: 'submit' }, 'Connect'),
      ),
      h(
        'label',
        { class: 'row small', for: 'stun' },
        stun,
        h(
          'span',
          { class: 'grow' },
          'Ask Google’s STUN server for this browser’s public address, to reach people outside of this network',
        ),
      ),
    );
  }

  async begin() {
    this.show();
    try {
      const names = await server.databases().catch(() => []);
      this.names.append(...names.map(({ name }) => h('option', { value: name })));
      if (!this.input.value && names.some(({ name }) => name === 'hub')) this.input.value = 'hub';
      await rejoin();
      this.attach();
    } catch (error) {
      this.notice.textContent = reasonOf(error);
    }
  }

  attach() {
    if (hub === null) return;
    hub.changed = () => this.show();
    this.show();
    announce(`${hub.shares.size} shares at the hub`);
  }

  show() {
    if (hub === null) {
      this.body.replaceChildren(
        h('li', { class: 'quiet' }, 'Not connected to a hub: any database that you and others reach can be one.'),
      );
      return;
    }
    this.key.textContent = `You are ${hub.meeting.identity?.fingerprint ?? ''}`;
    const shares = [...hub.shares.values()].sort((a, b) => a.name.localeCompare(b.name));
    this.body.replaceChildren(...shares.map((share) => this.item(share)));
    if (!shares.length)
      this.body.replaceChildren(h('li', { class: 'quiet' }, 'Nobody shares anything here at the moment.'));
    this.connected.replaceChildren(...[...hub.opened.values()].map(({ element }) => element));
    this.connections.hidden = hub.opened.size === 0;
  }

  /** @param {any} share */
  item(share) {
    const [kind, text] = TRUST[share.trust] ?? ['', share.trust];
    const open = action(this.notice, async () => {
      await hub?.open(share.id);
      location.hash = `#/share/${encodeURIComponent(share.id)}`;
    });
    const isOpen = hub?.opened.has(share.id);
    return h(
      'li',
      {},
      h(
        'div',
        { class: 'row spread' },
        h(
          'div',
          { class: 'grow' },
          h('strong', { class: 'wrap' }, share.name),
          ' ',
          h('span', { class: `badge ${kind}` }, text),
          share.deleted ? h('span', { class: 'badge warn' }, 'gone') : null,
          h(
            'p',
            { class: 'small quiet wrap' },
            share.contact ? `${share.contact}, ` : '',
            h('span', { class: 'mono' }, share.fingerprint),
          ),
        ),
        h(
          'button',
          {
            class: isOpen ? '' : 'primary',
            onclick: open,
            'aria-label': `${isOpen ? 'Look at' : 'Open'} ${share.name}`,
          },
          isOpen ? 'Look at' : 'Open',
        ),
      ),
    );
  }

  close() {
    if (hub !== null) hub.changed = () => {};
  }
}
